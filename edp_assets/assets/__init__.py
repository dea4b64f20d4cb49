"""WHAT is stored: one module a stage, thin asset functions, in the order of the flow."""
