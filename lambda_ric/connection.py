"""
A keep-alive HTTP/1.1 connection to the Runtime API over a plain socket.

The loop's own transport: `http.client` costs three times as much for each
event, and an HTTP library's import alone more than a cold start should. It
never uses a proxy, and it never times out: the next event may be hours away.
"""

from __future__ import annotations

import socket

from .errors import ConnectionLostError
from .protocol import Call, Reply, ReplyParser
from .settings import Address

_CONNECT_TIMEOUT = 5.0
_READ_SIZE = 64 * 1024


class Connection:
    """Sends one call at a time to *address*; connects when there is something to send."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, call: Call) -> Reply:
        """
        Send *call* and return the reply.

        Raises:
            ConnectionLostError: The connection could not be made, or broke.
            MalformedReplyError: What came back is not an HTTP/1.1 reply.
        """
        connected = self._socket or self._connect()
        self._socket = None  # kept again only after a whole exchange
        try:
            reply = _exchange(connected, call.encode(self._address))
        except BaseException:
            connected.close()
            raise
        if reply.closes:
            connected.close()
        else:
            self._socket = connected
        return reply

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        try:
            connected = socket.create_connection((self._address.host, self._address.port), _CONNECT_TIMEOUT)
        except OSError as error:
            raise ConnectionLostError(f"cannot connect to the Runtime API at {self._address}: {error}") from error
        connected.settimeout(None)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected


def _exchange(connected: socket.socket, request: bytes) -> Reply:
    refused: OSError | None = None
    try:
        connected.sendall(request)
    except OSError as error:
        # A server that refuses a body may answer and close before it has read all of it.
        refused = error
    parser = ReplyParser()
    while True:
        try:
            data = connected.recv(max(_READ_SIZE, min(parser.wanted, 16 * _READ_SIZE)))
        except OSError as error:
            raise ConnectionLostError(f"the connection broke: {refused or error}") from error
        if not data:
            return parser.end()
        reply = parser.feed(data)
        if reply is not None:
            reply.closes = reply.closes or refused is not None
            return reply
