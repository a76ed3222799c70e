"""Checks with a verdict each. What the machine says comes in as a value, so that a verdict hangs on nothing else."""
