"""
What an environment sees of its runtime, whether it serves one event at a time or many.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.http.messages import Later, Reply, Request

from .posts import InitFailure


class RuntimeSide(Protocol):
    """A Runtime API: the routes that a runtime calls, and the state that they have led to."""

    @property
    def init_failure(self) -> InitFailure | None:
        """What the runtime gave its init, or its restore, up with."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it is the environment's turn: the runtime has polled, or given up."""
        ...

    def end(self, failure: Failure) -> None:
        """Take note that the runtime's process has ended, as *failure* says."""

    def ping(self) -> Reply:
        """Say that somebody is there."""
        ...

    def next(self) -> Reply | Later:
        """Wait for the next event."""
        ...

    def response(self, request_id: str, request: Request) -> Reply | Awaitable[Reply]:
        """Pass a response on to the caller."""
        ...

    def error(self, request_id: str, request: Request) -> Awaitable[Reply]:
        """Pass an error document on to the caller."""
        ...

    def init_error(self, request: Request) -> Awaitable[Reply]:
        """Take note that the runtime cannot start."""
        ...

    def restore_next(self) -> Awaitable[Reply]:
        """Let the runtime wait through its snapshot."""
        ...

    def restore_error(self, request: Request) -> Awaitable[Reply]:
        """Take note that the runtime could not go on after its restore."""
        ...
