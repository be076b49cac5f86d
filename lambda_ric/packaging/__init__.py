"""
From a project folder to what Lambda takes: `lambda-ric build` and its relatives.

A tool: loaded by the command line only, never by a function. Its libraries are those of the extra `build`.
"""
