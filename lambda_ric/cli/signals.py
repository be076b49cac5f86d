"""
Ctrl-C and its relatives: they end a command in good order.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import anyio

from .output import write


@contextmanager
def until_signal() -> Iterator[list[int]]:
    """
    Cancel the body at the first signal that ends a program; provide the numbers of those that came.

    Those that come while the body ends change nothing: an impatient Ctrl-C must not cut its good order short.
    """
    loop = asyncio.get_running_loop()
    stopped_by: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    scope = anyio.CancelScope()

    def stop(number: int) -> None:
        stopped_by.append(number)
        scope.cancel()

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        with scope:
            yield stopped_by
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """
    Have SIGTERM and SIGHUP end the body as Ctrl-C does, by an exception, so that what it has begun is taken away.

    Raises:
        SystemExit: One has come.
    """

    def stop(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(number: int, what: str) -> int:
    """Say that signal *number* has ended *what*; return the exit code for it."""
    write(sys.stderr, f"stopped by {signal.Signals(number).name}; {what} been ended\n")
    return 128 + number
