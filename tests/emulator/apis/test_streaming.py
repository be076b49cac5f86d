"""
Streamed responses from the runtime to their callers: nothing is held back, nothing heaped up.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from lambda_ric.emulator import Answer, Emulator, Invocation, in_thread, serve
from lambda_ric.emulator.apis.bandwidth import Bandwidth
from lambda_ric.emulator.apis.posts import pass_on
from lambda_ric.emulator.http.messages import Request
from lambda_ric.limits import MAX_STREAM, STREAM_BURST, STREAM_RATE
from tests.support.callers import Time

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

MAX_BYTES = 6 * 1024 * 1024 + 100

# What a script needs for a stream with trailers; http.client has no words for them.
WRITER = """
import base64

def begin(request_id, content_type="text/plain"):
    connection.putrequest("POST", f"/2018-06-01/runtime/invocation/{request_id}/response")
    connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    connection.putheader("Content-Type", content_type)
    connection.endheaders()

def write(chunk):
    connection.send(b"%x\\r\\n%s\\r\\n" % (len(chunk), chunk))

def end(**trailers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\\r\\n" for name, value in trailers.items())
    connection.send(b"0\\r\\n" + lines.encode() + b"\\r\\n")
    reply = connection.getresponse()
    reply.content = reply.read()
    return reply

def wait_for(file):
    while not os.path.exists(file):
        time.sleep(0.005)

"""


def run(emulator: Emulator, use: Callable[[Emulator], Awaitable[None]]) -> None:
    async def main() -> None:
        async with emulator:
            await use(emulator)

    anyio.run(main)


def submit(emulator: Emulator, **fields: Any) -> Invocation:
    """Call the function as one who reads the response as it comes."""
    invocation = emulator.invocation(b"{}", streaming=True, **fields)
    emulator.submit(invocation)
    return invocation


async def read(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def answer_of(invocation: Invocation) -> Answer:
    assert invocation.answer is not None
    return invocation.answer


# Piece by piece...


def test_caller_has_each_piece_before_the_next_is_written(stand_in: StandIn, tmp_path: Path) -> None:
    """
    And the content type before the first one.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id, "text/x-test")
for n in range(3):
    wait_for(f"piece {{n}} is wanted")
    write(f"piece {{n}}".encode())
wait_for("the end is wanted")
end()
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        chunks = invocation.chunks()
        for n in range(3):
            (tmp_path / f"piece {n} is wanted").touch()
            assert await anext(chunks) == f"piece {n}".encode()
            assert invocation.answer is None
        assert (invocation.content_type_of_response, invocation.response_streamed) == ("text/x-test", True)
        (tmp_path / "the end is wanted").touch()
        assert await read(chunks) == b""

        answer = answer_of(invocation)
        assert (answer.payload, answer.function_error, answer.error_body) == (b"", None, b"")
        await invocation.finished()
        assert invocation.first_byte_at is not None
        assert invocation.answered_at is not None
        assert invocation.started_at < invocation.first_byte_at < invocation.answered_at < invocation.ended_at

    run(stand_in(script), use)


def test_stream_without_a_piece_is_a_stream(stand_in: StandIn) -> None:
    """
    It has a type and an end.
    """

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        assert await read(invocation.chunks()) == b""
        assert (invocation.content_type_of_response, answer_of(invocation).function_error) == ("text/plain", None)

    run(stand_in(f"{WRITER}\nrequest_id, event = next_event()\nbegin(request_id)\nend()\nnext_event()"), use)


@pytest.mark.parametrize(
    ("trailers", "error_type", "error_body"),
    [
        (
            "Lambda_Runtime_Function_Error_Type='Function.Broke', Lambda_Runtime_Function_Error_Body='eyJhIjoxfQ=='",
            "Function.Broke",
            b'{"a":1}',
        ),
        ("Lambda_Runtime_Function_Error_Type='Function.Broke'", "Function.Broke", b""),
        ("Lambda_Runtime_Function_Error_Body='no base64!'", "Runtime.Unknown", b"no base64!"),
        ("X_Else='something'", None, b""),
    ],
)
def test_trailers_tell_of_an_error(stand_in: StandIn, trailers: str, error_type: str | None, error_body: bytes) -> None:
    """
    What had come before is the caller's, and the runtime goes on.
    """
    script = f"""{WRITER}
while True:
    request_id, event = next_event()
    begin(request_id)
    write(b"half of it")
    tell(end({trailers}))
"""

    async def use(emulator: Emulator) -> None:
        for _ in range(2):
            invocation = submit(emulator)
            assert await read(invocation.chunks()) == b"half of it"
            await invocation.finished()
            answer = answer_of(invocation)
            assert (answer.function_error, answer.error_body) == (error_type, error_body)
            assert (invocation.status, invocation.reset) == ("error" if error_type else "success", False)
            assert '202 {"status":"OK"}' in [line.text for line in invocation.logs]

    run(stand_in(script), use)


def test_timeout_ends_a_stream_with_an_error(stand_in: StandIn) -> None:
    """
    The caller has what came, and is told that it was not all.
    """
    script = f'{WRITER}\nrequest_id, event = next_event()\nbegin(request_id)\nwrite(b"half of it")\ntime.sleep(60)'

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        assert await read(invocation.chunks()) == b"half of it"
        answer = answer_of(invocation)
        assert (answer.function_error, invocation.status) == ("Sandbox.Timedout", "timeout")
        assert json.loads(answer.error_body)["errorMessage"].endswith("Task timed out after 0.50 seconds")

    run(stand_in(script, timeout=0.5), use)


def test_runtime_that_is_killed_ends_its_stream_with_an_error(stand_in: StandIn) -> None:
    """
    A body that was cut short is a truncated one, whatever became of the process; the next event finds another.
    """
    script = f"""{WRITER}
request_id, event = next_event()
if not os.path.exists("killed once"):
    open("killed once", "w").close()
    begin(request_id)
    write(b"half of it")
    os.kill(os.getpid(), 9)
respond(request_id)
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        assert await read(invocation.chunks()) == b"half of it"
        await invocation.finished()
        assert answer_of(invocation).function_error in ("Runtime.TruncatedResponse", "Runtime.ExitError")
        assert (invocation.status, invocation.reset) == ("error", True)

        assert (await emulator.invoke()).payload == b"null"

    run(stand_in(script), use)


# ...to one who does not read it so...


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
def test_buffered_caller_gets_the_whole_of_a_stream(stand_in: StandIn, size: int) -> None:
    """
    Up to the limit of a response, over which it is an error.
    """
    script = f"""{WRITER}
while True:
    request_id, event = next_event()
    begin(request_id)
    for size in json.loads(event.content):
        write(b"x" * size)
    tell(end())
"""
    with in_thread(stand_in("import json\n" + script)) as emulator:
        answer = emulator.invoke([2_000_000] * 3 + [size - 6_000_000])
        invocation = emulator.finished(answer)
        small = emulator.invoke([1, 2])

    if size == MAX_BYTES:
        assert (len(answer.payload), answer.content_type, answer.function_error) == (size, "text/plain", None)
    else:
        assert answer.function_error == "Function.ResponseSizeTooLarge"
        assert any(line.text.startswith("413 ") for line in invocation.logs)
    assert small.payload == b"xxx"


def test_error_in_the_trailers_is_the_error_of_a_buffered_caller(stand_in: StandIn) -> None:
    """
    With what had come as payload.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id)
write(b"half of it")
end(Lambda_Runtime_Function_Error_Type="Function.Broke")
next_event()
"""
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()

    assert (answer.payload, answer.function_error) == (b"half of it", "Function.Broke")


# ...or slowly, or not at all.


def test_slow_reader_holds_the_runtime_up(stand_in: StandIn) -> None:
    """
    Nothing is lost, and little is held in memory.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id)
for _ in range(80):
    write(b"x" * 65536)
tell(end())
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        chunks = invocation.chunks()
        size = len(await anext(chunks))
        await until_full(invocation)
        for _ in range(100):  # however long one waits
            await anyio.lowlevel.checkpoint()
        held = held_by(invocation)
        assert invocation.answer is None
        assert held < 1_000_000

        size += len(await read(chunks))
        assert size == 80 * 65536
        assert answer_of(invocation).function_error is None

    run(stand_in(script), use)


async def until_full(invocation: Invocation) -> None:
    while invocation.answer is None and held_by(invocation) < 256 * 1024:
        await anyio.lowlevel.checkpoint()


def held_by(invocation: Invocation) -> int:
    return invocation.delivery.unread


@pytest.mark.parametrize("held_up", [False, True])
def test_reader_that_goes_away_does_not_stop_the_function(stand_in: StandIn, tmp_path: Path, held_up: bool) -> None:
    """
    The rest is thrown away, and the invocation succeeds; also when the runtime was being held up.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id)
write(b"first")
wait_for("go")
for _ in range(60):
    write(b"x" * 65536)
tell(end())
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        async with aclosing(invocation.chunks()) as chunks:
            assert await anext(chunks) == b"first"
            if held_up:
                (tmp_path / "go").touch()
                await until_full(invocation)
        (tmp_path / "go").touch()
        await invocation.finished()
        assert (invocation.status, answer_of(invocation).function_error) == ("success", None)

    run(stand_in(script), use)


def test_curl_sees_the_stream_while_it_is_written(stand_in: StandIn, tmp_path: Path) -> None:
    """
    With -N it shows each piece of what a function URL streams; status and headers are those of the prelude.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id, "application/vnd.awslambda.http-integration-response")
write(b'{{"statusCode": 201, "headers": {{"X-Test": "yes"}}, "cookies": ["a=1", "b=2"]}}' + bytes(8) + b"one ")
wait_for("go")
write(b"two")
end()
next_event()
"""
    with in_thread(stand_in(script)) as emulator, emulator.serve() as endpoint:
        with subprocess.Popen(["curl", "-sSiN", f"{endpoint.url}/path"], stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            head = b""
            while not head.endswith(b"one "):
                head += curl.stdout.read(1)
            (tmp_path / "go").touch()
            rest = curl.stdout.read()

    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 201 Created"
    assert {"x-test: yes", "set-cookie: a=1", "set-cookie: b=2"} <= {line.lower() for line in lines}
    assert (rest, curl.returncode) == (b"two", 0)


def test_http_client_sees_that_a_stream_broke_off(stand_in: StandIn, tmp_path: Path) -> None:
    """
    After the status was sent nothing else can tell of an error than a connection that is cut.
    """
    script = f"""{WRITER}
request_id, event = next_event()
begin(request_id)
write(b"half of it")
wait_for("it is read")
end(Lambda_Runtime_Function_Error_Type="Function.Broke")
next_event()
"""

    async def use(emulator: Emulator) -> None:
        async with serve(emulator) as endpoint, httpx.AsyncClient(trust_env=False) as client:
            async with client.stream("GET", endpoint.url) as response:
                pieces = response.aiter_raw()
                assert (response.status_code, await anext(pieces)) == (200, b"half of it")
                (tmp_path / "it is read").touch()
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(pieces)

    run(stand_in(script), use)


# The mode of the invocation decides.


UNMARKED = WRITER.replace(
    'connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")', "pass  # as AWS's library for Go"
)


def test_runtime_that_does_not_mark_its_stream_streams_all_the_same(stand_in: StandIn, tmp_path: Path) -> None:
    """
    With as many bytes as a stream may have.
    """
    script = f"""{UNMARKED}
request_id, event = next_event()
begin(request_id)
write(b"first")
wait_for("read")
for _ in range(8):
    write(bytes(1024 * 1024))
end()
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        chunks = invocation.chunks()
        assert await anext(chunks) == b"first"
        (tmp_path / "read").touch()
        assert len(await read(chunks)) == 8 * 1024 * 1024
        assert answer_of(invocation).function_error is None

    run(stand_in(script), use)


def test_error_in_the_trailers_of_an_unmarked_stream_reaches_its_reader(stand_in: StandIn) -> None:
    """
    Its body is that of the trailer, not what had come before.
    """
    script = f"""{UNMARKED}
request_id, event = next_event()
begin(request_id)
write(b"hello")
end(Lambda_Runtime_Function_Error_Type="Shop.Closed", Lambda_Runtime_Function_Error_Body="e30=")
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator)
        assert await read(invocation.chunks()) == b"hello"
        assert (answer_of(invocation).function_error, answer_of(invocation).error_body) == ("Shop.Closed", b"{}")

    run(stand_in(script), use)


@pytest.mark.parametrize(("content_type", "streamed"), [("application/json", False), ("text/plain", True)])
def test_caller_of_no_certain_mode_takes_unmarked_json_as_one_piece(
    content_type: str, streamed: bool, stand_in: StandIn
) -> None:
    """
    It may be the answer of a function that knows of no streams, in chunks because its library sends it so.
    """
    script = f"""{UNMARKED}
request_id, event = next_event()
begin(request_id, {content_type!r})
write(b"{{}}")
end()
next_event()
"""

    async def use(emulator: Emulator) -> None:
        invocation = submit(emulator, collects_unmarked_json=True)
        await invocation.answered()
        assert invocation.response_streamed is streamed

    run(stand_in(script), use)


# Limits.


def test_stream_over_its_limit_is_an_error() -> None:
    """
    200 MB are allowed.
    """

    async def main() -> None:
        invocation = Invocation(event=b"", function_arn="arn", requested_at=0, streaming=True)
        request = Request("POST", "/response", {}, bytes(MAX_STREAM + 1))
        error, document = await pass_on(invocation, request, "text/plain", lambda: 0.0)
        assert error == "Function.ResponseSizeTooLarge"
        assert json.loads(document)["errorType"] == "Function.ResponseSizeTooLarge"

    anyio.run(main)


def test_bandwidth_is_that_of_lambda() -> None:
    """
    The first 6 MiB as they come, then 2 MiB a second; a pause gives credit, at most that of the beginning.
    """

    async def main() -> None:
        time = Time()
        bandwidth = Bandwidth(time.clock, time.sleep)
        for _ in range(6):
            await bandwidth.take(1024 * 1024)
        assert time.slept == []
        for _ in range(4):
            await bandwidth.take(1024 * 1024)
        assert time.slept == [0.5] * 4

        time.now += 1
        await bandwidth.take(STREAM_RATE)
        assert time.slept == [0.5] * 4
        time.now += 1000
        await bandwidth.take(STREAM_BURST)
        assert time.slept == [0.5] * 4
        await bandwidth.take(10 * STREAM_RATE)
        assert time.slept[4:] == [10.0]

    anyio.run(main)
