"""
One environment: what it writes, what it offers beside events, and runtimes that are attached by hand.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lambda_ric.emulator import Emulator, Invocation, LogLine, Observer, in_thread

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

ECHO = """
while True:
    request_id, event = next_event()
    respond(request_id, event.content)
"""


def said(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


def platform_said(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if line.platform]


# What is written...


def test_platform_writes_json_for_a_function_that_logs_json(stand_in: StandIn) -> None:
    """
    START and REPORT are records then, as those of the Telemetry API; END is none.
    """
    environment = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
    with in_thread(stand_in(ECHO, environment=environment, memory=256)) as emulator:
        answer = emulator.invoke({"n": 1})
        invocation = emulator.finished(answer)

    start, report = map(json.loads, platform_said(invocation))
    tracing = {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", start["time"])
    assert (start["type"], report["type"]) == ("platform.start", "platform.report")
    assert start["record"] == {"requestId": answer.request_id, "version": "$LATEST", "tracing": tracing}
    assert report["record"] == {
        "requestId": answer.request_id,
        "status": "success",
        "tracing": tracing,
        "metrics": {
            "durationMs": round(invocation.duration * 1000, 3),
            "billedDurationMs": invocation.billed_ms,
            "memorySizeMB": 256,
            "maxMemoryUsedMB": invocation.max_memory,
            "initDurationMs": round((invocation.init_duration or 0) * 1000, 3),
        },
    }


def test_report_in_json_tells_of_a_timeout(stand_in: StandIn) -> None:
    """
    Every line of the platform is a record: a parser of the log meets nothing else.
    """
    environment = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
    with in_thread(stand_in("next_event()\ntime.sleep(60)", environment=environment, timeout=0.3)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    records = [json.loads(line) for line in platform_said(invocation)]
    assert [(record["type"], record["record"].get("status")) for record in records] == [
        ("platform.start", None),
        ("platform.runtimeDone", "timeout"),
        ("platform.report", "timeout"),
    ]


BACKGROUND = """
import json

def tell_span(request_id, kind):
    span = {"request_id": request_id, "kind": kind, "name": "n", "state": "succeeded", "start": 1, "end": 2}
    os.write(int(os.environ["LAMBDA_RIC_SPANS_FD"]), json.dumps(span).encode() + b"\\n")

while True:
    request_id, event = next_event()
    kind = json.loads(event.content)
    respond(request_id)
    if kind != "none":
        tell_span(request_id, kind)
    time.sleep(0.02)
"""


@pytest.mark.parametrize(("kind", "wanted"), [("none", True), ("handler", True), ("task", False)])
def test_background_work_has_a_line_if_the_runtime_does_not_tell_of_it(
    stand_in: StandIn, kind: str, wanted: bool
) -> None:
    """
    A runtime that tells spans writes of its background work itself.
    """
    with in_thread(stand_in(BACKGROUND)) as emulator:
        invocation = emulator.finished(emulator.invoke(kind))

    lines = [line for line in platform_said(invocation) if line.startswith("BACKGROUND")]
    duration = (invocation.background_duration or 0) * 1000
    line = f"BACKGROUND RequestId: {invocation.request_id}\tDuration: {duration:.2f} ms"
    assert lines == ([line] if wanted else [])


def test_init_that_failed_is_repeated_within_the_next_invocation(stand_in: StandIn) -> None:
    """
    The first caller gets its error; the second one waits for another init, which has a report of its own.
    """
    script = """
        say("init")
        if not os.path.exists("failed once"):
            open("failed once", "w").close()
            call("POST", "/init/error", b'{"errorMessage": "no"}', {"Lambda-Runtime-Function-Error-Type": "Runtime.No"})
            sys.exit(1)
        call("POST", "/init/error", b'{"errorMessage": "no, again"}')
        sys.exit(1)
    """
    with in_thread(stand_in(script)) as emulator:
        answers = [emulator.invoke() for _ in range(2)]
        first, second = (emulator.finished(answer) for answer in answers)

    assert [json.loads(answer.payload)["errorMessage"] for answer in answers] == ["no", "no, again"]
    assert [said(first), said(second)] == [["init"], ["init"]]
    reports = [[line for line in platform_said(i) if line.startswith("INIT_REPORT")] for i in (first, second)]
    assert [len(lines) for lines in reports] == [1, 1]
    assert reports[0][0].endswith("\tPhase: init\tStatus: error\tError Type: Runtime.No")
    assert reports[1][0].endswith("\tPhase: invoke\tStatus: error\tError Type: Runtime.Unknown")
    assert first.init_duration is not None
    assert second.init_duration is None


# ...what is offered...


def test_metadata_is_for_those_who_have_the_token(stand_in: StandIn) -> None:
    """
    The zone, to be kept for long; without the token nothing.
    """
    script = """
        metadata = http.client.HTTPConnection(os.environ["AWS_LAMBDA_METADATA_API"])
        for authorization in ("Bearer " + os.environ["AWS_LAMBDA_METADATA_TOKEN"], "Bearer other", "", None):
            headers = {} if authorization is None else {"Authorization": authorization}
            metadata.request("GET", "/2026-01-15/metadata/execution-environment", None, headers)
            reply = metadata.getresponse()
            say(reply.status, reply.headers["Cache-Control"], reply.read().decode().rstrip())
    """
    with in_thread(stand_in(script + ECHO.replace("\n", "\n        "))) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert said(invocation) == [
        '200 private, max-age=43200, immutable {"AvailabilityZoneID":"use1-az1"}',
        *['401 None {"message":"Unauthorized"}'] * 3,
    ]


# ...whatever the request.

ROUTES = [
    "/2018-06-01/ping",
    "/2018-06-01/runtime/invocation/next",
    "/2018-06-01/runtime/invocation/ID/response",
    "/2018-06-01/runtime/invocation/ID/error",
    "/2018-06-01/runtime/init/error",
    "/2018-06-01/runtime/restore/next",
    "/2018-06-01/runtime/restore/error",
    "/2020-01-01/extension/register",
    "/2020-01-01/extension/event/next",
    "/2020-01-01/extension/init/error",
    "/2020-01-01/extension/exit/error",
    "/2020-08-15/logs",
    "/2022-07-01/telemetry",
    "/2026-01-15/metadata/execution-environment",
]
STATUSES = {200, 202, 400, 401, 403, 404, 405, 413, 431, 501}

METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "get", "X-Y"])
SEGMENTS = st.sampled_from(["%00", "%2F", "%", "%zz", "%C3%28", "%ff", "..", ".", "", "a;b", "%2e%2e", "x" * 3000])
NAMES = st.sampled_from(
    [
        "Lambda-Extension-Name",
        "Lambda-Extension-Identifier",
        "Lambda-Extension-Function-Error-Type",
        "Lambda-Runtime-Function-Response-Mode",
        "Lambda-Runtime-Invocation-Id",
        "Authorization",
        "Content-Type",
        "Expect",
        "Connection",
        "X-Any",
    ]
)
VALUES = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b"{}", b"null", b"[]", b'{"events": ["INVOKE"]}', b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe"]),
)


@st.composite
def paths(draw: st.DrawFn) -> str:
    segments = draw(st.sampled_from(ROUTES)).split("/")
    for _ in range(draw(st.integers(0, 2))):
        segments[draw(st.integers(1, len(segments) - 1))] = draw(SEGMENTS)
    return "/".join(segments) + draw(st.sampled_from(["", "/", "?", "?a=%zz", "?" + "q" * 3000]))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request of the right form, whatever it says, or one with a fault in its framing."""
    method, path, body = draw(METHODS), draw(paths()), draw(BODIES)
    if method == "GET" and path.partition("?")[0].rstrip("/").endswith("invocation/next"):
        path = f"/other{path}"  # a poll of a stranger would take the event of the runtime, as on Lambda
    framing, body = draw(
        st.sampled_from(
            [
                (f"Content-Length: {len(body)}", body),
                ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"),
                (f"Content-Length: {len(body) + 1}", body),
                ("Content-Length: -1", body),
                ("Content-Length: a", body),
                ("Transfer-Encoding: chunked", body),
                ("Transfer-Encoding: other", body),
                ("X-None: 0", b""),
            ]
        )
    )
    lines = [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))]
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/9", ""]))
    head = "\r\n".join([f"{method} {path} {version}", "Host: localhost", *lines, framing])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def reply_to(address: str, request: bytes) -> tuple[int, bytes]:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        reply = HTTPResponse(connection, method=request.partition(b" ")[0].decode())
        reply.begin()
        body = reply.read()  # raises when it is shorter than was said
        reply.close()
    return reply.status, body


def test_any_request_gets_a_reply_of_the_platform_and_does_no_harm(stand_in: StandIn) -> None:
    """
    Whatever a runtime or an extension sends, it is told something, and the next event is served.
    """
    with in_thread(stand_in('say(os.environ["AWS_LAMBDA_RUNTIME_API"])' + ECHO)) as emulator:
        (address,) = said(emulator.finished(emulator.invoke()))

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        @example(b"\r\n")
        @example(
            b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n"
        )
        def check(request: bytes) -> None:
            status, _ = reply_to(address, request)
            assert status in STATUSES
            answer = emulator.invoke({"n": 1})
            assert (answer.payload, emulator.finished(answer).reset) == (b'{"n":1}', False)

        check()


def test_breakpoint_without_a_terminal_leads_to_one(stand_in: StandIn) -> None:
    """
    The input of a runtime is empty: the debugger quits at once.
    """
    notes: list[tuple[str, str]] = []

    class Notes(Observer):
        def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
            notes.append((kind, text))

    script = """
        request_id, _ = next_event()
        respond(request_id, b"{}", {"Lambda-Runtime-Function-Error-Type": "BdbQuit"}, "error")
        next_event()
    """
    with in_thread(stand_in(script, observers=[Notes()])) as emulator:
        emulator.finished(emulator.invoke())

    assert ["--debug" in text for kind, text in notes if kind == "debug"] == [True]


OTHER_SITES = [
    b"Host: attacker.example:9001",
    b"Host: 127.0.0.1.attacker.example",
    b"Host: localhost\r\nOrigin: http://attacker.example",
    b"Host: localhost\r\nOrigin: null",
]


@pytest.mark.parametrize("fields", OTHER_SITES)
def test_page_of_another_site_gets_and_answers_no_event(fields: bytes, stand_in: StandIn) -> None:
    """
    On every path of the Runtime API and the Extensions API; such a poll swallows nothing.
    """
    with in_thread(stand_in('say(os.environ["AWS_LAMBDA_RUNTIME_API"])' + ECHO)) as emulator:
        (address,) = said(emulator.finished(emulator.invoke()))
        for line in (
            b"GET /2018-06-01/runtime/invocation/next",
            b"GET /2018-06-01/ping",
            b"POST /2018-06-01/runtime/invocation/x/response",
            b"POST /2020-01-01/extension/register",
            b"PUT /2022-07-01/telemetry",
        ):
            status, _ = reply_to(address, line + b" HTTP/1.1\r\n" + fields + b"\r\nContent-Length: 0\r\n\r\n")
            assert status == 403

        assert emulator.invoke({"n": 1}).payload == b'{"n":1}'


# A runtime that is attached by hand.


class Attached:
    """A runtime as one would start it in a debugger: it is not the emulator's process."""

    def __init__(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/2018-06-01/runtime"
        self._client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)

    async def __aenter__(self) -> Attached:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()

    async def next(self) -> httpx.Response:
        return await self._client.get("/invocation/next")

    async def respond(self, event: httpx.Response) -> int:
        request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
        return (await self._client.post(f"/invocation/{request_id}/response", content=event.content)).status_code


def attached(directory: Path, use: Callable[[Emulator, int], Awaitable[None]], **options: Any) -> list[LogLine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines: list[LogLine] = []

    async def main() -> None:
        settings: dict[str, Any] = {"timeout": 10.0, **options}
        async with Emulator(
            task_root=directory, only_api=True, runtime_api_port=port, on_log=lines.append, **settings
        ) as emulator:
            await until_open(port)
            await use(emulator, port)

    anyio.run(main)
    return lines


async def until_open(port: int) -> None:
    while True:
        try:
            await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
        except OSError:
            await anyio.sleep(0.005)
        else:
            return


def submit(emulator: Emulator, event: bytes = b"{}") -> Invocation:
    invocation = emulator.invocation(event)
    emulator.submit(invocation)
    return invocation


def test_event_waits_for_a_runtime_that_is_attached_by_hand(tmp_path: Path) -> None:
    """
    As long as it takes, and the time of the event begins with its delivery.
    """

    async def use(emulator: Emulator, port: int) -> None:
        invocation = submit(emulator, b'{"n":1}')
        await anyio.sleep(0.6)  # more than the timeout of function and init
        async with Attached(port) as runtime:
            event = await runtime.next()
            assert (event.content, await runtime.respond(event)) == (b'{"n":1}', 202)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runtime.next)
                await invocation.finished()
                tasks.cancel_scope.cancel()
        assert (invocation.status, invocation.reset) == ("success", False)

    lines = attached(tmp_path, use, timeout=0.5, init_timeout=0.5, queue=True)
    said = [line.text.split()[0] for line in lines]
    assert [word for word in said if word != "BACKGROUND"] == ["START", "END", "REPORT"]


def test_runtime_that_takes_too_long_is_forgotten_until_it_polls_again(tmp_path: Path) -> None:
    """
    Its caller is told of the timeout; what it says of the old event is refused, and the next one has all its time.
    """

    async def use(emulator: Emulator, port: int) -> None:
        first = submit(emulator, b'"first"')
        async with Attached(port) as runtime:
            event = await runtime.next()
            await first.finished()
            assert (first.status, (await first.answered()).function_error) == ("timeout", "Sandbox.Timedout")

            second = submit(emulator, b'"second"')
            await anyio.sleep(0.6)  # in the debugger still, for more than the timeout
            assert await runtime.respond(event) == 400
            event = await runtime.next()
            assert (event.content, await runtime.respond(event)) == (b'"second"', 202)
            assert (await second.answered()).payload == b'"second"'

    attached(tmp_path, use, timeout=0.5, queue=True)


def test_runtime_that_was_started_anew_by_hand_gets_the_event(tmp_path: Path) -> None:
    """
    And not the poll of the one that was stopped, which would swallow it on Lambda.
    """

    async def use(emulator: Emulator, port: int) -> None:
        for _ in range(2):
            await (await poll(port)).aclose()
        async with await poll(port) as runtime:
            invocation = submit(emulator, b'"event"')
            with anyio.fail_after(20):
                event = await runtime.receive()
        assert event.endswith(b'"event"')
        assert invocation.request_id.encode() in event

    async def poll(port: int) -> SocketStream:
        connection = await anyio.connect_tcp("127.0.0.1", port)
        await connection.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with httpx.AsyncClient(trust_env=False) as client:  # who is answered when the poll was seen
            assert (await client.get(f"http://127.0.0.1:{port}/2018-06-01/ping")).text == "pong"
        return connection

    attached(tmp_path, use, queue=True)


def test_runtime_that_was_stopped_in_the_middle_hands_its_event_on(tmp_path: Path) -> None:
    """
    The next one to be attached gets what is not answered yet.
    """

    async def use(emulator: Emulator, port: int) -> None:
        invocation = submit(emulator, b'"event"')
        async with Attached(port) as stopped:
            await stopped.next()
        async with Attached(port) as runtime:
            await runtime.respond(await runtime.next())
        assert (await invocation.answered()).payload == b'"event"'

    attached(tmp_path, use, queue=True)


def test_init_error_of_a_runtime_that_is_attached_is_the_answer(tmp_path: Path) -> None:
    """
    Another one may be attached afterwards.
    """

    async def use(emulator: Emulator, port: int) -> None:
        first = submit(emulator)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{port}/2018-06-01/runtime/init/error"
            await client.post(url, content=b'{"errorMessage": "no"}')
        assert json.loads((await first.answered()).payload) == {"errorMessage": "no"}
        await first.finished()

        second = submit(emulator)
        async with Attached(port) as runtime:
            await runtime.respond(await runtime.next())
        assert (await second.answered()).function_error is None

    attached(tmp_path, use, queue=True)
