"""
The function URL: events as Lambda makes them of requests, and its answers over real connections.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx
import pytest
from aws_lambda_powertools.utilities.data_classes import LambdaFunctionUrlEvent
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric.emulator import Emulator, LogLine, Observer, serve
from lambda_ric.emulator.callers.function_url import FunctionURL, Mode, request_event
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError, ThrottledError
from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.messages import Reply, Request
from lambda_ric.emulator.http.server import listening
from lambda_ric.limits import MAX_EVENT

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

FUNCTION = Function(handler="app.handler", caller={})
NOW = 1583348638.390
TRACE_ID = "Root=1-5e5ff55e-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=0"
PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"

Runtime = Callable[[Invocation], Coroutine[Any, Any, None]]


# The event...


def event_for(target: str = "/", body: bytes = b"", method: str = "GET", **headers: str) -> dict[str, Any]:
    fields = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, target, {"host": "localhost:9000", **fields}, body)
    invocation = Invocation(event=b"", function_arn=FUNCTION.arn, requested_at=NOW, request_id="id", trace_id=TRACE_ID)
    return cast(dict[str, Any], json.loads(request_event(FUNCTION, request, request.path, body, invocation)))


def test_event_of_a_plain_request() -> None:
    """
    The form is the one recorded on a real URL that has no authorization.
    """
    event = event_for("/my/path", User_Agent="agent")
    url_id = event["requestContext"]["apiId"]

    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path",
        "rawQueryString": "",
        "headers": {
            "host": "localhost:9000",
            "user-agent": "agent",
            "x-amzn-trace-id": "Root=1-5e5ff55e-0123456789abcdef01234567",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "9000",
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": url_id,
            "domainName": "localhost:9000",
            "domainPrefix": url_id,
            "http": {
                "method": "GET",
                "path": "/my/path",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "isBase64Encoded": False,
    }
    assert len(url_id) == 32


def test_query_parameters_are_decoded_and_joined() -> None:
    """
    The raw string stays as it came; a parameter that comes twice has both values.
    """
    event = event_for("/a%20b?q=1&q=%2Fx&empty&text=a+b%C3%BC")

    assert event["rawPath"] == "/a%20b"
    assert event["rawQueryString"] == "q=1&q=%2Fx&empty&text=a+b%C3%BC"
    assert event["queryStringParameters"] == {"q": "1,/x", "empty": "", "text": "a bü"}


def test_cookies_are_listed_and_stay_in_the_headers() -> None:
    """
    Recorded on real URLs: other than API Gateway, they send them twice.
    """
    event = event_for(Cookie="a=1; b=2;")

    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["cookie"] == "a=1; b=2;"


@pytest.mark.parametrize(
    ("sent", "shown"), [("İzmir".encode(), "İzmir"), (b"Z\xfcrich", "Zürich"), (b"plain", "plain")]
)
def test_header_is_the_text_that_its_bytes_are(sent: bytes, shown: str) -> None:
    """
    JSON has text only, and whatever serves the event encodes it as UTF-8 again: other bytes can only be guessed.
    """
    # The server decodes bytes one by one, as WSGI has it.
    event = event_for(X_To=sent.decode("latin-1"), Cookie=f"city={sent.decode('latin-1')}")

    assert event["headers"]["x-to"] == shown
    assert event["cookies"] == [f"city={shown}"]


def test_headers_of_the_connection_do_not_reach_the_function() -> None:
    """
    They concern the client and the URL; what a client says of its own origin is overwritten.
    """
    headers = event_for(Connection="keep-alive", TE="trailers", X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https")[
        "headers"
    ]

    assert not {"connection", "te"} & headers.keys()
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


def test_trace_of_the_client_goes_on() -> None:
    """
    A client that is traced already names the trace; anything else in that header is none.
    """
    given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

    assert event_for(X_Amzn_Trace_Id=given)["headers"]["x-amzn-trace-id"] == given
    assert event_for(X_Amzn_Trace_Id="?")["headers"]["x-amzn-trace-id"] == TRACE_ID.partition(";")[0]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "Text/HTML; charset=utf-8", "application/json", "application/xml"]
)
def test_text_stays_text(content_type: str) -> None:
    """
    The types that are text were measured on API Gateway, which makes the same events.
    """
    event = event_for(body="grüße".encode(), method="POST", Content_Type=content_type)

    assert event["body"] == "grüße"
    assert event["isBase64Encoded"] is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Type": "application/octet-stream"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Type": "application/jsonx"},
    ],
)
def test_everything_else_is_base64(headers: dict[str, str]) -> None:
    """
    A body of no type, and a form, are binary too.
    """
    event = event_for(body=b"a=1", method="POST", **headers)

    assert event["body"] == "YT0x"
    assert event["isBase64Encoded"] is True


@given(body=st.binary(min_size=1), content_type=st.sampled_from(["text/plain", "image/png", ""]))
def test_any_body_survives(body: bytes, content_type: str) -> None:
    """
    Also text that is not UTF-8: as JSON could not carry it, it goes by base64.
    """
    event = event_for(body=body, method="POST", Content_Type=content_type)
    received = event["body"]

    assert (base64.b64decode(received) if event["isBase64Encoded"] else received.encode()) == body


def test_powertools_reads_the_event() -> None:
    """
    A second party finds everything where it looks for it.
    """
    headers = {"Content_Type": "application/json", "User_Agent": "agent", "Cookie": "a=1"}
    event = LambdaFunctionUrlEvent(event_for("/x?a=1&a=2", b'{"n": 1}', "PUT", **headers))

    assert event.http_method == "PUT"
    assert event.path == "/x"
    assert event.json_body == {"n": 1}
    assert event.resolved_query_string_parameters == {"a": ["1", "2"]}
    assert event.cookies == ["a=1"]
    assert event.headers["content-type"] == "application/json"
    context = event.request_context
    assert context.account_id == "anonymous"
    assert context.http.source_ip == "127.0.0.1"
    assert context.http.user_agent == "agent"
    assert context.domain_prefix == context.api_id
    assert context.time_epoch == 1583348638390
    assert context.authentication is None


# ...and the answer.


@asynccontextmanager
async def served(runtime: Runtime, mode: Mode = "auto") -> AsyncIterator[httpx.AsyncClient]:
    """Serve a function whose environment is *runtime*; provide a client of its URL."""
    async with anyio.create_task_group() as tasks:

        def submit(invocation: Invocation) -> None:
            tasks.start_soon(runtime, invocation)

        async with serving(FunctionURL(FUNCTION, submit, lambda: NOW, mode)) as client:
            yield client


@asynccontextmanager
async def serving(url: FunctionURL) -> AsyncIterator[httpx.AsyncClient]:
    async def handler(request: Request) -> Reply:
        return await url.serve(request, request.path)

    async with listening(handler) as port:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, trust_env=False, verify=False, timeout=10) as client:
            yield client


def responds(answer: Any, content_type: str = "application/json", error: str | None = None) -> Runtime:
    """Return a runtime that posts its response all at once."""

    async def runtime(invocation: Invocation) -> None:
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        invocation.delivery.respond(NOW, payload, content_type, error)

    return runtime


def streams(*chunks: bytes, content_type: str = "text/plain", error: str | None = None) -> Runtime:
    """Return a runtime that posts its response as a stream."""

    async def runtime(invocation: Invocation) -> None:
        invocation.delivery.begin(NOW, content_type, streamed=True)
        for chunk in chunks:
            await invocation.delivery.send(chunk)
        invocation.delivery.end_stream(NOW, error, b"{}" if error else b"")

    return runtime


def get(runtime: Runtime, mode: Mode = "auto", method: str = "GET", content: bytes = b"") -> httpx.Response:
    async def main() -> httpx.Response:
        async with served(runtime, mode) as client:
            return await client.request(method, "/", content=content)

    return anyio.run(main)


@pytest.mark.parametrize("mode", ["buffered", "auto"])
def test_buffered_answer_becomes_the_response(mode: Mode) -> None:
    """
    Every cookie has a line of its own; the invocation's id is in the headers, as on Lambda.
    """
    answer = {"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["a=1", "b=2"], "body": "hello"}
    seen: list[Invocation] = []

    async def runtime(invocation: Invocation) -> None:
        seen.append(invocation)
        await responds(answer)(invocation)

    response = get(runtime, mode)

    assert (response.status_code, response.text) == (201, "hello")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers["x-a"] == "b"
    assert response.headers["x-amzn-requestid"] == seen[0].request_id
    assert response.headers["x-amzn-trace-id"] == seen[0].trace_id
    assert json.loads(seen[0].event)["requestContext"]["requestId"] == seen[0].request_id
    assert (seen[0].source, seen[0].streaming) == ("function-url", mode == "auto")


def test_stream_mode_shows_the_json_of_a_buffered_runtime() -> None:
    """
    A real URL in mode RESPONSE_STREAM does not look into the answer: the two modes have to agree.
    """
    response = get(responds({"statusCode": 201, "body": "hello"}), "stream")

    assert response.status_code == 200
    assert response.json() == {"statusCode": 201, "body": "hello"}


@pytest.mark.parametrize("mode", ["stream", "auto"])
def test_prelude_decides_on_the_head_of_a_stream(mode: Mode) -> None:
    """
    Status and headers come from the prelude, also when a runtime posts all of it at once.
    """
    prelude = b'{"statusCode": 202, "headers": {"Content-Type": "text/csv"}, "cookies": ["a=1", "b=2"]}' + bytes(8)

    for runtime in (
        streams(prelude[:5], prelude[5:-3], prelude[-3:] + b"1,", b"2", content_type=f"{PRELUDE_TYPE}; x=y"),
        responds(prelude + b"1,2", PRELUDE_TYPE),
    ):
        response = get(runtime, mode)

        assert (response.status_code, response.text) == (202, "1,2")
        assert response.headers["content-type"] == "text/csv"
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_stream_arrives_as_it_is_posted() -> None:
    """
    The client has the first piece while the function has yet to write the second.
    """

    async def main() -> None:
        first_was_read = anyio.Event()

        async def runtime(invocation: Invocation) -> None:
            invocation.delivery.begin(NOW, "text/event-stream", streamed=True)
            await invocation.delivery.send(b"one")
            await first_was_read.wait()
            await invocation.delivery.send(b"two")
            invocation.delivery.end_stream(NOW, None, b"")

        async with served(runtime) as client, client.stream("GET", "/") as response:
            pieces = response.aiter_raw()
            assert response.headers["content-type"] == "text/event-stream"
            assert await anext(pieces) == b"one"
            first_was_read.set()
            assert [piece async for piece in pieces] == [b"two"]

    anyio.run(main)


def test_error_in_the_middle_of_a_stream_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """
    The status was sent long ago: the client must not take what it has for the whole.
    """

    async def main() -> None:
        async with served(streams(b"half of it", error="Function.Broken")) as client:
            with pytest.raises(httpx.TransportError):
                await client.get("/")

    anyio.run(main)

    assert "is cut: Function.Broken" in caplog.text


@pytest.mark.parametrize(
    ("runtime", "why"),
    [
        (responds({"errorMessage": "no"}, error="ValueError"), "the function failed with ValueError"),
        (responds({"statusCode": 200, "body": {}}), "json.dumps"),
        (responds(b"hello", "text/plain"), "not JSON"),
        (streams(b"hello", bytes(8), content_type=PRELUDE_TYPE), "prelude of the stream is not JSON"),
        (streams(b"{}", content_type=PRELUDE_TYPE, error="Function.Broken"), "ended before its prelude did"),
    ],
)
def test_failure_is_an_internal_server_error(runtime: Runtime, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    The client learns nothing of it, as on Lambda; the log says what happened.
    """
    response = get(runtime)

    assert (response.status_code, response.text) == (502, "Internal Server Error")
    assert why in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "PROPFIND"])
def test_every_method_reaches_the_function(method: str) -> None:
    """
    A real URL without CORS settings passes all of them on.
    """

    async def runtime(invocation: Invocation) -> None:
        answer = {"statusCode": 200, "body": json.loads(invocation.event)["requestContext"]["http"]["method"]}
        await responds(answer)(invocation)

    response = get(runtime, method=method)

    assert response.status_code == 200
    assert response.headers["content-length"] == str(len(method))
    assert response.text == ("" if method == "HEAD" else method)


@pytest.mark.parametrize(
    ("method", "status", "content_type"),
    [
        ("HEAD", 200, "text/plain"),
        ("HEAD", 200, PRELUDE_TYPE),
        ("GET", 204, PRELUDE_TYPE),
        ("GET", 304, PRELUDE_TYPE),
    ],
)
def test_stream_that_nobody_may_read_does_not_hold_the_runtime_up(method: str, status: int, content_type: str) -> None:
    """
    Without a body there is nobody to read the chunks, which the runtime has to get rid of all the same.
    """
    prelude = json.dumps({"statusCode": status}).encode() + bytes(8)

    async def main() -> None:
        was_written = anyio.Event()

        async def runtime(invocation: Invocation) -> None:
            await streams(prelude, *[bytes(100_000)] * 10, content_type=content_type)(invocation)
            was_written.set()

        async with served(runtime) as client:
            response = await client.request(method, "/")
            assert (response.status_code, response.content) == (status, b"")
            await was_written.wait()

    anyio.run(main)


def test_emulator_that_is_closed_cuts_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """
    The end of the emulator in the middle of a response is no fault of the server.
    """

    async def main() -> None:
        was_read = anyio.Event()

        async def runtime(invocation: Invocation) -> None:
            invocation.delivery.begin(NOW, "text/plain", streamed=True)
            await invocation.delivery.send(b"one")
            await was_read.wait()
            invocation.cut_short()

        async with served(runtime) as client, client.stream("GET", "/") as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"one"
            was_read.set()
            with pytest.raises(httpx.TransportError):
                await anext(pieces)

    anyio.run(main)

    assert not caplog.records


def test_throttled_request_is_told_so() -> None:
    """
    Lambda's answer when the concurrency is used up.
    """

    def submit(invocation: Invocation) -> None:
        raise ThrottledError("every environment is at work")

    async def main() -> httpx.Response:
        async with serving(FunctionURL(FUNCTION, submit)) as client:
            return await client.get("/")

    response = anyio.run(main)

    assert (response.status_code, response.json()) == (429, {"Message": "Rate Exceeded."})
    assert response.headers["x-amzn-errortype"] == "TooManyRequestsException"


def test_closed_emulator_is_a_502(caplog: pytest.LogCaptureFixture) -> None:
    """
    Whoever calls too late gets an answer, not a fault.
    """

    def submit(invocation: Invocation) -> None:
        raise EmulatorError("the emulator is not open")

    async def main() -> httpx.Response:
        async with serving(FunctionURL(FUNCTION, submit)) as client:
            return await client.get("/")

    assert anyio.run(main).status_code == 502
    assert "the emulator is not open" in caplog.text


@pytest.mark.parametrize("size", [MAX_EVENT * 3 // 4, MAX_EVENT + 1])
def test_event_over_the_limit_is_refused(size: int) -> None:
    """
    The limit is that of the event, in which a binary body takes a third more.
    """
    response = get(responds({}), method="POST", content=bytes(size))

    assert response.status_code == 413
    assert "must be smaller than" in response.json()["Message"]


# The whole way, through real environments...


@asynccontextmanager
async def url_of(emulator: Emulator, mode: Mode = "auto") -> AsyncIterator[httpx.AsyncClient]:
    """Start *emulator* and serve its function; provide a client of its URL."""
    async with emulator, serve(emulator, url_mode=mode) as endpoint:
        async with httpx.AsyncClient(base_url=endpoint.url, trust_env=False, verify=False, timeout=30) as client:
            yield client


def test_function_is_reached_by_its_name_and_by_every_other_path(stand_in: StandIn) -> None:
    """
    Below /lambda-url/function the function sees its own paths; what nobody else serves is its as well.
    """
    emulator = stand_in(
        """
        import json
        while True:
            request_id, event = next_event()
            seen = json.loads(event.content)
            body = json.dumps([seen["rawPath"], seen["requestContext"]["requestId"] == request_id])
            respond(request_id, json.dumps({"statusCode": 203, "body": body, "cookies": ["a=1", "b=2"]}).encode())
    """,
        concurrency=3,
    )

    async def main() -> None:
        async with url_of(emulator) as client:
            for path, seen in [
                ("/lambda-url/function/a%20b", "/a%20b"),
                ("/lambda-url/function", "/"),
                ("/x/y", "/x/y"),
            ]:
                response = await client.get(path)
                assert response.status_code == 203
                assert response.json() == [seen, True]
                assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]

    anyio.run(main)


STREAMING = """
    import pathlib
    headers = {"Lambda-Runtime-Function-Response-Mode": "streaming",
               "Content-Type": "application/vnd.awslambda.http-integration-response"}

    def body():
        yield b'{"statusCode": 202, "headers": {"Content-Type": "text/plain"}}' + bytes(4)
        yield bytes(4)
        yield b"one"
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        %s

    while True:
        request_id, _ = next_event()
        tell(respond(request_id, body(), headers, encode_chunked=True))
"""


def test_browser_sees_the_stream_while_it_is_written(stand_in: StandIn, tmp_path: Path) -> None:
    """
    The function waits for what only a client that has read its first words can give.
    """

    async def main() -> None:
        async with url_of(stand_in(STREAMING % 'yield b"two"')) as client, client.stream("GET", "/") as response:
            pieces = response.aiter_raw()
            assert response.status_code == 202
            assert response.headers["content-type"] == "text/plain"
            assert await anext(pieces) == b"one"
            (tmp_path / "go").touch()
            assert b"".join([piece async for piece in pieces]) == b"two"

    anyio.run(main)


def test_runtime_that_dies_in_the_middle_cuts_the_stream(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Whoever reads learns that something is missing.
    """

    async def main() -> None:
        async with url_of(stand_in(STREAMING % "os._exit(1)")) as client, client.stream("GET", "/") as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"one"
            (tmp_path / "go").touch()
            with pytest.raises(httpx.TransportError):
                await anext(pieces)

    anyio.run(main)


@pytest.mark.parametrize("mode", ["buffered", "stream", "auto"])
def test_function_that_fails_is_a_502_in_every_mode(stand_in: StandIn, mode: Mode) -> None:
    """
    The error document is for the log, not for the client.
    """
    emulator = stand_in(
        """
        while True:
            request_id, _ = next_event()
            respond(request_id, b'{"errorMessage": "secret", "errorType": "ValueError"}', kind="error")
    """,
        concurrency=2,
    )

    async def main() -> None:
        async with url_of(emulator, mode) as client:
            for _ in range(2):
                response = await client.get("/")
                assert (response.status_code, response.text) == (502, "Internal Server Error")

    anyio.run(main)


ASGI_LIKE = """
    import json
    document = {"statusCode": 200, "headers": {"content-type": "text/event-stream"}, "body": "data: 1"}
    while True:
        request_id, _ = next_event()
        respond(request_id, json.dumps(document).encode())
"""
MARKED = """
    while True:
        request_id, _ = next_event()
        respond(request_id, [b"data: 1"], {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
"""


@pytest.mark.parametrize(
    ("script", "mode", "said"),
    [
        (ASGI_LIKE, "auto", "answers with an event stream in one piece"),
        (ASGI_LIKE, "stream", "answers in one piece, and the URL streams"),
        (MARKED, "buffered", "streams, and the URL does not"),
    ],
)
def test_settings_that_do_not_fit_are_told_once_with_both_names(
    script: str, mode: Mode, said: str, stand_in: StandIn
) -> None:
    """
    The runtime's and the URL's have to be set together, here as in the cloud.
    """
    notes: list[str] = []

    class Notes(Observer):
        def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
            if kind == "stream":
                notes.append(text)

    async def main() -> None:
        async with url_of(stand_in(script, observers=[Notes()], concurrency=2), mode) as client:
            for _ in range(2):
                await client.get("/")

    anyio.run(main)
    assert len(notes) == 1
    assert said in notes[0]
    assert "LAMBDA_RIC_INVOKE_MODE and --url-mode" in notes[0]


def test_url_without_a_free_environment_is_throttled(stand_in: StandIn, tmp_path: Path) -> None:
    """
    The second of two requests at a time is one too many for a concurrency of one.
    """

    async def main() -> None:
        async with url_of(stand_in(STREAMING % "pass")) as client, client.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"one"
            assert (await client.get("/")).status_code == 429
            (tmp_path / "go").touch()

    anyio.run(main)


def test_client_that_leaves_does_not_stop_the_function(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Lambda lets it write to the end, and bills it.
    """
    written = anyio.Event()

    def read(line: LogLine) -> None:
        if line.text == '202 {"status":"OK"}':
            written.set()

    async def main() -> None:
        emulator = stand_in(STREAMING % "yield from [bytes(65536)] * 20", on_log=read)
        async with url_of(emulator) as client:
            async with client.stream("GET", "/") as response:
                assert await anext(response.aiter_raw()) == b"one"
            (tmp_path / "go").touch()
            await written.wait()

    anyio.run(main)
