"""
The server behind every API, spoken to over plain sockets.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast
from urllib.parse import unquote

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_ric.emulator.http.messages import BodyTooLargeError, CutError, RefusedError, Reply, Request, json_reply
from lambda_ric.emulator.http.parsing import MAX_HEAD, MAX_WHOLE, RequestReader, parse
from lambda_ric.emulator.http.server import Handler, listening

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

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def describe(request: Request) -> Reply:
    """Answer with what was understood, unless the client does not want its body read."""
    if "x-unread" in request.headers:
        return Reply(200, b"unread")
    try:
        body = await request.body(limit=1000)
    except BodyTooLargeError:
        return Reply(413)
    return Reply(200, f"{request.method} {request.segments} {body!r} {request.trailers or ''}".encode())


async def digest(request: Request) -> Reply:
    """Answer with the SHA-256 of a body of any size."""
    return Reply(200, hashlib.sha256(await request.body(limit=100_000_000)).hexdigest().encode())


async def fail(request: Request) -> Reply:
    raise LookupError("in the middle")


def answer(request: Request) -> Reply | Awaitable[Reply]:
    """Answer in the way that the path names."""
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    match request.segments:
        case ["at-once", *_]:
            return Reply(200, f"{request.path} {request.whole(1000)!r}".encode())
        case ["future"]:
            asyncio.get_running_loop().call_soon(future.set_result, Reply(200, b"later"))
            return future
        case ["digest"]:
            return digest(request)
        case ["large"]:
            return Reply(200, b"x" * 20_000_000)
        case ["stream"]:
            return Reply(200, parts(b"one", b"", b"two"))
        case ["cut"]:
            return Reply(200, parts(b"one", CutError()))
        case ["fault-in-the-stream"]:
            return Reply(200, parts(b"one", LookupError("in the stream")))
        case ["header"]:
            return Reply(200, headers={"X-Value": unquote(request.query), "Set-Cookie": ["a=1", "b=2"]})
        case ["no-content"]:
            return Reply(204)
        case ["refused"]:
            raise RefusedError(403, "InvalidStateTransition", "no")
        case ["fault"]:
            raise LookupError("at once")
        case ["fault-later"]:
            return fail(request)
        case ["fault-of-a-future"]:
            asyncio.get_running_loop().call_soon(future.set_exception, LookupError("of a future"))
            return future
    return describe(request)


async def parts(*items: bytes | Exception) -> AsyncIterator[bytes]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


@contextmanager
def serving(handler: Handler = answer) -> Iterator[tuple[BlockingPortal, int]]:
    """Serve *handler* on a port of this machine."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(listening(handler)) as port:
        yield portal, port


@dataclass
class Server:
    """A server that answers with `answer`, and the event loop in which it runs."""

    portal: BlockingPortal
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, data: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        """Send *data* and, the connection still open, read one reply."""
        with self.connect() as client:
            client.sendall(data)
            reply = http.client.HTTPResponse(client, method=method)
            reply.begin()
            return reply, reply.read()

    def get(self, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as (portal, port):
        yield Server(portal, port)


Exchange = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def exchange(server: Server) -> Exchange:
    """Send bytes over a new connection, and return everything that comes back until the server closes it."""

    def exchange(data: bytes) -> bytes:
        with server.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    return exchange


# Requests, right and wrong...


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


@pytest.mark.parametrize("rest", [b"", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"])
@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://other.example:80/a/b?q", b"('a', 'b')"), (b"HTTPS://other.example", b"('',)")],
)
def test_whole_url_is_a_request_for_its_path(target: bytes, path: bytes, rest: bytes, exchange: Exchange) -> None:
    """
    As proxies are sent it.
    """
    answered = exchange(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + rest + b"\r\n")

    assert answered.startswith(b"HTTP/1.1 200")
    assert path in answered


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
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET orders HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET orders HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", 400),
        (b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http:/orders HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/orders HTTP/1.1\r\nHost: x\r\n\r\n", 400),
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


@settings(max_examples=60, deadline=None)
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


# Two ways to read a request, and one result...

TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).filter(
    lambda name: name.lower() not in ("te", "host", "expect", "upgrade", "connection")
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f") | st.just("\t"))
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map("/{}".format)


@st.composite
def plain_requests(draw: st.DrawFn) -> bytes:
    """Whole requests of HTTP/1.1 with every header once, and nothing special."""
    headers = draw(st.dictionaries(TOKENS, VALUES, max_size=4))
    headers = {name: value for name, value in headers.items() if [*map(str.lower, headers)].count(name.lower()) == 1}
    body = draw(st.binary(max_size=30))
    if body or draw(st.booleans()):
        headers[draw(st.sampled_from(["Content-Length", "content-length"]))] = str(len(body))
    lines = [f"{name}:{draw(st.sampled_from(['', ' ', ' ' * 2]))}{value}" for name, value in headers.items()]
    lines.insert(draw(st.integers(0, len(lines))), "Host: x")
    if draw(st.booleans()):
        lines.append("Connection: keep-alive")
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "X"]))
    return "\r\n".join([f"{method} {draw(TARGETS)} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


@st.composite
def damaged_requests(draw: st.DrawFn) -> bytes:
    """Plain requests in which a few bytes have changed."""
    data = bytearray(draw(plain_requests()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        put = st.sampled_from([b"", b"\r", b"\n", b"\0", b"\x0b", b" ", b":", b"\x7f", b"Host: y\r\n", b"\r\n\r\n"])
        data[at : at + draw(st.integers(0, 2))] = draw(put | st.binary(max_size=2))
    return bytes(data)


class Arrived:
    """A connection on which everything has come already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def receive(self) -> bytes:
        data, self._data = self._data, b""
        return data


def read_with_h11(data: bytes) -> tuple[object, bytes]:
    """Return what the slow path makes of *data*, and what follows the request."""
    reader = RequestReader(cast(Any, Arrived(data)))

    async def read() -> object:
        request, version = await reader.request()
        assert version == b"1.1"
        return await everything(request)

    return anyio.run(read), reader.rest()


async def everything(request: Request) -> object:
    body = await request.body(1_000_000)
    return request.method, request.path, request.query, request.segments, request.headers, body, request.trailers


@settings(deadline=None)
@given(plain_requests(), st.binary(max_size=10))
def test_plain_request_is_read_as_h11_reads_it(data: bytes, following: bytes) -> None:
    """
    The quick path yields the same request, and leaves the same bytes to the next.
    """
    parsed = parse(data + following)

    assert parsed is not None
    request, rest = parsed
    assert (anyio.run(everything, request), rest) == read_with_h11(data + following)


@settings(deadline=None, max_examples=200)
@given(damaged_requests())
def test_what_the_quick_path_takes_h11_takes_as_well(data: bytes) -> None:
    """
    The quick path is not more lenient, and never of another opinion.
    """
    parsed = parse(data)

    if parsed is not None:
        request, rest = parsed
        assert (anyio.run(everything, request), rest) == read_with_h11(data)


@pytest.mark.parametrize("place", ["GE~T", "/pa~th", "Ho~st", "value ~ of it", "HTTP/1.1~", "tail~\r\n"])
def test_every_byte_is_read_as_h11_reads_it(place: str) -> None:
    """
    Wherever it stands, control characters above all.
    """
    plain = "GET /path HTTP/1.1\r\nHost: x\r\nA: value  of it\r\nB: tail\r\n\r\n"
    before, after = (part.encode() for part in plain.replace(place.replace("~", ""), place, 1).split("~"))
    for byte in range(256):
        data = before + bytes([byte]) + after
        parsed = parse(data)
        if parsed is not None:
            assert (anyio.run(everything, parsed[0]), parsed[1]) == read_with_h11(data)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_request_that_has_not_come_whole_is_not_taken(size: int) -> None:
    """
    A body is whole or not there; what follows it is not part of it.
    """
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"

    parsed = parse(data + b"abcGE"[:size])

    if size < 3:
        assert parsed is None
    else:
        assert parsed is not None
        assert (parsed[0].whole(3), parsed[0].whole(2), parsed[1]) == (b"abc", None, b"GE"[: size - 3])


REQUESTS = {
    "plain": GET,
    "plain with a body": b"POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none",
    "body and connection: close": b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\none",
    "body and a header twice": b"POST / HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\nContent-Length: 3\r\n\r\none",
    "body in HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\none",
    "lines without CR": b"POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\none",
    "chunked with trailers": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b"2\r\non\r\n1;ext=1\r\ne\r\n0\r\nX-Sum: 7\r\n\r\n",
    "body of a wrong length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "body of two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\none",
    "three": GET + b"POST /at-once/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
    b"POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_client_need_not_close_to_get_its_reply(server: Server, name: str) -> None:
    """
    Whatever has come whole is answered, while the connection stays open.
    """
    reply, body = server.ask(REQUESTS[name])

    assert reply.status == (400 if "length" in name else 200)
    if "body" in name and reply.status == 200:
        assert b"b'one'" in body


def test_trailers_are_there_after_the_body(server: Server) -> None:
    """
    Only a chunked body has them.
    """
    assert server.ask(REQUESTS["chunked with trailers"])[1] == b"POST ('',) b'one' {'x-sum': '7'}"


async def exchange_in_segments(port: int, segments: list[bytes], size: int) -> bytes:
    """Send *segments* one by one; return the first *size* bytes of what comes back."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as client, anyio.fail_after(10):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        for segment in segments:
            client.send(segment)
            # The server shares the loop: so it sees each one for itself.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        received = b""
        while len(received) < size and (data := await loop.sock_recv(client, size)):
            received += data
        return received


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(sorted(REQUESTS)), st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_reply_does_not_depend_on_how_the_request_was_cut(
    server: Server, exchange: Exchange, name: str, cuts: list[int]
) -> None:
    """
    TCP may cut anywhere.
    """
    data = REQUESTS[name]
    expected = exchange(data)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    segments = [data[start:end] for start, end in pairwise(edges)]

    assert server.portal.call(exchange_in_segments, server.port, segments, len(expected)) == expected


def test_request_that_comes_byte_by_byte_is_answered(server: Server, exchange: Exchange) -> None:
    """
    So do those of somebody who types.
    """
    data = REQUESTS["three"]
    segments = [data[at : at + 1] for at in range(len(data))]

    expected = exchange(data)

    assert server.portal.call(exchange_in_segments, server.port, segments, len(expected)) == expected


def test_replies_come_in_the_order_of_the_requests(exchange: Exchange) -> None:
    """
    Whether they are there at once, or later, or are streams.
    """
    paths = ["at-once/1", "future", "at-once/2", "stream", "describe/3", "at-once/4"]

    answered = exchange(b"".join(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths * 20))

    shown = [
        b"/at-once/1 ",
        b"later",
        b"/at-once/2 ",
        b"3\r\none\r\n3\r\ntwo\r\n",
        b"'describe', '3'",
        b"/at-once/4 ",
    ] * 20
    at = [0]
    for text in shown:
        at.append(answered.index(text, at[-1]) + len(text))
    assert answered.count(b"HTTP/1.1 200") == len(shown)


def test_any_number_of_requests_may_come_together(exchange: Exchange) -> None:
    """
    They are served one after the other, and not on top of each other.
    """
    data = b"".join(b"GET /at-once/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3000))

    found = re.findall(rb"/at-once/(\d+) ", exchange(data))

    assert [int(number) for number in found] == list(range(3000))


# ...what is sent back...


def test_stream_is_sent_in_chunks(server: Server) -> None:
    """
    Each item is one chunk, and an empty one does not end the body.
    """
    reply, body = server.get("/stream")

    assert (reply.status, body) == (200, b"onetwo")
    assert reply.getheader("Transfer-Encoding") == "chunked"
    assert reply.getheader("Content-Length") is None


@pytest.mark.parametrize("path", ["/cut", "/fault-in-the-stream"])
def test_stream_that_will_not_be_complete_is_cut(server: Server, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    The client sees that the end is missing; only a fault of our own is logged.
    """
    with server.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with http.client.HTTPResponse(client) as reply:
            reply.begin()
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                reply.read()

    assert ("in the stream" in caplog.text) == (path == "/fault-in-the-stream")
    assert server.get("/")[0].status == 200


def test_client_of_http_1_0_gets_a_stream_without_chunks(exchange: Exchange) -> None:
    """
    It knows no other end than that of the connection.
    """
    answered = exchange(b"GET /stream HTTP/1.0\r\n\r\n")

    head, _, body = answered.partition(b"\r\n\r\n")
    assert body == b"onetwo"
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize("path", ["/", "/at-once", "/stream", "/large"])
def test_head_request_gets_no_body(exchange: Exchange, path: str) -> None:
    """
    The answer to HEAD is that to GET without the body, and the connection goes on.
    """
    answered = exchange(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + GET.replace(b"/ ", b"/next "))

    head, _, following = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert following.startswith(b"HTTP/1.1 200")
    assert b"'next'" in following


def test_status_without_a_body_has_no_length(server: Server) -> None:
    """
    A Content-Length is not allowed with 204.
    """
    reply, body = server.get("/no-content")

    assert (reply.status, body, reply.getheader("Content-Length")) == (204, b"", None)


@pytest.mark.parametrize(
    "value", ["%0d%0aX-Evil: 1", "%0aX-Evil: 1", "%0dX-Evil: 1", "%00", "%85", "%e2%80%a8X-Evil: 1"]
)
def test_value_of_a_header_cannot_begin_another_one(server: Server, value: str) -> None:
    """
    Control characters, which may come from a function, do not get out.
    """
    reply, _ = server.get(f"/header?{value.replace(' ', '%20')}")

    assert reply.getheader("X-Evil") is None
    assert (reply.getheader("X-Value") or "").isprintable()
    assert reply.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("framing", ["plain", "h11"])
@pytest.mark.parametrize(
    ("path", "text"), [("/fault", "at once"), ("/fault-later", "in the middle"), ("/fault-of-a-future", "of a future")]
)
def test_fault_of_a_handler_is_500_and_logged(
    server: Server, path: str, text: str, framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The client learns nothing of it but the status, the log everything, and the connection goes on.
    """
    extra = "" if framing == "plain" else "A: 1\r\nA: 2\r\n"
    data = f"GET {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()
    with server.connect() as client:
        for _ in range(2):
            client.sendall(data)
            reply = http.client.HTTPResponse(client)
            reply.begin()
            body = reply.read()

    fault = json_reply(500, {"errorMessage": "Internal Server Error", "errorType": "InternalServerError"})
    assert (reply.status, body) == (500, fault.body)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert f"LookupError: {text}" in caplog.text


@pytest.mark.parametrize("extra", ["", "A: 1\r\nA: 2\r\n"])
def test_refusal_is_told_to_the_client(server: Server, extra: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    A request that an API does not accept is no fault of ours.
    """
    reply, body = server.ask(f"GET /refused HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())

    assert (reply.status, body) == (403, b'{"errorMessage":"no","errorType":"InvalidStateTransition"}\n')
    assert not caplog.records


# ...a great deal of it...


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [MAX_WHOLE - 1, MAX_WHOLE, MAX_WHOLE + 1, 20_000_000])
def test_body_may_be_large(server: Server, size: int, chunked: bool) -> None:
    """
    Ours are of 6 MiB, a stream's of any size.
    """
    data = bytes(range(256)) * (size // 256 + 1)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/digest", iter([data[:size]]) if chunked else data[:size], encode_chunked=chunked)

    assert connection.getresponse().read() == hashlib.sha256(data[:size]).hexdigest().encode()
    connection.close()


def test_reply_may_be_large(exchange: Exchange) -> None:
    """
    It is written as fast as the client reads, and the next one after it.
    """
    answered = exchange(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + GET)

    large, _, following = answered.rpartition(b"HTTP/1.1 200 OK")
    assert large.endswith(b"Content-Length: 20000000\r\n\r\n" + b"x" * 20_000_000)
    assert following.endswith(b"GET ('',) b'' ")


def test_hundred_clients_are_served_at_the_same_time() -> None:
    """
    None of them waits for another.
    """
    waiting: list[asyncio.Future[Reply]] = []

    def answer_when_all_are_there(request: Request) -> Awaitable[Reply]:
        waiting.append(asyncio.get_running_loop().create_future())
        if len(waiting) == 100:
            for number, future in enumerate(waiting):
                future.set_result(Reply(200, b"%d" % number))
        return waiting[-1]

    async def ask(port: int, replies: set[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        replies.add(await reader.read(2))
        writer.close()
        await writer.wait_closed()

    async def main() -> set[bytes]:
        replies: set[bytes] = set()
        async with listening(answer_when_all_are_there) as port:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    for _ in range(100):
                        tasks.start_soon(ask, port, replies)
        return replies

    assert anyio.run(main) == {b"%d" % number for number in range(100)}


# ...and clients that go, or stay too long.


def reset(client: socket.socket) -> None:
    """Close by RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_client_that_does_not_wait_for_its_answers_harms_nobody(server: Server) -> None:
    """
    A connection that is reset in the middle of an answer ends, and no other.
    """
    for path in [b"/", b"/at-once", b"/stream", b"/large"] * 5:
        with server.connect() as client:
            client.sendall(GET.replace(b"/ ", path + b" ") * 10)
            client.recv(1)
            reset(client)

    assert server.get("/")[0].status == 200


@pytest.mark.parametrize("ending", [reset, socket.socket.close])
@pytest.mark.parametrize("data", [b"GET / HT", REQUESTS["three"][:-8], REQUESTS["plain with a body"][:-1]])
def test_client_that_goes_in_the_middle_of_its_request_harms_nobody(
    server: Server, data: bytes, ending: Callable[[socket.socket], None], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Nothing of it reaches the log.
    """
    with server.connect() as client:
        client.sendall(data)
        ending(client)

    assert server.get("/")[0].status == 200
    assert not caplog.records


def test_stream_that_nobody_reads_any_longer_is_ended() -> None:
    """
    Its source is closed, also one that has always more to say and never waits.
    """
    gone, ended = threading.Event(), threading.Event()
    said: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            gone.wait(10)  # the loop stands still: the server learns of it only when it writes
            for number in range(10_000):
                said.append(number)
                yield b"more"
        finally:
            ended.set()

    with serving(lambda request: Reply(200, endless())) as (_, port):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        client.sendall(GET)
        client.recv(1)
        reset(client)
        gone.set()
        assert ended.wait(10)

    assert len(said) < 10_000


def test_end_of_the_server_ends_what_it_was_doing() -> None:
    """
    Handlers are cancelled, streams are closed, and the clients see it.
    """
    ended: list[str] = []

    async def wait(name: str) -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    async def handler(request: Request) -> Reply:
        if request.path == "/stream":
            return Reply(200, wait("stream"))
        async for _ in wait("handler"):
            pass
        raise AssertionError

    async def main() -> list[bytes]:
        clients = []
        async with listening(handler) as port:
            for path in (b"/stream", b"/handler", b"/slow"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(GET.replace(b"/ ", path + b" ") if path != b"/slow" else b"GET /")
                clients.append((reader, writer))
            await clients[0][0].readuntil(b"begun\r\n")
        left = [await reader.read() for reader, _ in clients]
        for _, writer in clients:
            writer.close()
        return left

    assert anyio.run(main) == [b"", b"", b""]
    assert sorted(ended) == ["handler", "stream"]


def test_connection_of_the_last_moment_is_ended_as_well() -> None:
    """
    Also one that was not yet accepted when the server ended.
    """

    async def main() -> None:
        async with listening(answer) as port:
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            await asyncio.sleep(0)
        for client in clients:
            client.settimeout(10)
            with pytest.raises(ConnectionError):  # noqa: PT012
                if not client.recv(1):
                    raise ConnectionAbortedError
            client.close()

    anyio.run(main)


def test_port_that_is_taken_is_an_error() -> None:
    """
    And not one of two servers on it.
    """

    async def main() -> None:
        async with listening(answer) as port:
            with pytest.raises(OSError, match="in use"):
                async with listening(answer, port):
                    pass

    anyio.run(main)
