"""
The fault matrix: every fault in every place.

A place is a module in *places*, a title in *page* and a column in *expected*.
A fault is a function in *strikes* and a cell in the column of the handler,
from which the other columns are derived. The faults of the Runtime API are in
*replies*, those of queues and of other sinks in *queues* and *sinks*.
`python -m tests.proofs.faults` then writes docs/reliability.md anew, and the tests
say where a process does otherwise.
"""
