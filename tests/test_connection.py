"""The plain socket to the Runtime API: what it reuses, when it connects anew, and how it breaks."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_ric import protocol
from lambda_ric.connection import Connection
from lambda_ric.errors import ConnectionLostError, MalformedReplyError
from lambda_ric.protocol import NEXT
from lambda_ric.settings import Address
from tests.support.fakes import ACCEPTED, FakeRuntimeAPI, reply

POST = protocol.init_error(b"{}", "Runtime.X")

Pieces = tuple[bytes, ...]


class Server:
    """
    A server with a script: for each connection, the pieces of bytes that answer its requests.

    It closes a connection behind the last of its answers without a word, and resets it if that is RESET.
    """

    def __init__(self, *connections: list[Pieces]) -> None:
        self.requests: list[bytes] = []
        self._script = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which close alone does not tell a thread that accepts
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for answers in self._script:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # a client that breaks off
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pieces in answers:
                    self.requests.append(connection.recv(65536))
                    for piece in pieces:
                        if piece == RESET:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        else:
                            connection.sendall(piece)


RESET = b"reset"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection to where no one listens yet."""
    yield (opened := Connection(Address("127.0.0.1", 9)))
    opened.close()


def to(server: Server) -> Connection:
    """Return a connection to *server*."""
    return Connection(server.address)


def test_one_connection_serves_all_calls() -> None:
    """A connection costs more than a call. Parity 40."""
    with FakeRuntimeAPI("one", "two") as api:
        connection = Connection(Address.parse(api.address))

        replies = [connection.send(call) for call in (NEXT, POST, NEXT, POST)]
        connection.close()

    assert [(reply.status, reply.body) for reply in replies] == [
        (200, b'"one"'),
        (202, b'{"status":"OK"}\n'),
        (200, b'"two"'),
        (202, b'{"status":"OK"}\n'),
    ]
    assert {request.connection for request in api.requests} == {0}


def test_request_goes_out_whole_in_one_piece() -> None:
    """What the server reads is what the protocol has encoded."""
    with Server([(OK,), (OK,)]) as server:
        connection = to(server)
        for call in (NEXT, POST):
            connection.send(call)
        connection.close()

    assert server.requests == [NEXT.encode(server.address), POST.encode(server.address)]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello"),
        (b"HT", b"TP/1.1 200 OK\r\nContent-Len", b"gth: 5\r\n\r", b"\nhel", b"lo"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nh", b"el\r", b"\n2\r\nlo\r\n0\r\n", b"\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",),
    ],
)
def test_reply_is_read_however_it_is_framed_and_cut(pieces: Pieces) -> None:
    """After each of them the connection can be used again. Parity 34."""
    with Server([pieces, (OK,)]) as server:
        connection = to(server)

        replies = [connection.send(NEXT), connection.send(NEXT)]
        connection.close()

    assert [(reply.status, reply.body) for reply in replies] == [(200, b"hello"), (200, b"ok")]


def test_event_of_the_largest_size_is_read() -> None:
    """Events have up to 6 MB."""
    body = os.urandom(6 * 1024 * 1024)
    with Server([(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)]) as server:
        connection = to(server)

        received = connection.send(NEXT)
        connection.close()

    assert received.body == body


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_connection_that_the_server_ends_is_replaced(first: bytes) -> None:
    """Without an error and without a request that goes nowhere. Parity 40."""
    with Server([(first,)], [(OK,)]) as server:
        connection = to(server)

        replies = [connection.send(NEXT), connection.send(NEXT)]
        connection.close()

    assert [reply.body for reply in replies] == [b"hello", b"ok"]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((), "the connection was closed without a reply"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), "the connection was closed without a reply"),
        ((b"HTTP/1.1 2",), "the connection was closed in the middle of a reply"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",), "the connection was closed in the middle of a reply"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",), "the connection was closed in the"),
        ((RESET,), "the connection broke: [Errno 104] Connection reset by peer"),
        ((b"HTTP/1.1 200 OK\r\n", RESET), "the connection broke: [Errno 104] Connection reset by peer"),
    ],
)
def test_connection_that_breaks_is_told_and_the_next_call_makes_a_new_one(pieces: Pieces, text: str) -> None:
    """Whoever calls decides whether the call is made again. Parity 44."""
    with Server([pieces], [(OK,)]) as server:
        connection = to(server)

        with pytest.raises(ConnectionLostError) as lost:
            connection.send(NEXT)
        received = connection.send(NEXT)
        connection.close()

    assert str(lost.value).startswith(text)
    assert received.body == b"ok"


def test_kept_connection_that_was_closed_meanwhile_is_told() -> None:
    """A server may close an idle connection without a word."""
    with Server([(OK,)], [(OK,)]) as server:
        connection = to(server)
        connection.send(NEXT)

        with pytest.raises(ConnectionLostError):
            connection.send(NEXT)
        received = connection.send(NEXT)
        connection.close()

    assert received.body == b"ok"


def test_garbage_is_told_and_the_next_call_makes_a_new_connection() -> None:
    """What follows garbage on its connection is garbage, too."""
    with Server([(b"+OK POP3 ready\r\n",)], [(OK,)]) as server:
        connection = to(server)

        with pytest.raises(MalformedReplyError, match="not an HTTP"):
            connection.send(NEXT)
        received = connection.send(NEXT)
        connection.close()

    assert received.body == b"ok"


def test_bytes_behind_a_reply_are_not_taken_for_the_next_one() -> None:
    """The next request gets its own reply, over a new connection."""
    with Server([(OK + ACCEPTED,)], [(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine",)]) as server:
        connection = to(server)

        replies = [connection.send(NEXT), connection.send(NEXT)]
        connection.close()

    assert [reply.body for reply in replies] == [b"ok", b"mine"]


@pytest.mark.parametrize("host", ["127.0.0.1", "x" * 70])
def test_address_where_no_one_listens_is_named(host: str) -> None:
    """Refused or unknown: the log says which address it was. Parity 44."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(ConnectionLostError) as lost:
        Connection(Address(host, port)).send(NEXT)

    assert str(lost.value).startswith(f"cannot connect to the Runtime API at {host}:{port}: [Errno ")


def test_refusal_that_comes_before_the_body_was_read_is_the_reply() -> None:
    """A server may refuse a body for its size, and close before it has read all of it."""
    refusal = reply(413, b"too large")
    large = protocol.init_error(bytes(64 * 1024 * 1024), "Runtime.X")
    with Server([(refusal,)], [(OK,)]) as server:
        connection = to(server)

        replies = [connection.send(large), connection.send(NEXT)]
        connection.close()

    assert [(reply.status, reply.body) for reply in replies] == [(413, b"too large"), (200, b"ok")]


def test_body_that_is_refused_without_a_reply_is_a_lost_connection() -> None:
    """As the next call finds out. Parity 44."""
    large = protocol.init_error(bytes(64 * 1024 * 1024), "Runtime.X")
    with Server([(RESET,)], [(OK,)]) as server:
        connection = to(server)

        with pytest.raises(ConnectionLostError, match=r"the connection broke: \[Errno (32|104)\]"):
            connection.send(large)
        received = connection.send(NEXT)
        connection.close()

    assert received.body == b"ok"


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Runtime API is not on the network. Parity 40."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with Server([(OK,)]) as server:
        connection = to(server)

        received = connection.send(NEXT)
        connection.close()

    assert received.body == b"ok"


def test_small_requests_are_not_held_back() -> None:
    """TCP_NODELAY: Nagle's algorithm would wait for an acknowledgement first. Parity 40."""
    with FakeRuntimeAPI("one") as api:
        connection = Connection(Address.parse(api.address))
        connection.send(NEXT)

        options = [own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for own in _sockets_connected_to(api.address)]
        connection.close()

    assert options == [1]


def test_reply_is_waited_for_without_a_timeout() -> None:
    """The next event may be hours away; a socket with a timeout does not block in the kernel. Parity 40."""
    with FakeRuntimeAPI("one") as api:
        connection = Connection(Address.parse(api.address))
        connection.send(NEXT)

        blocking = [os.get_blocking(own.fileno()) for own in _sockets_connected_to(api.address)]
        connection.close()

    assert blocking == [True]


def _sockets_connected_to(address: str) -> Iterator[socket.socket]:
    for link in Path("/proc/self/fd").iterdir():
        try:
            is_socket = os.readlink(link).startswith("socket:")
        except OSError:  # the one that lists the directory
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(int(link.name))) as own:
                try:
                    peer = own.getpeername()
                except OSError:
                    continue
                if own.family == socket.AF_INET and "{}:{}".format(*peer) == address:
                    yield own


def test_closed_connection_can_be_used_again() -> None:
    """After a restore from a snapshot the old connection must not be used, but a new one."""
    with Server([(OK,)], [(OK,)]) as server:
        connection = to(server)

        connection.send(protocol.RESTORE_NEXT)
        connection.close()
        received = connection.send(NEXT)
        connection.close()

    assert received.body == b"ok"


def test_closing_twice_is_allowed(connection: Connection) -> None:
    """Nothing is open before the first call, or after the last."""
    connection.close()
    connection.close()


def test_same_reply_twice_is_two_replies() -> None:
    """An acknowledgement looks like the one before; each answers its own request."""
    with Server([(ACCEPTED,), (OK,), (ACCEPTED,), (OK,), (OK,)]) as server:
        connection = to(server)

        replies = [connection.send(call).status for call in (POST, NEXT, POST, NEXT, NEXT)]
        connection.close()

    assert replies == [202, 200, 202, 200, 200]
