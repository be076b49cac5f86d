"""
The emulator for code that is not async.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .callers.endpoint import Endpoint, serve
from .emulator import Emulator
from .event.invocation import Answer, Invocation


@contextmanager
def in_thread(emulator: Emulator) -> Iterator[BlockingEmulator]:
    """Open *emulator* for code that is not async; it runs in a thread of its own."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(emulator):
        yield BlockingEmulator(portal, emulator)


class BlockingEmulator:
    """An emulator whose methods block; made by `in_thread`. Several threads may use it."""

    def __init__(self, portal: BlockingPortal, emulator: Emulator) -> None:
        self._portal = portal
        self._emulator = emulator

    def invoke(self, event: Any = None) -> Answer:
        """Send *event* to the function; return its answer as soon as it is posted."""
        answer: Answer = self._portal.call(self._emulator.invoke, event)
        return answer

    def finished(self, answer: Answer) -> Invocation:
        """Wait for the end of the invocation that gave *answer*."""
        return self._portal.call(answer.finished)

    def serve(self, port: int = 0, **options: Any) -> AbstractContextManager[Endpoint]:
        """Let others call the function, boto3 say, with the options of `serve`; a context manager."""
        return self._portal.wrap_async_context_manager(serve(self._emulator, port, **options))
