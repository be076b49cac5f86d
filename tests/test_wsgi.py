"""WSGI applications as handlers; with real frameworks they are served in tests/proofs/frameworks."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from wsgiref.validate import validator

import pytest

from lambda_ric import wait_until
from lambda_ric.emulator.function.examples import example
from lambda_ric.errors import ErrorStatusError, HandlerTimeoutError, UnsupportedEventError
from lambda_ric.hooks import PROCESS_HOOKS, Hooks
from lambda_ric.testing import Invoked, invoke
from lambda_ric.wsgi import WSGIHandler
from tests.conftest import Serve
from tests.support.fakes import Event

# With its signal, which is the default, pytest-timeout takes the alarm of the runtime.
pytestmark = pytest.mark.timeout(method="thread")

EVENT = json.loads(example("function-url"))
TEXT = [("Content-Type", "text/plain")]

each_mode = pytest.mark.parametrize("mode", ["buffered", "response_stream"])


class Body:
    """The iterable of a WSGI application."""

    def __init__(self, *parts: bytes, close: Callable[[], object] = lambda: None) -> None:
        self._parts = parts
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


def served(app: Any, mode: Any = "buffered", event: Any = EVENT, **options: Any) -> Invoked:
    """Return how *app* served an event, to the end of what it did after that."""
    return invoke(WSGIHandler(app, invoke_mode=mode), event, hooks=Hooks(), **options)


def answer(invoked: Invoked) -> tuple[int, bytes]:
    """Return status and body, however they came."""
    if invoked.prelude is not None:
        return invoked.prelude["statusCode"], invoked.payload
    return invoked.response["statusCode"], invoked.response["body"].encode()


def head(invoked: Invoked) -> dict[str, Any]:
    """Return what came before the body."""
    return invoked.prelude if invoked.prelude is not None else invoked.response


def environ_of(event: Any = EVENT, **options: Any) -> dict[str, Any]:
    """Return the environment that an application sees."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        start_response("204 No Content", [])
        return []

    invoke(WSGIHandler(app, **options), event, hooks=Hooks())
    return seen[0]


def with_headers(**headers: str) -> Any:
    return EVENT | {"headers": EVENT["headers"] | headers}


def with_body(body: str) -> Any:
    return EVENT | {"body": body}


# What the application is given...


def test_request_is_the_event() -> None:
    """Method, path, query, headers and body, as PEP 3333 names them."""
    environ = environ_of()

    names = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_COOKIE", "REMOTE_ADDR"]
    assert {name: environ[name] for name in names} == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/orders/o-17",
        "QUERY_STRING": "tag=gift&tag=express",
        "CONTENT_TYPE": "application/json",
        "HTTP_COOKIE": "session=4f1c; theme=dark",
        "REMOTE_ADDR": "203.0.113.7",
    }
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"], environ["SERVER_PROTOCOL"]) == (
        "https",
        "443",
        "HTTP/1.1",
    )
    assert environ["SERVER_NAME"] == EVENT["headers"]["host"]
    assert environ["wsgi.input"].read().decode() == EVENT["body"]


@each_mode
def test_validator_of_the_standard_library_has_no_complaint(mode: str) -> None:
    """It knows the PEP by heart: the environment, the file, the head, the body, and close."""

    @validator
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        lines = [body.readline(), body.readline(3), *body.readlines(), body.read(1)]
        environ["wsgi.errors"].write("")
        write = start_response("200 OK", TEXT)
        write(b"written, ")
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](BytesIO(b"".join(lines)))
        return wrapped

    invoked = served(app, mode, with_body("one\ntwo\nthree"))

    assert answer(invoked) == (200, b"written, one\ntwo\nthree")


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda body: body.read(), b"one\ntwo\nthree"),
        (lambda body: body.read(5), b"one\nt"),
        (lambda body: body.readline(), b"one\n"),
        (lambda body: body.readline(2), b"on"),
        (lambda body: body.readlines(), [b"one\n", b"two\n", b"three"]),
        (lambda body: body.readlines(5), [b"one\n", b"two\n"]),
        (lambda body: list(body), [b"one\n", b"two\n", b"three"]),
        (lambda body: next(body), b"one\n"),
        (lambda body: [body.read(4), body.read(), body.read(), body.readlines()], [b"one\n", b"two\nthree", b"", []]),
    ],
)
def test_body_of_the_request_is_a_file(read: Callable[[Any], Any], found: Any) -> None:
    """Each of its methods, with a size and without; at its end it is at its end."""
    assert read(environ_of(with_body("one\ntwo\nthree"))["wsgi.input"]) == found


def test_request_without_a_body_has_an_empty_file() -> None:
    """Load balancers send none to GET."""
    environ = environ_of(json.loads(example("alb")))

    assert (environ["wsgi.input"].read(), environ["wsgi.input"].readlines()) == (b"", [])
    assert environ.get("CONTENT_LENGTH", "0") == "0"


@pytest.mark.parametrize("claimed", ["26", "80", "none"])
def test_content_length_is_that_of_the_body(claimed: str) -> None:
    """Whatever the header says: bodies are edited by hand in tests, and change when bytes are replaced."""
    event = with_headers(**{"content-length": claimed}) | {"body": "0123456789" * 5}

    assert environ_of(event)["CONTENT_LENGTH"] == "50"


def test_header_with_an_underscore_does_not_pass_for_another() -> None:
    """An environment cannot tell them apart: a client could forge what is set in front of the function."""
    environ = environ_of(with_headers(**{"x-user": "alice", "x_user": "carol", "x_admin": "yes", "content_type": "a"}))

    assert environ["HTTP_X_USER"] == "alice"
    assert "HTTP_X_ADMIN" not in environ
    assert environ["CONTENT_TYPE"] == "application/json"


def test_repeated_header_is_joined() -> None:
    """The environment has one value for a name."""
    event = json.loads(example("apigw-v1"))
    event["multiValueHeaders"]["x-tag"] = ["gift", "express"]

    assert environ_of(event)["HTTP_X_TAG"] == "gift,express"


def test_text_of_the_environment_is_the_bytes_in_latin_1() -> None:
    """As PEP 3333 wants it: in path, mount point and headers."""
    environ = environ_of(with_headers(**{"x-to": "İzmir"}) | {"rawPath": "/caf%C3%A9/%FF"}, root_path="/à la")

    assert environ["PATH_INFO"].encode("latin-1") == b"/caf\xc3\xa9/\xff"
    assert environ["SCRIPT_NAME"].encode("latin-1") == "/à la".encode()
    assert environ["HTTP_X_TO"].encode("latin-1") == "İzmir".encode()


def test_root_path_is_the_script_name() -> None:
    """Links that the application builds begin with it."""
    environ = environ_of(root_path="/orders")

    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/orders", "/o-17")


def test_event_and_context_are_in_the_environment() -> None:
    """By the names that ASGI's scope has, and by those of serverless-wsgi."""
    environ = environ_of()

    assert environ["aws.event"] == environ["serverless.event"] == EVENT
    assert environ["aws.context"] is environ["serverless.context"]
    assert environ["aws.context"].invoked_function_arn.endswith(":function:test")


# The head of the response...


@each_mode
def test_answer_is_what_the_application_gives_in_all(mode: str) -> None:
    """Status, headers, cookies, and the parts of the body as one."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("201 Created", [*TEXT, ("X-One", "1"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")])
        return Body(b"one, ", b"", b"two")

    invoked = served(app, mode)

    assert answer(invoked) == (201, b"one, two")
    assert (head(invoked)["headers"]["x-one"], head(invoked)["cookies"]) == ("1", ["a=b", "c=d"])


@each_mode
@pytest.mark.parametrize("late", [False, True], ids=["at once", "with the first part"])
def test_head_is_replaced_by_that_of_an_error_before_the_first_part(mode: str, late: bool) -> None:
    """With exc_info, until a byte of the body is there; empty parts are none."""

    def fail(start_response: Any) -> bytes:
        try:
            raise ValueError("no such order")
        except ValueError:
            start_response("500 Internal Server Error", [("Content-Type", "text/html")], sys.exc_info())
        return b"<h1>Something went wrong</h1>"

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        if not late:
            return [fail(start_response)]
        return (fail(start_response) if number else b"" for number in range(2))

    invoked = served(app, mode)

    assert answer(invoked) == (500, b"<h1>Something went wrong</h1>")
    assert head(invoked)["headers"]["content-type"] == "text/html"


@each_mode
def test_error_after_the_first_part_is_raised_from_start_response(mode: str) -> None:
    """The head may be with the client: the application is told the error that it had."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"half"
        try:
            raise ValueError("no such order")
        except ValueError:
            start_response("500 Internal Server Error", [], sys.exc_info())

    invoked = served(app, mode)

    if mode == "buffered":
        assert answer(invoked) == (500, b"Internal Server Error")
    else:
        assert invoked.payload == b"half"
        assert repr(invoked.outcome.error) == "ValueError('no such order')"


def test_head_may_come_with_the_first_part() -> None:
    """A generator is an application as well."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("200 OK", TEXT)
        yield b"late"

    assert answer(served(app)) == (200, b"late")


@each_mode
@pytest.mark.parametrize("rows", [0, 5, 50])
@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        ("200 OK", [("Report Name", "orders")], "cannot be the name of a header"),
        ("200 OK", [("X-Name", "one\r\nX-Two: two")], "line break"),
        ("200 OK", [("X-Name", 7)], "are text, not 'int'"),
        ("200 OK", [("X-Name", "λ")], "its text is Latin-1"),
        ("OK", TEXT, "like '200 OK', not 'OK'"),
        (200, TEXT, "like '200 OK', not 200"),
        ("103 Early Hints", TEXT, "the status 103"),
    ],
)
def test_head_that_cannot_be_sent_is_a_500_and_one_record(
    mode: str, rows: int, status: Any, headers: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, with the reason, however much was to follow."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, headers)
        return (b"row %d\n" % row for row in range(rows))

    assert answer(served(app, mode)) == (500, b"Internal Server Error")
    (record,) = caplog.records
    assert reason in str(record.exc_text)


@each_mode
def test_wrong_response_is_a_500_with_the_reason(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """Called twice, never, with text for a body, with no body."""

    def twice(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return []

    def text(environ: dict[str, Any], start_response: Any) -> Iterable[Any]:
        start_response("200 OK", TEXT)
        return ["text"]

    def nothing(environ: dict[str, Any], start_response: Any) -> None:
        start_response("200 OK", TEXT)

    apps = [twice, lambda environ, start_response: [b"a"], lambda environ, start_response: [], text, nothing]

    assert [answer(served(app, mode))[0] for app in apps] == [500] * 5
    reasons = ["start_response again", "did not call start_response", "did not call", "not of 'str'", "not iterable"]
    for reason, record in zip(reasons, caplog.records, strict=True):
        assert reason in str(record.exc_text)


@each_mode
def test_exception_is_an_internal_server_error_and_one_record(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """As of a server; it is no background task."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise KeyError("secret")

    invoked = served(app, mode)

    assert answer(invoked) == (500, b"Internal Server Error")
    assert invoked.tasks == []
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lambda_ric.wsgi", logging.ERROR)
    assert record.getMessage() == "Exception in WSGI application"
    assert "KeyError: 'secret'" in str(record.exc_text)


@each_mode
@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not")])
def test_response_that_has_no_body_is_sent_without(mode: str, method: str, status: str) -> None:
    """Whatever the application says."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Content-Length", "5")])
        return [b"he", b"llo"]

    event = json.loads(example("function-url"))
    event["requestContext"]["http"]["method"] = method
    invoked = served(app, mode, event)

    assert answer(invoked) == (int(status[:3]), b"")
    assert head(invoked)["headers"]["content-length"] == "5"


# Streaming...


def test_part_is_taken_before_the_next_one_is_made() -> None:
    """A slow reader slows the application: nothing piles up."""
    order: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for number in range(3):
            order.append(f"made {number}")
            yield b"%d" % number

    serve = WSGIHandler(app, invoke_mode="response_stream")

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        response: Any = serve(event, context)
        for part in response.body:
            order.append(part)
            yield part

    invoke(handler, EVENT, hooks=Hooks())

    assert order == ["made 0", b"0", "made 1", b"1", "made 2", b"2"]


def test_failure_within_a_stream_is_raised_after_what_was_sent() -> None:
    """The runtime tells the caller and the log."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"half"
        raise KeyError("broken")

    invoked = served(app, "response_stream")

    assert invoked.payload == b"half"
    assert repr(invoked.outcome.error) == "KeyError('broken')"


def test_response_is_buffered_where_nothing_can_stream() -> None:
    """The event says so, whatever the setting is."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return [b"all"]

    assert answer(served(app, "response_stream", json.loads(example("alb")))) == (200, b"all")


# The end of the response...


@each_mode
def test_what_close_does_does_not_delay_the_answer(mode: str) -> None:
    """It runs when the caller has the answer, and may hand work over."""
    order: list[str] = []

    def close() -> None:
        order.append("closed")
        wait_until(order.append, "handed over")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(b"done", close=close)

    hooks = Hooks()
    hooks.after.append(lambda outcome: order.append("answered"))
    invoked = invoke(WSGIHandler(app, invoke_mode=mode), EVENT, hooks=hooks)  # type: ignore[arg-type]

    assert answer(invoked) == (200, b"done")
    assert order == ["answered", "closed", "handed over"]


@each_mode
@pytest.mark.parametrize("end", ["returned", "raised", "refused", "deadline"])
def test_body_is_closed_however_the_response_ended(mode: str, end: str) -> None:
    """Once; a connection that it holds would be lost otherwise."""
    closed: list[str] = []

    def parts() -> Iterator[bytes]:
        yield b"one"
        if end == "raised":
            raise KeyError("broken")
        if end == "deadline":
            time.sleep(60)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        body: Any = Body(close=lambda: closed.append(end))
        body._parts = ["text"] if end == "refused" else parts()
        return body  # type: ignore[no-any-return]

    served(app, mode, timeout=0.4 if end == "deadline" else 10)

    assert closed == [end]


def test_close_that_is_done_at_once_is_no_background_work() -> None:
    """Flask's responses all have one."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(b"done")

    assert served(app).tasks == []


def test_failing_close_does_not_fail_the_invocation() -> None:
    """The answer was delivered before it."""

    def close() -> None:
        raise RuntimeError("too late")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(b"done", close=close)

    invoked = served(app)

    assert invoked.response["statusCode"] == 200
    assert [(task.name, task.state) for task in invoked.tasks] == [("POST /orders/o-17", "failed")]


def test_close_that_hangs_does_not_hold_up_the_next_request(caplog: pytest.LogCaptureFixture) -> None:
    """It is interrupted when its time is up, which is told once."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(b"done", close=threading.Event().wait)

    handler = WSGIHandler(app)
    first = invoke(handler, EVENT, hooks=Hooks(), timeout=0.4)
    second = invoke(handler, EVENT, hooks=Hooks(), timeout=0.4)

    assert [invoked.response["statusCode"] for invoked in (first, second)] == [200, 200]
    assert [task.state for invoked in (first, second) for task in invoked.tasks] == ["cancelled", "cancelled"]
    assert ["was cut off" in record.getMessage() for record in caplog.records] == [True, True]


@each_mode
def test_deadline_interrupts_the_application_wherever_it_is(mode: str) -> None:
    """In the call, and in every part of the body; a generator ends there and then."""
    ended: list[str] = []

    def in_the_call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(60)
        return []

    def in_a_part(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            yield b"one"
            time.sleep(60)
        finally:
            ended.append("closed")

    for app in (in_the_call, in_a_part):
        assert isinstance(served(app, mode, timeout=0.4).outcome.error, HandlerTimeoutError)
    assert ended == ["closed"]


@each_mode
def test_environment_is_fit_for_use_after_twenty_cuts(mode: str, serve: Serve) -> None:
    """No thread is left, every generator was closed before the next event, and the next request is answered."""
    slow = EVENT | {"rawPath": "/slow"}
    done = serve(
        """
        import os, threading, time
        from flask import Flask, Response
        from lambda_ric.wsgi import WSGIHandler

        app = Flask(__name__)
        before = []

        @app.get("/slow")
        @app.post("/slow")
        def slow():
            before.append(held())
            return Response(rows(), mimetype="text/plain")

        def rows():
            try:
                for row in range(1000):
                    time.sleep(0.02)
                    yield f"{row}\\n"
            finally:
                print("rows closed")

        @app.post("/orders/<order_id>")
        def quick(order_id):
            while held() != before[0]:  # a thread's last steps are not waited for
                time.sleep(0.01)
            return "fine"

        def held():
            return threading.active_count(), len(os.listdir("/proc/self/fd"))

        handler = WSGIHandler(app)
        """,
        *[Event(slow, timeout=0.3)] * 20,
        EVENT,
        env={"LAMBDA_RIC_INVOKE_MODE": mode, "LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert done.lines.count("rows closed") == 20
    assert b"fine" in done.posts[-1].body


def test_response_that_is_collected_until_the_deadline_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """With what to set."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        while True:
            yield b"tick"
            time.sleep(0.01)

    served(app, timeout=0.4)

    assert "LAMBDA_RIC_INVOKE_MODE=response_stream" in caplog.text


# The handler itself...


@each_mode
def test_answer_with_an_error_status_is_an_error_of_the_function(mode: Any) -> None:
    """Closed all the same."""
    closed: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("503 Service Unavailable", TEXT)
        return Body(b"away", close=lambda: closed.append("closed"))

    invoked = invoke(WSGIHandler(app, invoke_mode=mode, error_statuses=[503]), EVENT, hooks=Hooks())

    assert type(invoked.outcome.error) is ErrorStatusError
    assert closed == ["closed"]


def test_other_event_goes_to_the_handler_of_events() -> None:
    """Its result is the function's."""

    def events(event: Any, context: Any) -> Any:
        return {"seen": event["Records"]}

    handler = WSGIHandler(lambda environ, start_response: [], events=events)

    assert invoke(handler, {"Records": [1]}, hooks=Hooks()).response == {"seen": [1]}


def test_lifespan_is_none_of_wsgi() -> None:
    """Nothing is registered to run at the start."""
    before = list(PROCESS_HOOKS.startup)

    WSGIHandler(lambda environ, start_response: [])

    assert PROCESS_HOOKS.startup == before


def test_what_is_no_application_is_refused() -> None:
    """At import, not at the first request."""
    with pytest.raises(TypeError, match="called with environ and start_response"):
        WSGIHandler("app:app")  # type: ignore[arg-type]


def test_option_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    """In the words of the caller; a lifespan is ASGI's."""
    with pytest.raises(TypeError, match=r"^WSGIHandler has no 'lifespan': it takes invoke_mode, root_path, events"):
        WSGIHandler(lambda environ, start_response: [], lifespan="off")  # type: ignore[call-arg]


def test_application_of_the_other_kind_is_refused_with_its_handler() -> None:
    """At import, and not as a 500 for each request."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(TypeError, match=r"ASGI application.* ASGIHandler\(app\)"):
        WSGIHandler(app)  # type: ignore[arg-type]


def test_function_that_takes_other_arguments_is_no_application() -> None:
    """A factory: told at import as well."""

    def create_app() -> Any: ...

    with pytest.raises(TypeError, match=r"called with environ and start_response, not .*create_app"):
        WSGIHandler(create_app)


def test_word_that_is_none_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="WSGIHandler takes invoke_mode='buffered' or 'response_stream'"):
        WSGIHandler(lambda environ, start_response: [], invoke_mode="stream")  # type: ignore[arg-type]


def test_event_that_is_no_request_is_refused() -> None:
    """The invocation fails, and says why."""
    invoked = served(lambda environ, start_response: [], event={"Records": []})

    assert isinstance(invoked.outcome.error, UnsupportedEventError)


def test_application_is_called_on_the_main_thread() -> None:
    """Where the deadline can interrupt it, and an event loop of its own may run."""
    import asyncio

    async def answered() -> bytes:
        return b"fine"

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert threading.current_thread() is threading.main_thread()
        assert environ["wsgi.multithread"] is False
        start_response("200 OK", TEXT)
        return [asyncio.run(answered())]

    assert answer(served(app)) == (200, b"fine")
