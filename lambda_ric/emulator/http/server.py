"""
An HTTP/1.1 server on the loopback interface: requests in, replies out, whatever the peer sends.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio

from .messages import BadRequestError, CutError, Later, RefusedError, Reply, Request, json_reply, reply_head
from .parsing import MAX_WHOLE, RequestReader, may_become_plain, parse

log: logging.Logger = logging.getLogger("lambda_ric.emulator")

Handler = Callable[[Request], Reply | Later | Awaitable[Reply]]
"""A handler that has to wait for something returns what is to be waited for; any other is quicker without."""


@asynccontextmanager
async def listening(handler: Handler, port: int = 0, *, on: socket.socket | None = None) -> AsyncIterator[int]:
    """
    Answer requests with *handler* on *port* of the loopback interface, 0 for any, or *on* a socket; provide the number.

    Raises:
        OSError: The port cannot be had.
    """
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    if on is None:
        server = await loop.create_server(lambda: _Connection(handler, connections), "127.0.0.1", port, backlog=1024)
    else:
        server = await loop.create_server(lambda: _Connection(handler, connections), sock=on, backlog=1024)
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
        if parsed is None and not self._eof and may_become_plain(self._buffer):
            return  # the rest is on its way
        self._serving = True
        if parsed is None:
            self._start(self._exchange())
            return
        request, self._buffer = parsed
        reply = self._handled(request)
        if isinstance(reply, Reply):
            self._answer(request, reply)
        elif isinstance(reply, Later):
            reply.then(lambda found: self._answer(request, found))
        else:
            self._start(self._await(request, reply))

    def _handled(self, request: Request) -> Reply | Later | Awaitable[Reply]:
        try:
            return self._handler(request)
        except RefusedError as refused:
            return refused.reply()
        except Exception as exc:
            return _fault(request, exc)

    def _answer(self, request: Request, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            if not self._lost:
                head = reply_head(reply, len(reply.body), keep=True)
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
        reader = RequestReader(self)
        method, version, keep = "", b"1.1", False
        try:
            request, version = await reader.request()
            method = request.method
            reply = await _settle(request, self._handled(request))
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
                head = reply_head(reply, len(reply.body), keep=keep)
                await self.send(head if method == "HEAD" else head + reply.body)
                return keep
            keep = keep and chunked
            await self.send(reply_head(reply, None, keep=keep, chunked=chunked))
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


async def _settle(request: Request, reply: Reply | Later | Awaitable[Reply]) -> Reply:
    """Return what a handler has to say in the end, whatever that is."""
    try:
        if isinstance(reply, Later):
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            reply.then(lambda late: None if future.done() else future.set_result(late))
            return await future
        return reply if isinstance(reply, Reply) else await reply
    except BadRequestError:
        raise
    except RefusedError as refused:
        return refused.reply()
    except Exception as exc:
        return _fault(request, exc)


def _fault(request: Request, exc: Exception) -> Reply:
    log.error("a fault of the emulator: %s %s", request.method, request.path, exc_info=exc)
    return json_reply(500, {"errorMessage": "Internal Server Error", "errorType": "InternalServerError"})


def _closes(request: Request) -> bool:
    return "close" in request.headers.get("connection", "").lower()
