"""
The answer on its way from the runtime to its caller: a pipe that holds the runtime up while the caller does not read.

    state     what leads to it
    awaited   the start
    begun     `begin`: the first byte of a response is there, its content type is known
    answered  `end_stream`, `respond`: all of it is there; nothing takes an answer back
    cut       `cut`, from any state: the emulator was closed; what is not answered never will be

Everything happens on the event loop, between two of whose turns the state does not change: there is no lock. What the
runtime does is written by the Runtime API only, what the caller does by the one who reads `chunks`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from lambda_ric.emulator.http.messages import JSON

from .refusals import EmulatorError

# Bytes of a stream that are kept for those who look on, when its caller has read them.
MAX_STREAM_HEAD = 16 * 1024
# Bytes. A caller that reads too slowly holds the runtime up beyond them.
_MOST_UNREAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """
    What the runtime posted, or the platform instead of it.

    With a *function_error*, its type, the payload is an error document, but for a stream that broke off: what had come
    was sent, and *error_body* says why. The payload of what was streamed to the caller is empty.
    """

    payload: bytes
    content_type: str
    function_error: str | None = None
    error_body: bytes = b""


def _nothing() -> None:
    pass


class Delivery:
    """The way of one answer; *on_change* is called when it has moved on, *what* names its invocation in errors."""

    __slots__ = (
        "_abandoned", "_chunks", "_cut", "_on_change", "_then", "_unread", "_waiters", "_what", "answered_at",
        "collected", "content_type", "first_byte_at", "response", "stream_head", "stream_size", "streamed",
    )  # fmt: skip

    def __init__(self, what: str, on_change: Callable[[], None]) -> None:
        self.response: Response | None = None
        self.first_byte_at: float | None = None
        self.answered_at: float | None = None
        self.content_type: str = JSON
        self.streamed: bool = False
        """Whether the runtime posted its response as a stream."""
        self.collected: bool = False
        """Whether the runtime streams, and its caller takes it in one piece only; written by the Runtime API."""
        self.stream_head: bytes = b""
        """The beginning of a streamed response, as far as it was posted."""
        self.stream_size: int = 0
        """The bytes of a streamed response that were posted."""
        self._what = what
        self._on_change = on_change
        self._cut = self._abandoned = False
        self._chunks: deque[bytes] = deque()
        self._unread = 0  # the bytes of the chunks, counted rather than summed up: a stream may come byte by byte
        self._waiters: list[asyncio.Future[None]] = []
        self._then: Callable[[], None] | None = None

    # What the runtime does...

    def begin(self, now: float, content_type: str, *, streamed: bool) -> None:
        """Tell the caller that a response is on its way."""
        if self.first_byte_at is None and self.response is None:
            self.first_byte_at = now
            self.content_type = content_type
            self.streamed = streamed
            if streamed:  # if not, the end is there as well, and told next
                self.changed()

    async def send(self, chunk: bytes) -> None:
        """Pass a piece of a stream on; wait while the caller has too much of it unread."""
        while self._unread > _MOST_UNREAD and self.response is None and not self._abandoned:
            await self.change()
        if self.response is None and not self._abandoned:
            self.stream_head += chunk[: max(0, MAX_STREAM_HEAD - self.stream_size)]
            self.stream_size += len(chunk)
            self._put(chunk)
            self.changed()

    def end_stream(self, now: float, error: str | None, error_body: bytes) -> None:
        """Complete a response of which all was sent; *error* says that it broke off."""
        self._settle(now, Response(b"", self.content_type, error, error_body))

    def respond(self, now: float, payload: bytes, content_type: str, error: str | None = None) -> None:
        """Give the caller its answer; without effect if it has one, for nothing takes an answer back."""
        if self.response is not None:
            return
        if self.first_byte_at is not None:  # in the middle of a stream: only an error can come so
            self.end_stream(now, error, payload)
            return
        self.begin(now, content_type, streamed=False)
        self._put(payload)
        self._settle(now, Response(payload, content_type, error, payload if error else b""))

    def cut(self) -> None:
        """Say that nothing more will come; whoever waits is told."""
        self._cut = True
        self.changed()
        if self.response is None:
            self._call_then()

    def end(self) -> None:
        """Say that the invocation has ended, of which there is nothing more to tell; whoever waits is told."""
        self.changed()
        # Or it would be kept by what it keeps itself, until the collector comes: 27 objects of each invocation.
        self._on_change = _nothing

    def _put(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._unread += len(chunk)

    def _settle(self, now: float, response: Response) -> None:
        if self.response is None:
            self.answered_at = now
            self.response = response
            self.changed()
            self._call_then()

    # ...and what the caller does.

    async def begun(self) -> None:
        """
        Wait for the first sign of a response: its content type, and whether it is a stream.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while self.first_byte_at is None and not self._cut:
            await self.change()
        self._check()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """
        Read the response as it is posted, once; `response` is there after the last piece.

        Raises:
            EmulatorError: The emulator was closed in the middle of it.
        """
        await self.begun()
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._unread -= len(chunk)
                    self._wake()
                    yield chunk
                if self.response is not None:
                    return
                await self.change()
                self._check()
        finally:
            self._abandoned = True
            self._wake()

    async def answered(self) -> None:
        """
        Wait until `response` is there.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while self.response is None and not self._cut:
            await self.change()
        self._check()

    def when_answered(self, then: Callable[[], None]) -> None:
        """Call *then*, once, when `response` is there, or when it never will be because the emulator was closed."""
        self._then = then
        if self.response is not None or self._cut:
            self._call_then()

    def _call_then(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def _check(self) -> None:
        if self._cut and self.response is None:
            raise EmulatorError(f"the emulator was closed before {self._what} was answered")

    # Who waits for a change is woken by the next one.

    @property
    def unread(self) -> int:
        """How many bytes the caller has not read yet."""
        return self._unread

    def changed(self) -> None:
        """Wake whoever waits, and tell of the change."""
        self._wake()
        self._on_change()

    async def change(self) -> None:
        """Wait for the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
