"""
The server behind the Runtime API, spoken to over plain sockets.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import pytest
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskStatus
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_ric.emulator.server import MAX_HEAD, BodyTooLargeError, Reply, Request, serve_connection

FRAGMENTS = [
    b"POST / HTTP/1.1\r\n",
    b"CONNECT x:1 HTTP/1.1\r\n",
    b"GET ",
    b"Host: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 7\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"0\r\n",
]

Exchange = Callable[[bytes], bytes]


async def describe(request: Request) -> Reply:
    """Answer with what was understood, unless the client does not want its body read."""
    if "x-unread" in request.headers:
        return Reply(200, b"unread")
    try:
        body = await request.body(limit=1000)
    except BodyTooLargeError:
        return Reply(413)
    return Reply(200, f"{request.method} {request.segments} {body!r}".encode())


@contextmanager
def serving() -> Iterator[int]:
    """Serve `describe` on a port of this machine."""

    async def serve(*, task_status: TaskStatus[int]) -> None:
        listener: Listener[SocketStream] = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        async with listener:
            task_status.started(listener.extra(SocketAttribute.local_port))
            await listener.serve(partial(serve_connection, handler=describe))

    with start_blocking_portal("asyncio") as portal:
        future, port = portal.start_task(serve)
        yield port
        future.cancel()


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    """Send bytes over a new connection, and return everything that comes back until the server closes it."""
    with serving() as port:

        def exchange(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: client.recv(65536), b""))

        yield exchange


def test_requests_follow_each_other_on_one_connection(exchange: Exchange) -> None:
    """
    Connections are kept, and requests may be sent before the answers have come.
    """
    answered = exchange(
        b"GET /a/b%20c/d%2Fe?q=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
        b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nt\x77\r\n1\r\no\r\n0\r\n\r\n"
    )

    assert answered.count(b"HTTP/1.1 200") == 3
    assert b"GET ('a', 'b c', 'd/e') b''" in answered
    assert b"POST ('length',) b'one'" in answered
    assert b"POST ('chunks',) b'two'" in answered


@pytest.mark.parametrize("framing", [b"Content-Length: 5000", b"X-Unread: 1\r\nContent-Length: 5000"])
def test_body_that_is_not_wanted_is_passed_over(exchange: Exchange, framing: bytes) -> None:
    """
    A body over its reader's limit, or without a reader, does not break the connection.
    """
    answered = exchange(
        b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + b"x" * 5000
        + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
    )  # fmt: skip

    assert answered.startswith((b"HTTP/1.1 413", b"HTTP/1.1 200"))
    assert b"GET ('next',) b''" in answered


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (MAX_HEAD + 70_000), 431),
    ],
)
def test_malformed_request_is_refused_and_the_connection_closed(exchange: Exchange, data: bytes, status: int) -> None:
    """
    What is no HTTP gets one answer that says so, and no second one.
    """
    answered = exchange(data)

    assert answered.startswith(f"HTTP/1.1 {status}".encode())
    assert answered.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answered.lower()


def test_head_of_the_size_of_an_x_ray_cause_is_accepted(exchange: Exchange) -> None:
    """
    Headers of 64 KiB occur: the X-Ray cause is one.
    """
    answered = exchange(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")

    assert answered.startswith(b"HTTP/1.1 200")


def test_client_that_asks_before_it_sends_is_told_to_go_on(exchange: Exchange) -> None:
    """
    Expect: 100-continue is answered when the body is wanted, and only then.
    """
    wanted = exchange(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    unread = exchange(b"POST / HTTP/1.1\r\nHost: x\r\nX-Unread: 1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")

    assert wanted.startswith(b"HTTP/1.1 100")
    assert unread.startswith(b"HTTP/1.1 200")


def test_head_request_gets_no_body(exchange: Exchange) -> None:
    """
    The answer to HEAD is that to GET without the body.
    """
    answered = exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(b"\r\n\r\n")


def test_client_that_does_not_wait_for_its_answers_harms_nobody() -> None:
    """
    A connection that is reset in the middle of an answer ends, and no other.
    """
    with serving() as port:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by RST
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                client.recv(1)

        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answered = client.recv(100)

    assert answered.startswith(b"HTTP/1.1 200")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(FRAGMENTS),
        ),
        max_size=8,
    )
)
def test_server_outlives_whatever_is_sent(exchange: Exchange, parts: list[bytes]) -> None:
    """
    Every connection ends with an answer or without, and the next one is served.
    """
    exchange(b"".join(parts))

    assert exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
