"""Runs over several processes and machines, all of them on this one."""
