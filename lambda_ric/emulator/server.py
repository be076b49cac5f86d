"""
HTTP/1.1 on the loopback interface: requests in, replies out, whatever the peer sends.

A request that came whole and is plain, as those of every runtime are, is taken
apart here; anything else is h11's, which knows the rest of HTTP. Both yield the
same `Request`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import anyio
import h11

log = logging.getLogger("lambda_ric.emulator")

# Go's default, which the platform's own server has.
MAX_HEAD = 1024 * 1024
# Read and thrown away for the sake of a client that reads the reply only after it has written everything.
MAX_DISCARDED = 64 * 1024 * 1024
# What is waited for until it is whole; what is larger is read as it comes.
MAX_WHOLE = 256 * 1024

JSON = "application/json"


class BadRequestError(Exception):
    """What the peer sent is not HTTP, or ended too soon; the connection is of no further use."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BodyTooLargeError(Exception):
    """The body is larger than its reader allows."""


class CutError(Exception):
    """What the body of a reply raises when the rest of it will never come: the connection is cut."""


class RefusedError(Exception):
    """A request that the API does not accept; *error_type* and the message are what the client is told."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type

    def reply(self) -> Reply:
        """Return what the client is told."""
        return json_reply(self.status, {"errorMessage": str(self), "errorType": self.error_type})


Headers = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """
    What a request is answered with.

    An iterable *body* is sent chunk by chunk as it comes; its CutError cuts
    the connection, which tells the client that the rest is missing. A header
    whose value is a sequence is sent once for each item.
    """

    status: int
    body: bytes | AsyncIterable[bytes] = b""
    headers: Headers = field(default_factory=dict)


def json_reply(status: int, document: Mapping[str, Any], headers: Headers | None = None) -> Reply:
    """Return *document* as compact JSON with a line feed, as Go's encoder writes it."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
    return Reply(status, body + b"\n", {"Content-Type": JSON, **(headers or {})})


class Later:
    """A reply that is still to come: whoever has it calls `set`, once."""

    __slots__ = ("_reply", "_then")

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._then: Callable[[Reply], None] | None = None

    def set(self, reply: Reply) -> None:
        """Send *reply*, at once."""
        self._reply = reply
        if self._then is not None:
            self._then(reply)

    def then(self, send: Callable[[Reply], None]) -> None:
        """Let *send* have the reply, when it is there."""
        self._then = send
        if self._reply is not None:
            send(self._reply)


NOT_FOUND = Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})


class Request:
    """One request, whose body may still be on its way."""

    __slots__ = ("_body", "_reader", "headers", "method", "path", "query", "segments", "trailers")

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes | _Reader) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        """Both as they came, percent-encoded."""
        segments = self.path.removeprefix("/").split("/")
        self.segments = tuple(map(unquote, segments)) if "%" in self.path else tuple(segments)
        """The parts of the path, percent-decoded one by one."""
        self.headers = headers
        """By lower-case name; repeated ones are joined as HTTP allows."""
        self.trailers: dict[str, str] = {}
        """By lower-case name, after the body was read to its end."""
        self._body = body if isinstance(body, bytes) else None
        self._reader = None if isinstance(body, bytes) else body

    def whole(self, limit: int) -> bytes | None:
        """Return the body if it is there already and has no more than *limit* bytes."""
        return self._body if self._body is not None and len(self._body) <= limit else None

    async def body(self, limit: int) -> bytes:
        """
        Read the body.

        Raises:
            BodyTooLargeError: It has more than *limit* bytes.
            BadRequestError: It ended before it was complete.
        """
        if self._body is not None:
            if len(self._body) > limit:
                raise BodyTooLargeError
            return self._body
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise BodyTooLargeError
            parts.append(part)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        Read the body as it comes.

        Raises:
            BadRequestError: It ended before it was complete.
        """
        if self._reader is None:
            if self._body:
                yield self._body
            return
        while (part := await self._reader.body_part(self.trailers)) is not None:
            yield part


Handler = Callable[[Request], Reply | Later | Awaitable[Reply]]
"""A handler that has to wait for something returns what is to be waited for; any other is quicker without."""


@asynccontextmanager
async def listening(handler: Handler, port: int = 0) -> AsyncIterator[int]:
    """
    Answer requests with *handler* on *port* of the loopback interface, 0 for any; provide its number.

    Raises:
        OSError: The port cannot be had.
    """
    connections: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(handler, connections), "127.0.0.1", port, backlog=1024
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)  # for connections that are just being accepted
            await asyncio.gather(*(connection.end() for connection in list(connections)))


class _Connection(asyncio.Protocol):
    """One connection, on which one request is served after the other."""

    def __init__(self, handler: Handler, connections: set[_Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._buffer = b""
        self._eof = False
        self._lost = False
        self._serving = False
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    # What the event loop calls...

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # another loop's need not be a subclass
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._serving:
            self._begin()
            return
        self._arrived.set()
        if len(self._buffer) > MAX_WHOLE:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._arrived.set()
        if not self._serving:
            self._begin()
        return True  # the reply can still be sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = self._lost = True
        self._arrived.set()
        self._writable.set()
        self._connections.discard(self)
        self._gone.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ...and the requests.

    def _begin(self) -> None:
        """Serve the request at the beginning of the buffer, as far as it has come."""
        if not self._buffer:
            if self._eof:
                self._transport.close()
            return
        parsed = parse(self._buffer)
        if parsed is None and not self._eof and _may_become_plain(self._buffer):
            return  # the rest is on its way
        self._serving = True
        if parsed is None:
            self._start(self._exchange())
            return
        request, self._buffer = parsed
        try:
            reply = self._handler(request)
        except RefusedError as refused:
            reply = refused.reply()
        except Exception as exc:
            reply = _fault(request, exc)
        if isinstance(reply, Reply):
            self._answer(request, reply)
        elif isinstance(reply, Later):
            reply.then(lambda found: self._answer(request, found))
        else:
            self._start(self._await(request, reply))

    def _answer(self, request: Request, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            if not self._lost:
                head = _head(reply, len(reply.body), keep=True)
                self._transport.write(head if request.method == "HEAD" else head + reply.body)
            self._go_on()
        else:
            self._start(self._send_stream(request, reply))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if sys.version_info >= (3, 12):
            # What need not wait is done at once, without a turn of the event loop.
            task = asyncio.Task(work, loop=self._loop, eager_start=True)
        else:
            task = self._loop.create_task(work)
        self._task = task

    async def _await(self, request: Request, reply: Awaitable[Reply]) -> None:
        self._answer(request, await _settle(request, reply))

    async def _send_stream(self, request: Request, reply: Reply) -> None:
        if await self._send(reply, request.method, chunked=True, keep=True):
            self._go_on()

    def _go_on(self) -> None:
        self._serving = False
        if self._lost:
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()
        if self._buffer or self._eof:
            # Not at once, or requests that came together would be served on top of each other.
            self._loop.call_soon(self._begin_again)

    def _begin_again(self) -> None:
        if not self._serving and not self._lost:
            self._begin()

    async def end(self) -> None:
        """Cut the connection, and whatever is done for it."""
        self._transport.abort()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._gone.wait()

    # What is not plain, with h11.

    async def _exchange(self) -> None:
        reader = _Reader(self)
        method, version, keep = "", b"1.1", False
        try:
            request, version = await reader.request()
            method = request.method
            reply = await _settle(request, self._handler)
            keep = await reader.discard() and version == b"1.1" and not _closes(request)
        except BadRequestError as exc:
            reply = Reply(exc.status, f"{exc}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})
        if await self._send(reply, method, chunked=version == b"1.1", keep=keep):
            self._buffer = reader.rest() + self._buffer
            self._go_on()
        else:
            self._transport.close()

    async def receive(self) -> bytes:
        """Return what has come, or nothing when nothing more will."""
        while not self._buffer:
            if self._eof:
                return b""
            self._arrived.clear()
            if not self._transport.is_reading():
                self._transport.resume_reading()
            await self._arrived.wait()
        data, self._buffer = self._buffer, b""
        return data

    async def send(self, data: bytes) -> None:
        """Write *data*, and wait while the peer has too much of it unread."""
        if self._transport.is_closing():  # a failed write tells of itself later, and a body may never wait
            raise CutError
        self._transport.write(data)
        await self._writable.wait()

    async def _send(self, reply: Reply, method: str, *, chunked: bool, keep: bool) -> bool:
        """Write *reply*; return whether the connection can go on."""
        try:
            if isinstance(reply.body, bytes):
                head = _head(reply, len(reply.body), keep=keep)
                await self.send(head if method == "HEAD" else head + reply.body)
                return keep
            keep = keep and chunked
            await self.send(_head(reply, None, keep=keep, chunked=chunked))
            if method != "HEAD":
                await self._send_chunks(reply.body, chunked)
            return keep
        except CutError:
            self._transport.close()  # what was handed over before still arrives
        except Exception:
            log.exception("a fault of the emulator in the middle of a reply")
            self._transport.abort()
        return False

    async def _send_chunks(self, body: AsyncIterable[bytes], chunked: bool) -> None:
        try:
            async for part in body:
                if part:
                    await self.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
        if chunked:
            await self.send(b"0\r\n\r\n")


class _Reader:
    """A request by way of h11."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def request(self) -> tuple[Request, bytes]:
        """Return the request, when its head has come, and its version of HTTP."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            raise BadRequestError("no request")
        target, method = head.target.decode("ascii"), head.method.decode("ascii")
        return Request(method, target, _by_name(head.headers), self), head.http_version

    async def body_part(self, trailers: dict[str, str]) -> bytes | None:
        """Return the next bytes of the body, or None after the last, when *trailers* have been filled in."""
        if self._http.their_state is not h11.SEND_BODY:
            return None
        if self._http.they_are_waiting_for_100_continue:
            await self._connection.send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            trailers.update(_by_name(event.headers))
        return None

    async def discard(self) -> bool:
        """Read the rest of the body; return whether that was possible."""
        size = 0
        while self._http.their_state is h11.SEND_BODY:
            if size > MAX_DISCARDED or self._http.they_are_waiting_for_100_continue:
                return False
            size += len(await self.body_part({}) or b"")
        return self._http.their_state is h11.DONE

    def rest(self) -> bytes:
        """Return what came after the request."""
        return self._http.trailing_data[0]

    async def _next_event(self) -> object:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._http.receive_data(await self._connection.receive())
            except h11.RemoteProtocolError as exc:
                raise BadRequestError(str(exc), exc.error_status_hint) from exc


async def _settle(request: Request, reply: Handler | Awaitable[Reply]) -> Reply:
    """Return what a handler has to say in the end, whatever that is."""
    try:
        found = reply(request) if callable(reply) else reply
        if isinstance(found, Later):
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            found.then(lambda late: None if future.done() else future.set_result(late))
            return await future
        return found if isinstance(found, Reply) else await found
    except BadRequestError:
        raise
    except RefusedError as refused:
        return refused.reply()
    except Exception as exc:
        return _fault(request, exc)


def _fault(request: Request, exc: Exception) -> Reply:
    log.error("a fault of the emulator: %s %s", request.method, request.path, exc_info=exc)
    return json_reply(500, {"errorMessage": "Internal Server Error", "errorType": "InternalServerError"})


# Plain requests...

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PLAIN = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*)\r\n")
# What h11 has to look at.
_SPECIAL = frozenset({"expect", "transfer-encoding", "upgrade"})


def parse(data: bytes) -> tuple[Request, bytes] | None:
    """Return the plain and whole request at the beginning of *data*, and what follows it; None if it is not such."""
    head = _plain_head(data)
    if head is None or len(data) < head.end:
        return None
    return Request(head.method, head.target, head.headers, data[head.start : head.end]), data[head.end :]


class _PlainHead(NamedTuple):
    """The head of a plain request, and where its body starts and ends."""

    method: str
    target: str
    headers: dict[str, str]
    start: int
    end: int


def _plain_head(data: bytes) -> _PlainHead | None:
    match = _PLAIN.match(data)
    if match is None:
        return None
    headers: dict[str, str] = {}
    for line in match[3].decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers or name in _SPECIAL:
            return None
        headers[name] = value.strip("\t ")
    length = headers.get("content-length", "0")
    if "host" not in headers or not _LENGTH.fullmatch(length):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return _PlainHead(match[1].decode(), match[2].decode(), headers, match.end(), match.end() + int(length))


_LENGTH = re.compile(r"[0-9]{1,9}")
# h11 takes lines without CR as well.
_HEAD_END = re.compile(rb"\n\r?\n")


def _may_become_plain(data: bytes) -> bool:
    """Return whether the rest of a request is worth waiting for, before h11 reads what has come of it."""
    if len(data) > MAX_WHOLE or not data[:1].isupper():
        return False
    if _HEAD_END.search(data) is None:
        return True
    head = _plain_head(data)
    return head is not None and head.end <= MAX_WHOLE


# ...and headers, both ways.


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        if name in found:
            value = f"{found[name]}{'; ' if name == 'cookie' else ','}{value}"
        found[name] = value
    return found


def _closes(request: Request) -> bool:
    return "close" in request.headers.get("connection", "").lower()


def _head(reply: Reply, length: int | None, *, keep: bool, chunked: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_reason(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in _lines(reply.headers)]
    if length is not None and reply.status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    if not keep:
        lines.append("Connection: close")
    # As Go writes it, whatever the standard says of bytes beyond ASCII.
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


def _lines(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            # What would end the line, and so could begin a header of its own, does not get out.
            yield name, value if value.isprintable() else "".join(filter(str.isprintable, value))


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def _reason(status: int) -> str:
    return _REASONS.get(status, "Unknown")
