"""ASGI applications as handlers: what they are given, when their caller has the answer, what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Generator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import litestar
import litestar.background_tasks
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from lambda_ric import after_response, wait_until
from lambda_ric.asgi import ASGIHandler
from lambda_ric.errors import ConfigurationError, ErrorStatusError, HandlerTimeoutError, UnsupportedEventError
from lambda_ric.hooks import Hooks, Outcome
from lambda_ric.testing import Invoked, invoke
from lambda_ric.web import exchange
from tests.conftest import Serve
from tests.support.fakes import Request as APIRequest

# With its signal, which is the default, pytest-timeout takes the alarm of the runtime.
pytestmark = pytest.mark.timeout(method="thread")

EVENTS = Path(__file__).parent / "web" / "events"

each_mode = pytest.mark.parametrize("mode", ["buffered", "response_stream"])

each_call = pytest.mark.parametrize("call", ["direct", "wrapped"])

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def body(data: object = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def event(path: str = "/", method: str = "GET", content: str = "", **headers: str) -> dict[str, Any]:
    """Return the event of a function URL."""
    made: dict[str, Any] = json.loads((EVENTS / "function-url-emulator.json").read_text(encoding="utf-8"))
    made["requestContext"]["http"].update(method=method, path=path)
    return made | {
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "example.com"} | headers,
        "cookies": [],
        "body": content,
        "isBase64Encoded": False,
    }


def ask(
    app: Any,
    mode: Any = "buffered",
    path: str = "/",
    method: str = "GET",
    timeout: float = 60,
    hooks: Hooks | None = None,
    environ: dict[str, str] | None = None,
    call: str = "direct",
    **options: Any,
) -> Invoked:
    """
    Invoke *app*, which has no lifespan, with a request; the *options* are those of the handler.

    The runtime calls that, or a function that calls it: the answer to a *direct* call goes out within it.
    """
    handler: Any = ASGIHandler(app, lifespan="off", invoke_mode=mode, **options)
    if call == "wrapped":
        handler = _wrapped(handler)
    return invoke(handler, event(path, method), timeout=timeout, hooks=hooks or Hooks(), environ=environ)


def _wrapped(handler: Any) -> Any:
    return lambda event, context: handler(event, context)


def answer(invoked: Invoked) -> tuple[int, bytes]:
    """Return status and body, however they came."""
    if invoked.prelude is not None:
        return invoked.prelude["statusCode"], invoked.payload
    return invoked.response["statusCode"], invoked.response["body"].encode()


def hooks_after(function: Callable[[Outcome], None]) -> Hooks:
    """Return a hook that runs when the caller has the answer, and before anything that was handed over."""
    hooks = Hooks()
    hooks.after.append(function)
    return hooks


def unfinished_tasks() -> set[asyncio.Task[Any]]:
    """Return what there is on the event loop, once everything there has had its turn."""
    found: set[asyncio.Task[Any]] = set()

    async def look(event: Any, context: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        found.update(asyncio.all_tasks() - {asyncio.current_task()})

    invoke(look)
    return found


# What the application is given...


def test_scope_has_every_field_of_the_specification_and_the_event_itself() -> None:
    """With the words of ASGI, and Mangum's names for what is Lambda's."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await send(START)
        await send(body())

    given = event("/caf%C3%A9", "POST", accept="text/plain") | {"rawQueryString": "a=1&a=%20"}
    invoke(ASGIHandler(app, lifespan="off", root_path="/v1"), given)

    assert seen.pop("aws.context").invoked_function_arn.endswith(":function:test")
    assert (b"accept", b"text/plain") in seen.pop("headers")
    assert seen == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": seen["scheme"],
        "path": "/v1/café",
        "raw_path": b"/v1/caf%C3%A9",
        "query_string": b"a=1&a=%20",
        "root_path": "/v1",
        "client": ("127.0.0.1", 0),
        "server": seen["server"],
        "state": {},
        "aws.event": given,
    }


def test_body_of_the_request_is_received_once_and_whole() -> None:
    """Lambda has all of it before the function is called."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message["more_body"] is False
        await send(START)
        await send(body(message["body"][::-1]))

    content = "0123456789" * 300_000
    invoked = invoke(ASGIHandler(app, lifespan="off"), event(content=content))

    assert invoked.response["body"] == content[::-1]


@each_mode
def test_disconnect_is_received_when_the_caller_has_the_answer(mode: str) -> None:
    """Applications wait for it to end what they do for the caller: before, it is not true."""
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            order.append((await receive())["type"])

        await receive()
        watching = asyncio.create_task(watch())
        await send(START)
        await send(body(b"a", more=True))
        await send(body(b"b"))
        await watching

    ask(app, mode, hooks=hooks_after(lambda outcome: order.append("answered")))

    assert order == ["answered", "http.disconnect"]


def test_cookies_and_repeated_headers_come_and_go() -> None:
    """Sessions and logins hang on them."""

    async def endpoint(request: Request) -> Response:
        response = PlainTextResponse(f"{request.cookies['a']} {request.cookies['b']}")
        response.set_cookie("c", "3")
        response.set_cookie("d", "4")
        response.headers.append("x-twice", "1")
        response.headers.append("x-twice", "2")
        return response

    given = event() | {"cookies": ["a=1", "b=2"]}
    app = Starlette(routes=[Route("/", endpoint)])
    buffered = invoke(ASGIHandler(app, lifespan="off"), given).response
    streamed = invoke(ASGIHandler(app, lifespan="off", invoke_mode="response_stream"), given)

    assert buffered["body"] == "1 2"
    assert streamed.prelude is not None
    for head in (buffered, streamed.prelude):
        assert [cookie.partition(";")[0] for cookie in head["cookies"]] == ["c=3", "d=4"]
    assert streamed.prelude["multiValueHeaders"] == {"x-twice": ["1", "2"]}
    assert buffered["headers"]["x-twice"] == "1, 2"


def test_event_that_is_no_request_is_refused() -> None:
    """One of a queue, say: the invocation fails, and says why."""
    handler = ASGIHandler(Starlette(), lifespan="off")

    assert isinstance(invoke(handler, {"Records": []}).outcome.error, UnsupportedEventError)


def test_websocket_route_is_not_found_over_http() -> None:
    """Function URLs and API Gateway's HTTP side have no upgrade."""

    async def endpoint(websocket: Any) -> None: ...

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])

    assert answer(ask(app, path="/ws"))[0] == 404


# When the caller has the answer...


@each_mode
def test_answer_is_posted_before_anything_that_follows_the_last_byte(mode: str) -> None:
    """Even what blocks the event loop: the application stands still in its last send until the answer is away."""
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"hello ", more=True))
        await send(body(b"world"))
        order.append("rest")

    invoked = ask(app, mode, hooks=hooks_after(lambda outcome: order.append("answered")))

    assert answer(invoked) == (200, b"hello world")
    assert order == ["answered", "rest"]


def test_caller_has_the_answer_while_the_application_goes_on(serve: Serve, tmp_path: Path) -> None:
    """Within the last send: nothing that comes after it, however soon, is faster."""

    def intercept(request: APIRequest) -> bytes | None:
        if request.name == "response":
            (tmp_path / "answered").touch()
        return None

    served = serve(
        """
        import os, time
        from lambda_ric.asgi import ASGIHandler

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            while not os.path.exists("answered"):
                time.sleep(0.001)

        handler = ASGIHandler(app, lifespan="off")
        """,
        event(),
        intercept=intercept,
    )

    assert [answer["statusCode"] for answer in served.answers] == [204]


def test_function_around_the_handler_may_change_the_answer() -> None:
    """A decorator of another library, say: what it returns is what the caller gets, and the rest comes after that."""
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"hello"))
        order.append("rest")

    serve = ASGIHandler(app, lifespan="off")

    def handler(event: Any, context: Any) -> Any:
        response = serve(event, context)
        order.append("returned")
        return response | {"statusCode": 418}

    assert answer(invoke(handler, event())) == (418, b"hello")
    assert order == ["returned", "rest"]


def test_handler_of_other_events_may_ask_the_application() -> None:
    """What it makes of the answer is the function's result."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(scope["raw_path"]))

    def events(records: Any, context: Any) -> Any:
        return [serve(event(record), context)["body"] for record in records["Records"]]

    serve = ASGIHandler(app, lifespan="off", events=events)

    assert invoke(serve, {"Records": ["/a", "/b"]}).response == ["/a", "/b"]


@pytest.mark.parametrize(("status", "code"), [(413, 1), (500, 1)])
def test_answer_that_lambda_refuses_is_no_error_of_the_application(serve: Serve, status: int, code: int) -> None:
    """Its last send returns as ever; the log has the reason."""

    def intercept(request: APIRequest) -> bytes | None:
        return b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status if request.name == "response" else None

    served = serve(
        """
        from lambda_ric.asgi import ASGIHandler

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            print("sent")

        handler = ASGIHandler(app, lifespan="off")
        """,
        event(),
        intercept=intercept,
    )

    assert "sent" in served.lines
    assert [line for line in served.lines if f"the Runtime API said {status}" in line]
    assert [post.name for post in served.posts] == ["response"]
    assert served.api.polls[1:] == [] if status == 500 else len(served.api.polls) == 2
    assert served.exit_code == code


@each_mode
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("middleware", ["none", "http", "gzip"])
def test_background_tasks_run_after_the_answer(mode: str, kind: str, middleware: str) -> None:
    """Starlette's, with no change to the application, whatever is around it."""
    order: list[str] = []

    def job() -> None:
        order.append("job")

    async def job_that_blocks() -> None:
        order.append("job")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("hello", background=BackgroundTask(job if kind == "sync" else job_that_blocks))

    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-seen"] = "1"
        return response

    around = {
        "none": [],
        "http": [Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
        "gzip": [Middleware(GZipMiddleware, minimum_size=1)],
    }
    app = Starlette(routes=[Route("/orders", endpoint)], middleware=around[middleware])
    for _ in range(2):
        invoked = ask(app, mode, "/orders", hooks=hooks_after(lambda outcome: order.append("answered")))

        assert answer(invoked) == (200, b"hello")
        assert order == ["answered", "job"]
        order.clear()


def test_dependency_of_fastapi_is_left_after_the_answer() -> None:
    """What stands behind its yield is no business of the caller's."""
    order: list[str] = []

    def session() -> Generator[str]:
        yield "session"
        order.append("closed")

    app = FastAPI()

    @app.get("/")
    def endpoint(session: str = Depends(session)) -> str:
        return session

    invoked = ask(app, hooks=hooks_after(lambda outcome: order.append("answered")))

    assert answer(invoked) == (200, b'"session"')
    assert order == ["answered", "closed"]


def test_rest_of_the_application_is_background_work_of_the_requests_name() -> None:
    """In the log it is found by it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body())
        await asyncio.sleep(0)

    (task,) = ask(app, path="/orders/a%0Ab", method="POST").tasks

    assert (task.name, task.state) == ("POST /orders/a%0Ab", "succeeded")


def test_log_mentions_the_rest_only_when_there_was_any(serve: Serve) -> None:
    """Every application returns some time after its last byte: that is no news."""
    served = serve(
        """
        import asyncio
        from lambda_ric.asgi import ASGIHandler

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            await asyncio.sleep(0.02 if scope["path"] == "/slow" else 0)

        handler = ASGIHandler(app, lifespan="off")
        """,
        event("/fast"),
        event("/slow"),
    )

    assert [answer["statusCode"] for answer in served.answers] == [204, 204]
    assert len(served.summaries) == 1
    assert served.stderr == ""


@each_call
def test_failure_after_the_answer_is_logged_and_changes_nothing(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """The caller has had its 200."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"fine"))
        raise KeyError("too late")

    invoked = ask(app, path="/orders", call=call)

    assert answer(invoked) == (200, b"fine")
    assert [task.state for task in invoked.tasks] == ["failed"]
    (record,) = caplog.records
    assert record.getMessage() == "background task GET /orders failed"
    assert record.exc_text is not None
    assert "KeyError: 'too late'" in record.exc_text


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_work_is_handed_over_inside_of_an_endpoint(kind: str) -> None:
    """Also in a synchronous one, which runs in a thread of anyio's."""
    done: list[str] = []
    app = FastAPI()

    @app.get("/sync")
    def endpoint() -> None:
        wait_until(done.append, "sync")

    @app.get("/async")
    async def async_endpoint() -> None:
        wait_until(done.append, "async")

    invoked = ask(app, path=f"/{kind}")

    assert done == [kind]
    assert {task.state for task in invoked.tasks} == {"succeeded"}


@pytest.mark.parametrize("setting", ["warn", "adopt", "cancel"])
def test_application_is_no_task_that_nobody_awaits(setting: str, caplog: pytest.LogCaptureFixture) -> None:
    """The setting for those is about the function's own."""
    done: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body())
        await asyncio.sleep(0.01)
        done.append(True)

    invoked = ask(app, environ={"LAMBDA_RIC_ORPHANS": setting})

    assert len(invoked.tasks) == 1
    assert done == [True]
    assert caplog.records == []


def test_task_that_a_request_leaves_behind_is_named_with_where_it_comes_from(serve: Serve) -> None:
    """To note the line that made it costs each request a tenth of its time: that begins with the first such task."""
    source = """
        import asyncio
        from lambda_ric.asgi import ASGIHandler

        left = []

        async def forever():
            await asyncio.Event().wait()

        async def app(scope, receive, send):
            left.append(asyncio.create_task(forever()))
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        handler = ASGIHandler(app, lifespan="off")
        """
    served = serve(source, event(), event())

    first, second = [line for line in served.lines if "was not awaited" in line]
    lines = source.splitlines()
    assert "task forever, defined at" in first
    assert f"app.py:{lines.index('        async def forever():') + 1}, was" in first
    assert "task forever, created at" in second
    assert f"app.py:{lines.index('            left.append(asyncio.create_task(forever()))') + 1}, was" in second


def test_rest_is_cancelled_when_its_time_is_up(caplog: pytest.LogCaptureFixture) -> None:
    """With its `finally`; and that is told as for any work that is cut off."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"fine"))
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("finally")

    invoked = ask(app, timeout=0.4)

    assert answer(invoked) == (200, b"fine")
    assert [task.state for task in invoked.tasks] == ["cancelled"]
    assert ended == ["finally"]
    assert ["was cut off" in record.getMessage() for record in caplog.records] == [True]


@each_call
def test_rest_that_blocks_is_interrupted_when_its_time_is_up(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """It awaits nothing, so it cannot be asked to stop; that it was cut off is told as of any other."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"fine"))
        try:
            time.sleep(60)  # noqa: ASYNC251
        finally:
            ended.append("finally")

    invoked = ask(app, path="/orders", timeout=0.4, call=call)

    assert answer(invoked) == (200, b"fine")
    assert [(task.name, task.state) for task in invoked.tasks] == [("GET /orders", "cancelled")]
    assert ended == ["finally"]
    assert ["GET /orders was cut off" in record.getMessage() for record in caplog.records] == [True]


@each_call
def test_exit_of_the_rest_is_a_failed_task(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """The caller has its answer, and the environment goes on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"fine"))
        raise SystemExit(3)

    invoked = ask(app, call=call)

    assert answer(invoked) == (200, b"fine")
    assert [(task.state, repr(task.exception())) for task in invoked.tasks] == [("failed", "SystemExit(3)")]
    assert [record.getMessage() for record in caplog.records] == ["background task GET / failed"]


def test_application_that_gets_no_time_after_the_answer_is_cancelled() -> None:
    """It does not stand in its last send for ever."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await send(body(b"fine"))
        finally:
            ended.append("finally")

    before = unfinished_tasks()
    invoked = ask(app, timeout=0.4, hooks=hooks_after(lambda outcome: time.sleep(60)))

    assert answer(invoked) == (200, b"fine")
    assert [task.state for task in invoked.tasks] == ["cancelled", "dropped"]
    assert unfinished_tasks() == before
    assert ended == ["finally"]


@pytest.mark.parametrize(("mode", "call"), [("buffered", "direct"), ("buffered", "wrapped"), ("response_stream", "")])
def test_requests_leave_nothing_behind(mode: str, call: str) -> None:
    """Neither tasks nor what they hold."""
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
    ask(app, mode, call=call)
    before, objects = unfinished_tasks(), [number_of_objects()]
    for _ in range(3):  # what else the process does may make some, but not each time
        for _ in range(100):
            ask(app, mode, call=call)
        objects.append(number_of_objects())

    assert unfinished_tasks() == before
    assert min(after - before for before, after in pairwise(objects)) < 100


def number_of_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_several_requests_are_served_at_the_same_time() -> None:
    """A handler of the function's own may make them of one event."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await send(START)
        await send(body(scope["raw_path"]))
        await asyncio.sleep(0)

    serve = ASGIHandler(app, lifespan="off", invoke_mode="buffered")

    async def handler(event: Any, context: Any) -> Any:
        return await asyncio.gather(*(serve(request, context) for request in event))

    invoked = invoke(handler, [event("/a"), event("/b")])

    assert [response["body"] for response in invoked.response] == ["/a", "/b"]
    assert [task.state for task in invoked.tasks] == ["succeeded", "succeeded"]


# What goes wrong...


@each_mode
@pytest.mark.parametrize("started", [False, True], ids=["unstarted", "started"])
def test_exception_is_a_500_and_one_record(mode: str, started: bool, caplog: pytest.LogCaptureFixture) -> None:
    """As long as the caller has nothing; the reason is for the log."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            await send(START)
        raise KeyError("secret")

    invoked = ask(app, mode)

    assert answer(invoked) == (500, b"Internal Server Error")
    assert invoked.tasks == []
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lambda_ric.asgi", logging.ERROR)
    assert record.getMessage() == "Exception in ASGI application"
    assert record.exc_text is not None
    assert "KeyError: 'secret'" in record.exc_text


def test_exception_within_a_buffered_body_is_a_500() -> None:
    """A part of a response is never taken for the whole."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"half", more=True))
        raise KeyError

    assert answer(ask(app)) == (500, b"Internal Server Error")


def test_exception_of_an_endpoint_is_starlettes_500_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Starlette answers, and raises it again for the server to log."""

    def endpoint(request: Request) -> Response:
        raise KeyError("secret")

    invoked = ask(Starlette(routes=[Route("/", endpoint)]))

    assert answer(invoked) == (500, b"Internal Server Error")
    assert invoked.tasks == []
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("lambda_ric.asgi", "Exception in ASGI application")
    assert "KeyError: 'secret'" in str(record.exc_text)


@each_mode
def test_what_fails_after_the_answer_is_a_failed_task_whatever_the_answer_was(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The background task of an error page is as much of a task as any."""

    async def job() -> None:
        raise KeyError("in the job")

    def on_error(request: Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", 500, background=BackgroundTask(job))

    def endpoint(request: Request) -> Response:
        raise ValueError("in the endpoint")

    invoked = ask(Starlette(routes=[Route("/", endpoint)], exception_handlers={Exception: on_error}), mode)

    assert answer(invoked) == (500, b"sorry")
    assert [(task.state, repr(task.exception())) for task in invoked.tasks] == [("failed", "KeyError('in the job')")]
    assert [record.getMessage() for record in caplog.records] == ["background task GET / failed"]


def test_error_is_reported_to_sentry_once(serve: Serve) -> None:
    """It was reported where it was raised; the record of the runtime is about the same."""
    done = serve(
        """
        import sentry_sdk
        from fastapi import FastAPI
        from lambda_ric.asgi import ASGIHandler

        class Transport(sentry_sdk.transport.Transport):
            def capture_envelope(self, envelope):
                if "database is away" in str(envelope.get_event()):
                    print("reported")

        sentry_sdk.init("http://key@127.0.0.1:1/1", transport=Transport)
        app = FastAPI()

        @app.get("/")
        def endpoint():
            raise RuntimeError("the database is away")

        handler = ASGIHandler(app)
        """,
        event(),
    )

    assert done.lines.count("reported") == 1
    assert len([line for line in done.lines if "Exception in ASGI application" in line]) == 1


@pytest.mark.parametrize(
    ("name", "words"), [("function-url-emulator", "LAMBDA_RIC_INVOKE_MODE"), ("alb-multi-value", "")]
)
def test_response_without_an_end_that_is_collected_is_named(
    name: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets an error of what is in front; the log says what to set."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send(body(b"tick", more=True))
            await asyncio.sleep(0.01)

    given = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    invoked = invoke(ASGIHandler(app, lifespan="off"), given, timeout=0.4)

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    (record,) = [record for record in caplog.records if "was being collected" in record.getMessage()]
    assert words in record.getMessage()


@pytest.mark.parametrize("framework", ["fastapi", "starlette", "litestar", "bare"])
def test_metrics_of_background_work_are_by_route(
    framework: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or by method, where nobody tells the route: each path would be ten metrics, which are billed."""
    monkeypatch.setattr(exchange, "AT_ONCE", 0.0)

    async def job() -> None:
        await asyncio.sleep(0.02)

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("accepted", background=BackgroundTask(job))

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body())
        await job()

    fastapi = FastAPI()

    @fastapi.get("/orders/{order_id}")
    def accept(order_id: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(job)

    @litestar.get("/orders/{order_id:str}", sync_to_thread=False)
    def accept_with_litestar(request: litestar.Request[Any, Any, Any]) -> litestar.Response[None]:
        return litestar.Response(None, background=litestar.background_tasks.BackgroundTask(job))

    apps = {
        "fastapi": fastapi,
        "starlette": Starlette(routes=[Route("/orders/{order_id}", endpoint)]),
        "litestar": litestar.Litestar([accept_with_litestar], logging_config=None),
        "bare": bare,
    }
    for number in range(2):
        ask(apps[framework], path=f"/orders/o-{number}", environ={"LAMBDA_RIC_METRICS_NAMESPACE": "shop"})

    written = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    names = {"litestar": "GET /orders/{order_id}", "bare": "GET"}
    assert [document["Task"] for document in written] == [names.get(framework, "GET /orders/{order_id}")] * 2


def test_method_that_is_none_of_http_is_no_dimension_of_metrics(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who makes methods up would make metrics with them."""
    monkeypatch.setattr(exchange, "AT_ONCE", 0.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body())
        await asyncio.sleep(0.02)

    ask(app, method="BREW-17", environ={"LAMBDA_RIC_METRICS_NAMESPACE": "shop"})

    (document,) = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    assert document["Task"] == "OTHER"


@pytest.mark.parametrize("status", [200, 404, 500])
def test_request_without_background_work_counts_in_no_metric(
    status: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Middleware needs a few turns of the event loop to return; that is no work, whatever was answered."""
    monkeypatch.setattr(exchange, "AT_ONCE", 60.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send(body())
        for _ in range(5):
            await asyncio.sleep(0)

    ask(app, environ={"LAMBDA_RIC_METRICS_NAMESPACE": "shop"})

    assert "_aws" not in capfd.readouterr().out


# Statuses that are errors...


@each_mode
@pytest.mark.parametrize("raised", [True, False])
def test_answer_with_an_error_status_is_an_error_of_the_function(mode: str, raised: bool) -> None:
    """So alarms see it, and events of queues and schedules are tried again; what follows it runs as ever."""
    order: list[str] = []

    def endpoint(request: Request) -> Response:
        if raised:
            raise KeyError("secret")
        return PlainTextResponse("away", 503, background=BackgroundTask(order.append, "job"))

    app = Starlette(routes=[Route("/", endpoint)])
    invoked = ask(app, mode, error_statuses=(500, 502, 503, 504))

    assert type(invoked.outcome.error) is ErrorStatusError
    assert f"GET / with the status {500 if raised else 503}" in str(invoked.outcome.error)
    assert order == ([] if raised else ["job"])
    assert answer(ask(app, mode, error_statuses=(404,)))[0] == (500 if raised else 503)


@each_mode
def test_application_that_fails_itself_has_the_status_500(mode: str) -> None:
    """Whether it makes its error page or not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError

    assert type(ask(app, mode, error_statuses=[500]).outcome.error) is ErrorStatusError


# Events that are no requests...


@pytest.mark.parametrize("kind", ["function", "coroutine function", "generator"])
def test_other_event_goes_to_the_handler_of_events(kind: str) -> None:
    """With all that a handler has; its result is the function's."""
    order: list[Any] = []

    def function(event: Any, context: Any) -> Any:
        wait_until(order.append, context.aws_request_id)
        return {"seen": event["Records"]}

    async def coroutine_function(event: Any, context: Any) -> Any:
        return function(event, context)

    @after_response
    def generator(event: Any, context: Any) -> Any:
        yield function(event, context)

    events = {"function": function, "coroutine function": coroutine_function, "generator": generator}[kind]
    handler = ASGIHandler(Starlette(), lifespan="off", events=events)

    assert invoke(handler, {"Records": [1]}).response == {"seen": [1]}
    assert len(order) == 1
    assert answer(invoke(handler, event("/missing")))[0] == 404


def test_error_of_the_handler_of_events_is_that_of_the_function() -> None:
    """As it was raised."""

    def events(event: Any, context: Any) -> None:
        raise KeyError("as ordered")

    invoked = invoke(ASGIHandler(Starlette(), lifespan="off", events=events), {"warmer": True})

    assert repr(invoked.outcome.error) == "KeyError('as ordered')"


def test_request_that_is_malformed_is_no_other_event() -> None:
    """It is refused by its field."""
    handler = ASGIHandler(Starlette(), lifespan="off", events=lambda event, context: "seen")

    assert isinstance(invoke(handler, event() | {"rawPath": 7}).outcome.error, UnsupportedEventError)


def test_other_event_without_a_handler_is_refused_with_what_to_do() -> None:
    """Lambda would try it again and again."""
    invoked = invoke(ASGIHandler(Starlette(), lifespan="off"), {"Records": []})

    assert "events=" in str(invoked.outcome.error)


# Bodies...


def test_types_of_bodies_can_be_set() -> None:
    """Both ways: by type, or by family."""

    def sent(content_type: bytes, **options: Any) -> bool:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START | {"headers": [(b"content-type", content_type)]})
            await send(body(b"text"))

        encoded: bool = ask(app, **options).response["isBase64Encoded"]
        return encoded

    assert sent(b"application/sql") is False
    assert sent(b"application/sql", binary_types=["application/sql"]) is True
    assert sent(b"application/sql", binary_types=["application/*"]) is True
    assert sent(b"image/x-xbitmap") is True
    assert sent(b"image/x-xbitmap", text_types=["image/x-xbitmap"]) is False
    assert sent(b"application/sql", binary_types=["application/*"], text_types=["application/sql"]) is False


@each_mode
@pytest.mark.parametrize("messages", [[], [START]], ids=["nothing", "start"])
def test_application_that_returns_too_early_is_a_500(
    mode: str, messages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It forgot to answer; the log says so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    assert answer(ask(app, mode)) == (500, b"Internal Server Error")
    assert "returned without" in str(caplog.records[0].exc_text)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([body()], "expected the ASGI message 'http.response.start', but got 'http.response.body'"),
        ([START, START], "expected the ASGI message 'http.response.body', but got 'http.response.start'"),
        ([START, {"type": "http.response.pathsend", "path": "/"}], "but got 'http.response.pathsend'"),
        ([START, body("text")], "are bytes, not 'str'"),
        ([START | {"status": 103}], "the status 103"),
        ([START | {"headers": [(b"a", b"1\r\nb: 2")]}], "line break"),
        ([START | {"headers": [(b"a b", b"1")]}], "cannot be the name of a header"),
        ([START | {"headers": [("a", "1")]}], "are bytes, not 'str'"),
    ],
)
@each_mode
def test_message_that_is_not_in_order_raises_in_the_application(
    mode: str, messages: list[Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At the send that is wrong, as servers do."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    assert answer(ask(app, mode)) == (500, b"Internal Server Error")
    assert reason in str(caplog.records[0].exc_text)


def test_message_after_the_response_raises_in_the_application() -> None:
    """It would get nowhere."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"all"))
        await send(body(b"more"))

    invoked = ask(app)

    assert answer(invoked) == (200, b"all")
    assert "after the response was complete" in str(invoked.tasks[0].exception())


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_what_is_no_exception_of_an_application_is_not_made_a_response(error: BaseException) -> None:
    """The runtime knows what each of them means."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        _ = ask(app).response


@each_mode
def test_application_is_cancelled_at_the_deadline(mode: str) -> None:
    """Together with the handler, and not left to the next invocation."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("finally")

    before = unfinished_tasks()
    invoked = ask(app, mode, timeout=0.4)

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    assert ended == ["finally"]
    assert unfinished_tasks() == before


def test_error_while_it_is_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It may be why there was no answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("in the cleanup")

    invoked = ask(app, timeout=0.4)

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    assert "in the cleanup" in "".join(str(record.exc_text) for record in caplog.records)


def test_application_that_blocks_is_interrupted_at_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """The deadline's own exception is nobody's error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(60)  # noqa: ASYNC251

    invoked = ask(app, timeout=0.4)

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    assert not any("ASGI" in record.getMessage() for record in caplog.records)


# Responses without a body...


@each_mode
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_response_that_has_no_body_is_sent_without(mode: str, method: str, status: int) -> None:
    """Whatever the application says."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START | {"status": status, "headers": [(b"content-length", b"5")]})
        await send(body(b"he", more=True))
        await send(body(b"llo"))

    invoked = ask(app, mode, method=method)

    assert answer(invoked) == (status, b"")
    assert (invoked.prelude or invoked.response)["headers"]["content-length"] == "5"


# Streaming...


@pytest.mark.parametrize("name", ["api-gateway-v2-stage", "alb-multi-value"])
def test_response_is_buffered_where_nothing_can_stream(name: str) -> None:
    """The event says so, whatever the setting is."""
    given = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    handler = ASGIHandler(Starlette(), lifespan="off", invoke_mode="response_stream")

    assert invoke(handler, given).response["statusCode"] == 404


def test_setting_decides_where_the_code_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same package is deployed behind both."""
    monkeypatch.setenv("LAMBDA_RIC_INVOKE_MODE", "response_stream")

    assert ask(Starlette(), None).streamed
    assert not ask(Starlette(), "buffered").streamed


def test_stream_begins_with_its_first_message_even_if_that_is_empty() -> None:
    """The caller has the head while the application still works on the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"", more=True))
        order.append("body")
        await send(body(b"hello"))

    order: list[Any] = []
    serve = ASGIHandler(app, lifespan="off", invoke_mode="response_stream")

    async def handler(event: Any, context: Any) -> AsyncGenerator[bytes]:
        response: Any = await serve(event, context)
        order.append("head")
        async for chunk in response.body:
            order.append(chunk)
            yield chunk

    assert invoke(handler, event()).response == b"hello"
    assert order == ["head", b"", "body", b"hello"]


def test_send_returns_when_its_chunk_was_taken_and_more_is_wanted() -> None:
    """A slow reader slows the application: nothing piles up."""
    order: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(3):
            await send(body(b"%d" % number, more=True))
            order.append(f"sent {number}")
        await send(body())

    serve = ASGIHandler(app, lifespan="off", invoke_mode="response_stream")

    async def handler(event: Any, context: Any) -> None:
        response: Any = await serve(event, context)
        async for chunk in response.body:
            for _ in range(3):
                await asyncio.sleep(0)
            order.append(chunk)

    invoke(handler, event())

    assert order == [b"0", "sent 0", b"1", "sent 1", b"2", "sent 2", b""]


def test_messages_of_several_tasks_come_in_their_order() -> None:
    """None is lost when two are waiting."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.gather(*(send(body(b"%d" % number, more=True)) for number in range(5)))
        await send(body(b"."))

    assert answer(ask(app)) == (200, b"01234.")


def test_failure_within_a_stream_is_raised_after_what_was_sent() -> None:
    """The runtime tells the caller and the log."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"half", more=True))
        raise KeyError("broken")

    invoked = ask(app, "response_stream")

    assert invoked.payload == b"half"
    assert repr(invoked.outcome.error) == "KeyError('broken')"
    assert invoked.tasks == []


def test_return_within_a_stream_is_a_failure_as_well() -> None:
    """A part is not taken for the whole."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"half", more=True))

    assert "without completing" in str(ask(app, "response_stream").outcome.error)


async def _read_one(body: Any) -> None:
    """Break a stream off, as the runtime does when nobody takes the rest."""
    await anext(body)
    await body.aclose()
    assert [chunk async for chunk in body] == []


def _breaking_off(app: Any) -> Any:
    serve = ASGIHandler(app, lifespan="off", invoke_mode="response_stream")

    async def handler(event: Any, context: Any) -> None:
        response: Any = await serve(event, context)
        await _read_one(response.body)

    return handler


@pytest.mark.parametrize("more", [True, False])
def test_stream_that_breaks_off_is_an_os_error_for_the_application(more: bool) -> None:
    """Which it may catch, at every send; receive says http.disconnect."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        for _ in range(2):
            try:
                await send(body(b"a", more=more))
            except OSError as error:
                seen.append(error)
        seen.append((await receive())["type"])

    tasks = invoke(_breaking_off(app), event()).tasks

    assert [type(error).__mro__[1] for error in seen[:2]] == [OSError, OSError]
    assert seen[2:] == ["http.disconnect"]
    assert tasks == []


@pytest.mark.parametrize("middleware", ["none", "http"])
def test_stream_that_breaks_off_ends_the_generator_of_starlette_without_a_traceback(
    middleware: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that goes away is no error of anybody's."""
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[str]:
        try:
            for number in range(10):
                yield str(number)
        finally:
            ended.append("finally")

    app = FastAPI()

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        return StreamingResponse(numbers())

    if middleware == "http":

        @app.middleware("http")
        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

    tasks = invoke(_breaking_off(app), event()).tasks
    gc.collect()  # Starlette leaves it to that
    unfinished_tasks()

    assert {task.state for task in tasks} <= {"succeeded"}
    assert ended == ["finally"]
    assert caplog.records == []


def test_other_failure_of_a_stream_that_breaks_off_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The caller has gone; the error has not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await send(body(b"a", more=True))
        except OSError:
            pass
        raise KeyError("in the cleanup")

    (task,) = invoke(_breaking_off(app), event()).tasks

    assert task.state == "failed"
    assert "in the cleanup" in str(caplog.records[0].exc_text)


# The handler itself...


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("app:app",), TypeError),
        ((Starlette,), TypeError),
    ],
)
def test_what_is_no_application_is_refused(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    """A name, a class, an ASGI 2 application: told at import, not at the first request."""
    with pytest.raises(error, match="called with scope, receive and send"):
        ASGIHandler(*arguments)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("life_span", "did you mean 'lifespan'"),
        ("text_mime_types", "did you mean 'text_types'"),
        ("api_gateway_base_path", "it takes lifespan, invoke_mode, root_path, events, error_statuses"),
    ],
)
def test_option_that_there_is_not_is_refused_with_those_that_there_are(name: str, remedy: str) -> None:
    """In the words of the caller, who knows nothing of the classes below."""
    with pytest.raises(TypeError, match=f"^ASGIHandler has no '{name}': {remedy}"):
        ASGIHandler(Starlette(), **cast(Any, {name: "/api"}))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"error_statuses": 500}, "a list of statuses for error_statuses=, such as [500, 502], not 500"),
        ({"error_statuses": "500"}, "a list of statuses for error_statuses="),
        ({"text_types": "image/svg+xml"}, "a list of media types for text_types="),
        ({"binary_types": "text/x-binary"}, "a list of media types for binary_types="),
    ],
)
def test_one_where_a_list_is_wanted_is_refused(options: dict[str, Any], remedy: str) -> None:
    """A text is a list of its letters, none of which is a status or a media type."""
    with pytest.raises(TypeError, match=re.escape(remedy)):
        ASGIHandler(Starlette(), **options)


@pytest.mark.parametrize("events", ["app.other", lambda event: None])
def test_handler_of_events_that_is_none_is_refused(events: Any) -> None:
    """At import, not with the first of them."""
    with pytest.raises(TypeError, match="a handler for events=, called with an event and a context, not"):
        ASGIHandler(Starlette(), events=events)


def test_application_of_the_other_kind_is_refused_with_its_handler() -> None:
    """At import, and not as a 500 for each request."""

    class Flask:
        def __call__(self, environ: Any, start_response: Any) -> None: ...

    with pytest.raises(TypeError, match=r"WSGI application.* WSGIHandler\(app\)"):
        ASGIHandler(Flask())  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [lambda: Starlette(), lambda scope: Starlette(), lambda event, context: None])
def test_function_that_takes_other_arguments_is_no_application(function: Any) -> None:
    """A factory, an application of ASGI 2, a handler: told at import as well."""
    with pytest.raises(TypeError, match=r"called with scope, receive and send, not .*<lambda>"):
        ASGIHandler(function)


def test_function_that_takes_any_arguments_may_be_an_application() -> None:
    """Decorators make such."""

    async def app(*arguments: Any) -> None: ...

    async def other(scope: Any, receive: Any, send: Any, more: Any = None) -> None: ...

    assert callable(ASGIHandler(app))
    assert callable(ASGIHandler(other))


def test_class_whose_objects_are_awaited_is_an_application() -> None:
    """Starlette's class-based views are such."""

    class Home(HTTPEndpoint):
        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("home")

    assert answer(ask(Home)) == (200, b"home")


@pytest.mark.parametrize("arguments", [{"lifespan": "maybe"}, {"invoke_mode": "stream"}, {"error_statuses": [600]}])
def test_words_that_are_none_are_refused(arguments: dict[str, Any]) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="600" if "error_statuses" in arguments else next(iter(arguments))):
        ASGIHandler(Starlette(), **arguments)


def test_setting_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every setting is: at init."""
    monkeypatch.setenv("LAMBDA_RIC_INVOKE_MODE", "stream")

    with pytest.raises(ConfigurationError, match="LAMBDA_RIC_INVOKE_MODE"):
        ASGIHandler(Starlette())


def test_handler_says_where_it_can_be_called() -> None:
    """Nobody would run the rest of the application elsewhere."""
    handler = ASGIHandler(Starlette(), lifespan="off")
    context: Any = None

    with pytest.raises(RuntimeError, match=r"lambda_ric\.testing\.invoke"):
        asyncio.run(handler(event(), context))


def test_handler_has_a_name() -> None:
    """Decorators of other libraries ask for it."""
    assert ASGIHandler(Starlette(), lifespan="off").__name__ == "ASGIHandler"
