"""WSGI applications as handlers; with real frameworks they are served in tests/frameworks."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from lambda_ric import wait_until
from lambda_ric.emulator.examples import example
from lambda_ric.errors import ConfigurationError
from lambda_ric.hooks import PROCESS_HOOKS, Hooks
from lambda_ric.testing import Invoked, invoke
from lambda_ric.wsgi import WSGIHandler

EVENT = json.loads(example("function-url"))


class Response:
    """The iterable of a WSGI application."""

    def __init__(self, *parts: bytes, close: Callable[[], object] = lambda: None) -> None:
        self._parts = parts
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


def served(app: Any, **options: Any) -> Invoked:
    """Return how *app* served one event, to the end of what it did after that."""
    return invoke(WSGIHandler(app, **options), EVENT, hooks=Hooks())


def test_request_is_the_event() -> None:
    """Method, path, query, headers and body, as PEP 3333 names them."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        environ["body"] = environ["wsgi.input"].read().decode()
        names = ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_COOKIE", "REMOTE_ADDR", "body"]
        return [json.dumps({name: environ[name] for name in names}).encode()]

    answer = served(app).response

    assert json.loads(answer["body"]) == {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/orders/o-17",
        "QUERY_STRING": "tag=gift&tag=express",
        "CONTENT_TYPE": "application/json",
        "HTTP_COOKIE": "session=4f1c; theme=dark",
        "REMOTE_ADDR": "203.0.113.7",
        "body": EVENT["body"],
    }


def test_answer_is_what_the_application_gives_in_all() -> None:
    """Status, headers, cookies, and the parts of the body as one."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("201 Created", [("X-One", "1"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")])
        return Response(b"one, ", b"", b"two")

    answer = served(app).response

    assert (answer["statusCode"], answer["headers"]["x-one"], answer["cookies"]) == (201, "1", ["a=b", "c=d"])
    assert answer["body"] in ("one, two", "b25lLCB0d28=")


def test_what_close_does_does_not_delay_the_answer() -> None:
    """
    It waits for a word that is given after the answer was delivered.
    """
    delivered, closed = threading.Event(), threading.Event()

    def close() -> None:
        assert delivered.wait(10)
        closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        wait_until(delivered.set)  # what is handed over starts when the answer was accepted
        start_response("200 OK", [])
        return Response(b"done", close=close)

    invoked = served(app)

    assert invoked.response["statusCode"] == 200
    assert closed.is_set()
    assert {task.state for task in invoked.tasks} == {"succeeded"}


def test_failing_close_does_not_fail_the_invocation() -> None:
    """The answer was delivered before it."""

    def close() -> None:
        raise RuntimeError("too late")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Response(b"done", close=close)

    invoked = served(app)

    assert invoked.response["statusCode"] == 200
    assert [task.state for task in invoked.tasks] == ["failed"]


def test_close_that_hangs_does_not_hold_up_the_next_request() -> None:
    """Its thread cannot be stopped at the deadline; the next request gets another one."""
    released = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Response(b"done", close=released.wait)

    handler = WSGIHandler(app)
    try:
        first = invoke(handler, EVENT, hooks=Hooks(), timeout=0.4)
        second = invoke(handler, EVENT, hooks=Hooks(), timeout=0.4)
    finally:
        released.set()

    assert [invoked.response["statusCode"] for invoked in (first, second)] == [200, 200]
    assert [task.state for invoked in (first, second) for task in invoked.tasks] == ["cancelled", "cancelled"]


def test_failing_application_is_an_internal_server_error() -> None:
    """As of a server."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("as ordered")

    assert served(app).response["statusCode"] == 500


def test_lifespan_is_none_of_wsgi() -> None:
    """Nothing is registered to run at the start."""
    before = list(PROCESS_HOOKS.startup)

    WSGIHandler(lambda environ, start_response: [])

    assert PROCESS_HOOKS.startup == before


def test_root_path_is_the_script_name() -> None:
    """Links that the application builds begin with it."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]

    assert served(app, root_path="/orders").response["body"] == "/orders /o-17"


def test_missing_bridge_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "a2wsgi", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'lambda-ric\[wsgi\]'"):
        WSGIHandler(lambda environ, start_response: [])
