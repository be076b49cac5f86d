"""The function: what is run, with which variables, and when it has changed."""
