"""Programs of others that can stand in for a computation of `science`: found, run, resumed; one module a program."""
