"""Handlers that stream; `now` is on the clock that all processes share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

BLOCK = bytes(64 * 1024)


def ticking(event: object, context: object) -> Iterator[bytes]:
    """Say twenty times when it was said."""
    for _ in range(20):
        yield b"%d\n" % time.perf_counter_ns()
        time.sleep(0.003)


async def ticking_async(event: object, context: object) -> AsyncIterator[bytes]:
    """Do the same on the event loop."""
    import asyncio

    for _ in range(20):
        yield b"%d\n" % time.perf_counter_ns()
        await asyncio.sleep(0.003)


def blocks(event: object, context: object) -> Iterator[bytes]:
    """Give 200 MB."""
    for _ in range(3200):
        yield BLOCK


async def blocks_async(event: object, context: object) -> AsyncIterator[bytes]:
    """Do the same on the event loop."""
    for _ in range(3200):
        yield BLOCK


def rows(event: object, context: object) -> Iterator[str]:
    """Give a table row by row."""
    for number in range(300_000):
        yield f"o-{number},42.00 EUR\n"
