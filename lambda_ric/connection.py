"""
A keep-alive HTTP/1.1 connection to the Runtime API over a plain socket.

    none ──connect──▶ in use ┬─ a whole reply ─────────────▶ kept ──the next call──▶ in use
                             ├─ a reply that closes it ────▶ none
                             ├─ anything that is raised ───▶ none
                             └─ stream ──▶ lent to a body ┬─ its end, and a whole reply ─▶ kept
                                                          └─ anything else ──────────────▶ none

It is kept only after a whole exchange, so no call ever reads what belongs to another. The main thread has it; while it
is lent, the one thread that sends the body does.

The loop's own transport: `http.client` costs three times as much for each
event, and an HTTP library's import alone more than a cold start should. It
never uses a proxy, and it never times out: the next event may be hours away.
"""

from __future__ import annotations

import _socket  # its wrapper, socket, would be 3 ms of a cold start

from .errors import ConnectionLostError
from .protocol import NEXT, Call, chunk, last_chunk
from .replies import Reply, ReplyParser, read_whole
from .settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Socket = _socket.socket

_CONNECT_TIMEOUT = 5.0
_READ_SIZE = 64 * 1024
_LARGEST_READ = 1024 * 1024
_REMEMBERED = 256


class Connection:
    """Sends one call at a time to *address*; connects when there is something to send."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: Socket | None = None
        self._poll = NEXT.encode(address)
        self._last_data: bytes | None = None
        self._last_reply = Reply(0, {}, b"")

    def send(self, call: Call) -> Reply:
        """
        Send *call* and return the reply.

        Raises:
            ConnectionLostError: The connection could not be made, or broke.
            MalformedReplyError: What came back is not an HTTP/1.1 reply.
        """
        connected = self._socket or connect(self._address)
        self._socket = None  # kept again only after a whole exchange
        try:
            reply = self._exchange(connected, self._poll if call is NEXT else call.encode(self._address))
        except BaseException:
            _close(connected)
            raise
        if reply.closes:
            _close(connected)
        else:
            self._socket = connected
        return reply

    def stream(self, call: Call) -> StreamedBody:
        """
        Begin *call*, whose body follows in chunks.

        Raises:
            ConnectionLostError: The connection could not be made.
        """
        connected, self._socket = self._socket, None
        if connected is not None and _was_closed(connected):
            _close(connected)
            connected = None
        return StreamedBody(connected or connect(self._address), call.encode(self._address), self.keep)

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._socket is not None:
            _close(self._socket)
            self._socket = None

    def keep(self, connected: Socket) -> None:
        """Have the next call go over *connected*, which leads to the same address and is in order."""
        self.close()
        self._socket = connected

    def _exchange(self, connected: Socket, request: bytes) -> Reply:
        try:
            connected.sendall(request)
        except OSError as error:
            return _early_reply(connected, error)
        try:
            data = connected.recv(_READ_SIZE)
        except OSError as error:
            raise ConnectionLostError(f"the connection broke: {error}") from error
        if data == self._last_data:
            # Most acknowledgements are the one before, to the byte: it need not be read again.
            return self._last_reply
        reply = read_whole(data)
        if reply is None:
            parser = ReplyParser()
            return (parser.feed(data) if data else parser.end()) or read_reply(connected, parser)
        if len(data) <= _REMEMBERED:
            self._last_data, self._last_reply = data, reply
        return reply


def connect(address: Address) -> Socket:
    """Return a connection to *address*; raises ConnectionLostError."""
    refused: OSError | None = None
    try:
        # As bytes: a host given as text loads the tables of international names, 2 ms of a cold start.
        found = _socket.getaddrinfo(address.host.encode(), address.port, 0, _socket.SOCK_STREAM)
    except OSError as error:
        found, refused = [], error
    for family, kind, protocol, _, place in found:
        try:
            connected = _socket.socket(family, kind, protocol)
        except OSError as error:  # no descriptor is left
            refused = error
            continue
        connected.settimeout(_CONNECT_TIMEOUT)
        try:
            connected.connect(place)
        except OSError as error:
            _close(connected)
            refused = error
            continue
        connected.settimeout(None)
        connected.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return connected
    raise ConnectionLostError(f"cannot connect to the Runtime API at {address}: {refused}") from refused


class StreamedBody:
    """
    The body of one request, sent in chunks while it is made, behind its *head*.

    Any thread may send, one at a time; *keep* is given the connection when
    the exchange has left it in order.
    """

    def __init__(self, connected: Socket, head: bytes, keep: Callable[[Socket], None]) -> None:
        self._socket = connected
        self._unsent = head
        self._keep = keep

    def send_some(self, data: bytes) -> int:
        """
        Take *data*, and send what there is room for without waiting.

        Returns:
            How many bytes are left for the next *send*.

        Raises:
            ConnectionLostError: The connection broke.
        """
        unsent = self._take(data)
        try:
            self._unsent = unsent[self._socket.send(unsent, _socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            self._unsent = unsent
        except OSError as error:
            raise ConnectionLostError(f"the connection broke: {error}") from error
        return len(self._unsent)

    def send(self, data: bytes) -> None:
        """Send *data*, and wait until there was room for all of it; raises what *send_some* raises."""
        try:
            self._socket.sendall(self._take(data))
        except OSError as error:
            raise ConnectionLostError(f"the connection broke: {error}") from error

    def end(self, data: bytes, trailers: str) -> Reply:
        """
        Send *data*, the last of the body, with *trailers*, and return the reply.

        Also when the connection broke before: a server that refuses a body
        may answer, and close, before it has read all of it.

        Raises:
            ConnectionLostError: There is none.
            MalformedReplyError: What came back is not an HTTP/1.1 reply.
        """
        self._unsent = self._take(data) + last_chunk(trailers)
        return self.reply()

    def reply(self) -> Reply:
        """Return the reply to a request that is whole, or was sent without a body; raises what *end* raises."""
        try:
            reply = self._exchange(self._take(b""))
        except BaseException:
            _close(self._socket)
            raise
        if reply.closes:
            _close(self._socket)
        else:
            self._keep(self._socket)
        return reply

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    def abort(self) -> None:
        """Break the connection off; whoever waits in *send* gets a ConnectionLostError."""
        try:
            self._socket.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # it is not connected any more

    def close(self) -> None:
        """Let go of a connection that was broken off, when nobody sends any more."""
        _close(self._socket)

    def _take(self, data: bytes) -> bytes:
        unsent, self._unsent = self._unsent, b""
        return unsent + chunk(data) if data else unsent

    def _exchange(self, data: bytes) -> Reply:
        try:
            self._socket.sendall(data)
        except OSError as error:
            return _early_reply(self._socket, error)
        return read_reply(self._socket, ReplyParser())


def _close(connected: Socket) -> None:
    try:
        connected.getsockname()
        connected.close()
    except OSError:
        connected.detach()  # the function has closed descriptors that are not its own, and may have reused the number


def _was_closed(connected: Socket) -> bool:
    # A stream cannot be sent a second time, so a kept connection is looked at first.
    try:
        connected.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True  # its end, or bytes that answer no request


def read_reply(connected: Socket, parser: ReplyParser) -> Reply:
    """Return what comes over *connected*, behind what *parser* has had of it; raises ConnectionLostError."""
    reply = None
    while reply is None:
        try:
            data = connected.recv(max(_READ_SIZE, min(parser.wanted, _LARGEST_READ)))
        except OSError as error:
            raise ConnectionLostError(f"the connection broke: {error}") from error
        reply = parser.feed(data) if data else parser.end()
    return reply


def _early_reply(connected: Socket, refused: OSError) -> Reply:
    # A server that refuses a body may answer and close before it has read all of it.
    try:
        reply = read_reply(connected, ReplyParser())
    except ConnectionLostError:
        raise ConnectionLostError(f"the connection broke: {refused}") from refused
    reply.closes = True
    return reply
