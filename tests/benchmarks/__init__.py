"""What an invocation and a cold start cost, with awslambdaric beside it: `python -m tests.benchmarks`."""
