"""
How telemetry reaches one subscriber: in batches, tried again, and dropped rather than heaped up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
import httpx
from anyio.abc import SocketStream

from .telemetry_records import encode, logs_dropped

# Seconds before each further attempt at a batch.
BACKOFF = (0.05, 0.1, 0.2, 0.4, 0.8)
# Full batches that may wait for a subscriber which is slow, or frozen.
MAX_WAITING = 8

_TOO_SLOW = "Some logs were dropped because the downstream consumer is slower than the logs production rate"


class NotReceivedError(Exception):
    """A batch did not arrive; the text says why."""


class Receiver(Protocol):
    """Where a subscriber listens: on this machine, always."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """
        Deliver *lines*, each a JSON document.

        Raises:
            NotReceivedError: They did not arrive.
        """

    async def aclose(self) -> None:
        """Give the connection back."""


class HTTPReceiver:
    """A server on this machine that takes a batch as a JSON array."""

    def __init__(self, port: int, target: str) -> None:
        self._url = httpx.URL(scheme="http", host="127.0.0.1", port=port, raw_path=target.encode("ascii"))
        # Without a timeout: a subscriber that is frozen answers after the thaw, and must not get everything twice.
        # And without certificates, whose loading costs more than all the rest.
        self._client = httpx.AsyncClient(trust_env=False, timeout=None, verify=False)

    async def send(self, lines: Sequence[bytes]) -> None:
        """Deliver *lines*."""
        body = b"[" + b",".join(lines) + b"]"
        try:
            # The body of the answer is nobody's business, however long it may be.
            async with self._client.stream(
                "POST", self._url, content=body, headers={"Content-Type": "application/json"}
            ) as response:
                status = response.status_code
        except httpx.HTTPError as exc:
            raise NotReceivedError(str(exc) or type(exc).__name__) from exc
        if not 200 <= status < 300:
            raise NotReceivedError(f"http request failed with status {status}")

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._client.aclose()


class TCPReceiver:
    """A listener on this machine that takes one line after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: SocketStream | None = None

    async def send(self, lines: Sequence[bytes]) -> None:
        """Deliver *lines*."""
        try:
            if self._stream is None:
                self._stream = await anyio.connect_tcp("127.0.0.1", self._port)
            await self._stream.send(b"".join(line + b"\n" for line in lines))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            await self.aclose()
            raise NotReceivedError(str(exc) or type(exc).__name__) from exc

    async def aclose(self) -> None:
        """Give the connection back."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()


@dataclass(frozen=True, slots=True)
class Buffering:
    """When a batch is sent: at so many items or bytes, or so many milliseconds after its first one."""

    max_items: int = 10_000
    max_bytes: int = 262_144
    timeout_ms: int = 1_000


class Subscriber:
    """
    Collects what belongs to *types* and sends it to *receiver*; `run` has to run.

    What a subscriber does not take in time is dropped, and it is told how much that was with the next batch.
    """

    def __init__(
        self,
        types: Sequence[str],
        buffering: Buffering,
        receiver: Receiver,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._types = types
        self._buffering = buffering
        self._receiver = receiver
        self._clock = clock
        self._sleep = sleep
        self._scope = anyio.CancelScope()
        self._batch: list[bytes] = []
        self._size = 0
        self._full: deque[list[bytes]] = deque()
        self._sending = False
        self._dropped = (0, 0, "")
        self._arrived = anyio.Event()
        self._hurry = anyio.Event()
        self._delivered = anyio.Event()

    def add(self, kind: str, line: bytes) -> None:
        """Take *line* in, if it is of a type that was subscribed to."""
        if kind.partition(".")[0] not in self._types:
            return
        if len(self._full) >= MAX_WAITING:
            self._drop([line], _TOO_SLOW)
            return
        self._batch.append(line)
        self._size += len(line)
        if len(self._batch) >= self._buffering.max_items or self._size >= self._buffering.max_bytes:
            self._full.append(self._batch)
            self._batch, self._size = [], 0
            self._hurry.set()
        self._arrived.set()

    async def run(self) -> None:
        """Send batches until `stop`."""
        with self._scope:
            try:
                while True:
                    await self._wait_for_batch()
                    self._sending = True
                    await self._send(self._take())
                    self._sending = False
                    self._delivered.set()
                    self._delivered = anyio.Event()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._receiver.aclose()

    def stop(self) -> None:
        """End `run`, and forget what has not been sent."""
        self._scope.cancel()

    async def flush(self) -> None:
        """
        Send what is there now without waiting for more; return when it has arrived, or was dropped.

        What comes meanwhile, a line that a subscriber writes about each delivery say, comes at its own pace.
        """
        batches = len(self._full) + bool(self._batch) + self._sending
        for _ in range(batches):
            self._hurry.set()
            await self._delivered.wait()

    async def _wait_for_batch(self) -> None:
        while not (self._batch or self._full):
            self._arrived = anyio.Event()
            await self._arrived.wait()
        if not self._full:
            with anyio.move_on_after(self._buffering.timeout_ms / 1000):
                await self._hurry.wait()

    def _take(self) -> list[bytes]:
        self._hurry = anyio.Event()
        if self._full:
            batch = self._full.popleft()
        else:
            batch, self._batch, self._size = self._batch, [], 0
        records, size, reason = self._dropped
        if records and "platform" in self._types:
            batch.append(encode(self._clock(), *logs_dropped(records, size, reason)))
        self._dropped = (0, 0, "")
        return batch

    async def _send(self, batch: Sequence[bytes]) -> None:
        for pause in (*BACKOFF, None):
            try:
                await self._receiver.send(batch)
            except NotReceivedError as exc:
                if pause is None:
                    self._drop(batch, f"could not send events: {exc}")
                else:
                    await self._sleep(pause)
            else:
                return

    def _drop(self, lines: Sequence[bytes], reason: str) -> None:
        records, size, _ = self._dropped
        self._dropped = (records + len(lines), size + sum(map(len, lines)), reason)
