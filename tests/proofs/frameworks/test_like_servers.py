"""The same requests, answered by a server, uvicorn or wsgiref, and by a function behind its URL: the same responses."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proofs.frameworks.conftest import App, Serve, Server, as_function, under_server


@dataclass(frozen=True)
class Call:
    """A request; its *line* is sent as it stands, so that nothing is encoded in another way."""

    line: str
    headers: Sequence[tuple[str, str]] = ()
    content: bytes = b""

    def __str__(self) -> str:
        return " ".join([self.line, *(f"{name}={value}" for name, value in self.headers)])

    def to(self, server: Server) -> httpx.Response:
        method, target = self.line.split(" ", 1)
        extensions = {"target": target.encode()}
        headers, content = list(self.headers), self.content
        server.client.cookies.clear()
        request = server.client.build_request(method, "/", headers=headers, content=content, extensions=extensions)
        return server.client.send(request, stream=True)


FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")
MULTIPART = ("content-type", "multipart/form-data; boundary=cut")
TEXT = ("content-type", "text/plain; charset=utf-8")
BINARY = ("content-type", "application/octet-stream")

UPLOAD = (
    b'--cut\r\nContent-Disposition: form-data; name="name"\r\n\r\nZo\xc3\xab\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n--cut--\r\n"
)

CALLS = [
    Call("GET /json"),
    Call("HEAD /json"),
    Call("PUT /json"),
    Call("OPTIONS /json"),
    Call("GET /missing"),
    Call("GET /"),
    # Paths and queries, exactly as they are sent.
    Call("GET /echo/a/b"),
    Call("GET /echo/Zo%C3%AB/%F0%9F%A6%80"),
    Call("GET /echo/a%2Fb"),
    Call("GET /echo/a%2fb%20c+d%25e%3Ff"),
    Call("GET /echo//a//b/"),
    Call("GET /echo/a;b=c,d@e:f"),
    Call("GET /echo/%FF"),
    Call("GET /echo/x?"),
    Call("GET /echo/x?a=1&a=2&b=&c&=d"),
    Call("GET /echo/x?a=b+c%20d&e%3Df=g%26h&i=%C3%AB&j=%2F%2f"),
    Call("GET /echo/x?a=1,2&a=3;4"),
    Call("GET /echo/x?%"),
    Call("GET /slash"),
    Call("GET /slash?a=%20b"),
    # Headers and cookies.
    Call("GET /echo/x", [("x-of-test", "one, two"), ("x-of-mine", "")]),
    Call("GET /echo/x", [("cookie", 'theme=dark; session=a=b; quoted="x y"')]),
    Call("GET /headers"),
    Call("GET /json", [("host", "elsewhere.example.org")]),
    # Bodies.
    Call("POST /form", [FORM], b"name=Zo%C3%AB&empty=&a=1&a=2+3"),
    Call("POST /form", [MULTIPART], UPLOAD),
    Call("POST /form", [FORM], b""),
    Call("POST /bytes", [BINARY], bytes(range(256)) * 10),
    Call("POST /bytes", [TEXT], "Zoë 🦀 \x00".encode()),
    Call("POST /bytes", [], b"of no type"),
    Call("POST /bytes", [BINARY], b"x" * 1_000_000),
    Call("POST /bytes"),
    # Statuses.
    Call("GET /redirect"),
    Call("GET /nothing"),
    Call("DELETE /nothing"),
    Call("GET /cached"),
    Call("GET /cached", [("if-none-match", '"v1"')]),
    Call("GET /error"),
    # Streams and compression.
    Call("GET /stream"),
    Call("GET /large"),
    Call("GET /large", [("accept-encoding", "identity")]),
]

CALLS_OF = {
    "starlette_app": [
        Call("GET /state"),
        Call("GET /inner/echo/x%2Fy?a=1"),
        Call("GET /inner/error"),
        Call("GET /inner"),
        Call("GET /session"),
        Call("GET /json", [("origin", "https://example.org")]),
        Call("OPTIONS /json", [("origin", "https://example.org"), ("access-control-request-method", "PUT")]),
        Call("OPTIONS /json", [("origin", "https://other.org"), ("access-control-request-method", "PUT")]),
        Call("POST /parts", [BINARY], b"x" * 1_000_000),
        Call("GET /bad-value"),
        Call("GET /refusal"),
        Call("GET /odd-status"),
        Call("GET /forbidden"),
        Call("GET /async-stream"),
        Call("HEAD /async-stream"),
        Call("GET /file"),
        Call("HEAD /file"),
        Call("GET /file", [("range", "bytes=2-5")]),
        Call("GET /file", [("range", "bytes=1000-")]),
        Call("GET /static/pixel.png"),
        Call("GET /static/pixel.png", [("if-none-match", '"no"')]),
        Call("GET /static/none.png"),
        Call("GET /static/..%2fjob.py"),
    ],
    "fastapi_app": [
        Call("GET /state"),
        Call("POST /orders", [JSON], b'{"id": "o-17", "items": ["a"]}'),
        Call("POST /orders", [JSON], b'{"items": 1}'),
        Call("POST /orders", [JSON], b"no JSON"),
        Call("POST /echo/x?a=1", [JSON], b"{}"),
        Call("PATCH /echo/x", [JSON], b"{}"),
        Call("DELETE /echo/x"),
        Call("GET /refusal"),
    ],
    "litestar_app": [Call("GET /state"), Call("GET /refusal"), Call("GET /async-stream")],
    "django_app": [Call("GET /async-echo?a=1"), Call("GET /async-stream")],
    "flask_app": [Call("PATCH /echo/x", [JSON], b"{}"), Call("DELETE /echo/x"), Call("GET /refusal")],
}

BARE_CALLS = [
    Call("GET /json"),
    Call("HEAD /json"),
    Call("GET /no-headers"),
    Call("GET /many-parts"),
    Call("HEAD /many-parts"),
    Call("GET /no-body"),
    Call("GET /fails-at-once"),
    Call("GET /returns-at-once"),
    Call("GET /upper-case"),
    Call("GET /disconnect"),
]

SHAPES_CALLS = [
    *(
        Call(f"GET {under}/{path}")
        for under in ["", "/discard", "/catch", "/read-first", "/buffer", "/all"]
        for path in ["plain", "failing", "plain-stream", "custom", "failing-background", "after-response"]
    ),
    Call("GET /view"),
    Call("GET /none"),
    Call("GET /disconnected"),
    Call("POST /length", [BINARY], b"12345"),
    Call("POST /read-first/length", [BINARY], b"12345"),
    Call("POST /all/length", [BINARY], b"12345"),
    Call("GET /set-current/context"),
    Call("GET /set-current/context"),
    Call("GET /set-current/context-in-thread"),
    Call("GET /all/context"),
]

SHAPES = App("starlette_shapes")
FLASK, DJANGO_WSGI = App("flask_app", wrapper="WSGIHandler"), App("django_app", "wsgi_app", "WSGIHandler")
APPS = [
    App("starlette_app"),
    App("fastapi_app"),
    App("litestar_app"),
    App("django_app"),
    App("quart_app"),
    FLASK,
    DJANGO_WSGI,
    App("falcon_app", wrapper="WSGIHandler"),
]


@pytest.mark.parametrize("mode", ["buffered", "response_stream"])
@pytest.mark.parametrize(
    ("app", "call"),
    [
        *((app, call) for app in APPS for call in [*CALLS, *CALLS_OF.get(app.module, ())]),
        *((App("bare_app"), call) for call in BARE_CALLS),
        *((SHAPES, call) for call in SHAPES_CALLS),
    ],
    ids=str,
)
def test_response_is_that_of_a_server(serve: Serve, app: App, call: Call, mode: str) -> None:
    """Status, every header but those of the server and of the connection, and every byte of the body."""
    servers = serve(app)
    assert_same(call, servers["server"], servers[mode])


def assert_same(call: Call, server: Server, function: Server) -> None:
    """Assert that the *function* answers *call* like the *server*."""
    expected, answer = call.to(server), call.to(function)

    assert (str(call), answer.status_code) == (str(call), expected.status_code)
    but = not_comparable(answer, expected)
    assert (str(call), headers(answer, but)) == (str(call), headers(expected, but))
    assert body(answer) == body(expected)


# Each server has its own, or it concerns the connection.
NOT_COMPARED = {"date", "server", "connection", "transfer-encoding", "x-amzn-requestid", "x-amzn-trace-id"}


def not_comparable(answer: httpx.Response, expected: httpx.Response) -> set[str]:
    """Return the names of headers by which *answer*, of a function, differs from *expected* as it has to."""
    names = set(NOT_COMPARED)
    # What is streamed comes without; what is not streamed here may be with uvicorn. No length of a body reaches the
    # platform but that of the body that is there, so that the answer to HEAD tells none.
    both = "content-length" in answer.headers and "content-length" in expected.headers
    if not both or expected.request.method == "HEAD" or expected.status_code in (204, 304):
        names.add("content-length")
    # A function URL gives it to what has none.
    if "content-type" not in expected.headers and answer.headers.get("content-type") == "application/json":
        names.add("content-type")
    return names


def headers(answer: httpx.Response, but: set[str]) -> dict[str, list[str]]:
    """Return the headers of *answer*, each with its values, without those that are named in *but*."""
    found: dict[str, list[str]] = {}
    for name, value in answer.headers.multi_items():
        if name not in but:
            found.setdefault(name, []).append(value)
    # Payload format 2.0 has one value for a name. To join several changes nothing (RFC 9110, 5.3), cookies excepted.
    return {name: values if name == "set-cookie" else [", ".join(values)] for name, values in found.items()}


def body(answer: httpx.Response) -> bytes:
    """Return the body of *answer*, decompressed: what is compressed has the time in it."""
    raw = b"".join(answer.iter_raw())
    return gzip.decompress(raw) if answer.headers.get("content-encoding") == "gzip" else raw


JOBS = [
    (App("starlette_app"), "POST /background", "one"),
    (App("starlette_app"), "POST /several", "first, then second"),
    (App("starlette_app"), "POST /stream-with-background", "after the stream"),
    (SHAPES, "POST /stream", "after the stream"),
    (SHAPES, "POST /read-first/stream", "after the stream"),
    (SHAPES, "POST /all/stream", "after the stream"),
    (App("fastapi_app"), "POST /background", "one"),
    (App("fastapi_app"), "POST /dependency", "closed"),
    (App("litestar_app"), "POST /background", "one"),
    (App("litestar_app"), "POST /hook", "hooked"),
    (App("django_app"), "POST /background", "one"),
    (FLASK, "POST /background", "one"),
    (DJANGO_WSGI, "POST /background", "one"),
]


@pytest.mark.parametrize("server", ["server", "buffered", "response_stream"])
@pytest.mark.parametrize(("app", "line", "said"), JOBS, ids=str)
def test_job_runs_after_the_answer_and_to_its_end(serve: Serve, app: App, line: str, said: str, server: str) -> None:
    """
    Each framework's own means: the job waits for a word from here, which comes when the answer has been read.

    As under uvicorn, the next request is answered as well.
    """
    where = serve(app)[server]
    answer = Call(line).to(where)
    read = body(answer)
    with where.job.waiting():
        pass

    assert where.job.said() == said
    assert (answer.status_code < 300, read != b"") == (True, True)
    assert Call("GET /json").to(where).read()


@pytest.mark.parametrize("server", ["server", "response_stream"])
@pytest.mark.parametrize("app", [app for app in APPS if app != DJANGO_WSGI], ids=str)
def test_part_of_a_stream_arrives_before_the_next_is_made(serve: Serve, app: App, server: str) -> None:
    """The next part waits for a word from here, which comes when the first has been read."""
    where = serve(app)[server]
    parts = Call("GET /slow-stream", [("accept-encoding", "identity")]).to(where).iter_raw()
    first = next(parts)
    with where.job.waiting():
        pass

    assert where.job.said() == "in the middle"
    assert (first, b"".join(parts)) == (b"first", b"second")


@pytest.mark.parametrize("server", ["server", "response_stream"])
def test_stream_that_breaks_off_is_no_whole_response(serve: Serve, server: str) -> None:
    """The status was sent long ago; the client sees that the end is missing."""
    parts = Call("GET /broken-stream").to(serve(SHAPES)[server]).iter_raw()

    with pytest.raises(httpx.RemoteProtocolError):
        list(parts)


@pytest.mark.parametrize("serving", [under_server, partial(as_function, mode="buffered")], ids=["server", "function"])
def test_lifespan_ends_with_the_server(serving: Callable[..., Any], tmp_path: Path) -> None:
    """In Lambda with the environment; it has begun once before, for all requests."""
    with serving(App("starlette_app"), tmp_path) as server:
        for _ in range(2):
            assert Call("GET /state").to(server).read() == b'{"started":true,"times":1}'
        assert not (tmp_path / "ended").exists()

    assert (tmp_path / "ended").exists()
