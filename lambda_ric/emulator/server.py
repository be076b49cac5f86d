"""
HTTP/1.1 on one connection: requests in, replies out, whatever the peer sends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import anyio
import h11
from anyio.abc import ByteStream

# Go's default, which the platform's own server has.
MAX_HEAD = 1024 * 1024
# Read and thrown away for the sake of a client that reads the reply only after it has written everything.
MAX_DISCARDED = 64 * 1024 * 1024


class BadRequestError(Exception):
    """What the peer sent is not HTTP, or ended too soon; the connection is of no further use."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BodyTooLargeError(Exception):
    """The body is larger than its reader allows."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request is answered with."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Request:
    """One request, whose body is still on its way."""

    __slots__ = ("_connection", "headers", "method", "segments")

    def __init__(self, head: h11.Request, connection: _Connection) -> None:
        path = head.target.decode("ascii").partition("?")[0]
        self.method = head.method.decode("ascii")
        self.segments = tuple(unquote(segment) for segment in path.removeprefix("/").split("/"))
        """The parts of the path, percent-decoded one by one."""
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        """By lower-case name."""
        self._connection = connection

    async def body(self, limit: int) -> bytes:
        """
        Read the body.

        Raises:
            BodyTooLargeError: It has more than *limit* bytes.
            BadRequestError: It ended before it was complete.
        """
        parts: list[bytes] = []
        size = 0
        while (part := await self._connection.body_part()) is not None:
            size += len(part)
            if size > limit:
                raise BodyTooLargeError
            parts.append(part)
        return b"".join(parts)


Handler = Callable[[Request], Awaitable[Reply]]


async def serve_connection(stream: ByteStream, handler: Handler) -> None:
    """Answer the requests on *stream* with *handler* until either side has had enough."""
    async with stream:
        try:
            connection = _Connection(stream)
            while await connection.exchange(handler):
                pass
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the peer is gone, and with it whoever could be told


class _Connection:
    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._method = ""

    async def exchange(self, handler: Handler) -> bool:
        """Serve one request; return whether there may be another."""
        try:
            head = await self._next_event()
            if not isinstance(head, h11.Request):
                return False
            request = Request(head, self)
            self._method = request.method
            reply = await handler(request)
            await self._discard()
        except BadRequestError as exc:
            headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
            reply = Reply(exc.status, f"{exc}\n".encode(), headers)
        await self._send(reply)
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def body_part(self) -> bytes | None:
        """Return the next bytes of the body, or None after the last."""
        if self._http.their_state is not h11.SEND_BODY:
            return None
        if self._http.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _discard(self) -> None:
        size = 0
        while size <= MAX_DISCARDED and not self._http.they_are_waiting_for_100_continue:
            part = await self.body_part()
            if part is None:
                return
            size += len(part)

    async def _next_event(self) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise BadRequestError(str(exc), exc.error_status_hint) from exc
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                data = b""
            self._http.receive_data(data)

    async def _send(self, reply: Reply) -> None:
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        await self._write(h11.Response(status_code=reply.status, headers=list(headers.items())))
        if self._method != "HEAD":
            await self._write(h11.Data(data=reply.body))
        await self._write(h11.EndOfMessage())

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send(data)
