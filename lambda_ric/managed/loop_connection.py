"""
A keep-alive connection to the Runtime API on the event loop.

    none ──send──▶ connecting ──▶ waiting ┬─ a whole reply ─────────────▶ kept ──send──▶ waiting …
                        │                 ├─ a reply that closes it ────▶ none
                        └─────────────────┴─ the connection breaks ─────▶ none

One exchange at a time. The bytes are those of `protocol`, as for the ordinary loop's connection; what differs is who
waits. A reply is a callback, since a future for each would cost a turn of the loop more: a tenth of the time that an
empty invocation takes here.
"""

from __future__ import annotations

import asyncio
import socket

from lambda_ric.connection import connect
from lambda_ric.errors import ConnectionLostError, RuntimeAPIError
from lambda_ric.replies import Reply, ReplyParser

from .ledger import bytes_sent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_ric.connection import Socket
    from lambda_ric.settings import Address

# Most acknowledgements are the one before, to the byte: it need not be read again.
_REMEMBERED = 256


class LoopConnection:
    """Sends one request at a time to *address*, first over what is *connected*; else connects when it has to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address, connected: Socket | None) -> None:
        self._loop = loop
        self._address = address
        self._wire: _Wire | None = None
        self._connected = None if connected is None else socket.socket(fileno=connected.detach())
        self._connecting: asyncio.Task[None] | None = None

    @property
    def bytes_sent(self) -> int:
        """How many bytes have gone over what the next request goes over."""
        return 0 if self._connected is None else bytes_sent(self._connected)

    def send(
        self, request: bytes, on_reply: Callable[[Reply], object], on_lost: Callable[[RuntimeAPIError], object]
    ) -> None:
        """Send *request*; call *on_reply* with what comes back, or *on_lost* with the reason why nothing does."""
        wire = self._wire
        if wire is not None and wire.is_usable:
            wire.send(request, on_reply, on_lost)
        else:
            self._connecting = self._loop.create_task(self._connect_and_send(request, on_reply, on_lost))

    def receive(self, on_reply: Callable[[Reply], object], on_lost: Callable[[RuntimeAPIError], object]) -> None:
        """Wait for the reply to what another process has sent over this connection, as `send` does."""
        self.send(b"", on_reply, on_lost)

    async def _connect_and_send(
        self, request: bytes, on_reply: Callable[[Reply], object], on_lost: Callable[[RuntimeAPIError], object]
    ) -> None:
        try:
            # Within the machine this takes microseconds, so it may block.
            if self._wire is not None or self._connected is None:
                self._connected = socket.socket(fileno=connect(self._address).detach())
            self._connected.setblocking(False)
            _, self._wire = await self._loop.create_connection(_Wire, sock=self._connected)
        except OSError as error:
            self._connected = None
            on_lost(ConnectionLostError(f"the connection broke: {error}"))
            return
        except ConnectionLostError as lost:
            on_lost(lost)
            return
        self._wire.send(request, on_reply, on_lost)


class _Wire(asyncio.Protocol):
    """One connection, from its beginning to its end."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._on_reply: Callable[[Reply], object] | None = None
        self._on_lost: Callable[[RuntimeAPIError], object] | None = None
        self._parser: ReplyParser | None = None
        self._last_data = b""
        self._last_reply = Reply(0, {}, b"")

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None

    def send(
        self, request: bytes, on_reply: Callable[[Reply], object], on_lost: Callable[[RuntimeAPIError], object]
    ) -> None:
        """Send *request*; see `LoopConnection.send`."""
        self._on_reply, self._on_lost = on_reply, on_lost
        if self._transport is None:
            self._lose(ConnectionLostError("the connection broke"))
        else:
            self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the way out."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._on_reply is None:  # bytes that answer no request
            self._close()
            return
        if data == self._last_data and self._parser is None:
            self._reply(self._last_reply)
            return
        parser = self._parser
        is_first = parser is None
        if parser is None:
            parser = self._parser = ReplyParser()
        try:
            reply = parser.feed(data)
        except RuntimeAPIError as error:
            self._close()
            self._lose(error)
            return
        if reply is None:
            return
        self._parser = None
        if is_first and len(data) <= _REMEMBERED:
            self._last_data, self._last_reply = data, reply
        self._reply(reply)

    def eof_received(self) -> bool:
        """Read what ends with the connection."""
        parser, self._parser = self._parser, None
        transport, self._transport = self._transport, None
        if self._on_reply is not None:
            try:
                reply = (parser or ReplyParser()).end()
            except RuntimeAPIError as error:
                was_sent = transport is not None and not transport.get_write_buffer_size()
                self._lose(error if was_sent else ConnectionLostError("the connection was closed before the request"))
            else:
                self._reply(reply)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for a reply."""
        self._transport = None
        self._lose(ConnectionLostError(f"the connection broke: {exc}"))

    def _reply(self, reply: Reply) -> None:
        on_reply, self._on_reply, self._on_lost = self._on_reply, None, None
        if reply.closes:
            self._close()
        if on_reply is not None:
            on_reply(reply)

    def _lose(self, error: RuntimeAPIError) -> None:
        on_lost, self._on_reply, self._on_lost = self._on_lost, None, None
        if on_lost is not None:
            on_lost(error)

    def _close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
