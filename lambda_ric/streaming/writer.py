"""
Chunks on their way to the connection, in their order, with back-pressure.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

from lambda_ric.errors import ConnectionLostError
from lambda_ric.threads import start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    from lambda_ric.client import StreamedBody

    Chunk = bytes | bytearray | memoryview | str
    Body = Chunk | Iterable[Chunk] | AsyncIterable[Chunk]
    Headers = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


class _Writer:
    """
    Sends chunks over *body*, in their order.

    What the connection has room for is sent at once. The rest, and small
    chunks that follow each other closely, wait for a thread, which sends
    together what has come by then. Whoever makes the chunks waits as soon as
    there is no room for more.
    """

    def __init__(self, body: StreamedBody) -> None:
        self.body = body
        self._changed = threading.Condition()
        self._left = 0
        self._waiting: list[bytes] = []
        self._size = 0
        self._sent_at = -math.inf
        self._sending = False
        self._closed = False
        self._lost: ConnectionLostError | None = None
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], object] = _do_nothing

    @property
    def has_room(self) -> bool:
        """Whether more may be put in, or nothing ever will be."""
        return self._left + self._size < _MOST_WAITING or self._lost is not None

    def put(self, data: bytes) -> None:
        """
        Take *data* in, which the first time may be empty.

        Raises:
            ConnectionLostError: The connection broke, and what was put in before may be lost.
        """
        with self._changed:
            if self._lost is not None:
                raise self._lost
            if not (self._sending or self._left or self._size):
                now = time.monotonic()
                if now - self._sent_at >= _MOMENT or len(data) >= _ENOUGH:
                    self._sent_at = now
                    self._left = self.body.send_some(data)
                    if self._left:
                        self._rouse()
                    return
            self._waiting.append(data)
            self._size += len(data)
            if self._size == len(data) or self._size >= _ENOUGH:
                self._rouse()

    def wait_for_room(self) -> None:
        """Wait until most of what was put in has been sent; raises what *put* raises."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_room)
            if self._lost is not None:
                raise self._lost

    async def room(self) -> None:
        """Do the same while the event loop goes on."""
        import asyncio

        loop = asyncio.get_running_loop()
        made = asyncio.Event()
        with self._changed:
            self._wake = lambda: loop.call_soon_threadsafe(made.set)
            if self.has_room:
                made.set()
        await made.wait()
        self._wake = _do_nothing
        if self._lost is not None:
            raise self._lost

    def close(self) -> bytes:
        """Take nothing more; return what has not been given to *body*."""
        with self._changed:
            self._closed = True
            # For who still makes chunks, though nobody waits for that any longer.
            self._lost = self._lost or ConnectionLostError("the response has ended")
            self._changed.notify_all()
            self._wake()
            self._changed.wait_for(lambda: not self._sending)
            return self._take()

    def _take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._left = self._size = 0
        return data

    def _rouse(self) -> None:
        if self._thread is not None:
            self._changed.notify_all()
            return
        self._thread = start_daemon("lambda_ric.streaming", self._run)
        if self._thread is None:
            self.body.send(self._take())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._left or self._size)
                if not self._left:
                    self._changed.wait_for(lambda: self._closed or self._size >= _ENOUGH, _MOMENT)
                if self._closed:
                    return
                data = self._take()
                self._sending = True
            lost = None
            try:
                self.body.send(data)
            except ConnectionLostError as error:
                lost = error
            with self._changed:
                self._sending = False
                self._sent_at = time.monotonic()
                self._lost = lost
                self._changed.notify_all()
                self._wake()
            if lost is not None:
                return


def _do_nothing() -> None:
    pass


# Chunks that come within a moment, in seconds, are sent together, up to a size that is enough for one send. The moment
# is less than anybody notices; a send costs some 10 us, and Lambda passes each chunk on by itself.
_MOMENT = 0.001


_ENOUGH = 16 * 1024


_MOST_WAITING = 64 * 1024
