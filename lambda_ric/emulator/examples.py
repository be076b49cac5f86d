"""The events that the package ships, for tests: what `lambda-ric invoke --example` sends."""

from .function.examples import example
from .function.examples import example_names as names

__all__ = ["example", "names"]
