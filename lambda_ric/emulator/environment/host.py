"""
What all environments of a function have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lambda_ric.emulator.event.observer import Observer
from lambda_ric.emulator.function.function import Function

from .guard import Guard
from .profiler import Profiler


@dataclass(frozen=True, slots=True)
class Host:
    """The function, and where it runs."""

    function: Function
    guard: Guard
    """Ends the processes of all environments when the emulator itself is gone."""
    observer: Observer
    clock: Callable[[], float]
    """Seconds since 1970."""
    freeze: bool
    """Whether an environment is stopped between two invocations."""
    terminal: int | None = None
    """The descriptor that runtimes read from, for a debugger."""
    profiler: Profiler | None = None
