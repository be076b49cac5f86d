"""
The Runtime API for many events at once, from the side of the environment and from that of the runtime.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.abc
import httpx
import pytest

from lambda_ric.emulator.apis.managed_runtime_api import (
    MAX_ERROR_BYTES,
    MAX_IDLE_POLLS,
    MAX_TIMED_OUT,
    ManagedRuntimeAPI,
)
from lambda_ric.emulator.apis.routes import Routes
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError, ThrottledError
from lambda_ric.emulator.http.messages import RefusedError
from lambda_ric.emulator.http.server import listening

INVALID_ID = (400, {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"})
INVOKE_TIMEOUT = (410, {"errorMessage": "Invoke timeout", "errorType": "InvokeTimeout"})
INTERNAL_ERROR = (500, {"errorMessage": "Internal Server Error", "errorType": "InternalServerError"})
TOO_LARGE = (
    413,
    {
        "errorMessage": "Exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "RequestEntityTooLarge",
    },
)
OK = (202, {"status": "OK"})


class Environment:
    """The API, a client that is its runtime, and a place for invocations."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.api = ManagedRuntimeAPI(time.time, self._turn)
        self.client: httpx.AsyncClient
        self._tasks = tasks
        self._turned = anyio.Event()

    def _turn(self) -> None:
        self._turned.set()

    async def until_idle(self, polls: int) -> None:
        """Wait until so many polls wait."""
        while self.api.idle < polls:
            self._turned = anyio.Event()
            await self._turned.wait()

    def poll(self) -> Poll:
        """Ask for the next event, and do not wait for it."""
        return Poll(self.client, self._tasks)

    def invoke(self, event: bytes = b"{}", timeout: float = 20.0, **fields: Any) -> Invocation:
        """Give an event to a poll that waits."""
        invocation = Invocation(event=event, function_arn="arn", requested_at=time.time(), **fields)
        invocation.start(time.time(), timeout)
        self._tasks.start_soon(self.api.invoke, invocation)
        return invocation

    async def event(self, event: bytes = b"{}", timeout: float = 20.0, **fields: Any) -> Invocation:
        """Give an event to the runtime, and return when the runtime has it."""
        poll = self.poll()
        await self.until_idle(1)
        invocation = self.invoke(event, timeout, **fields)
        await poll.reply()
        return invocation

    async def post(self, what: str, body: Any = b'"done"', **headers: str) -> tuple[int, Any]:
        """Post a body; return status and document of the reply."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.post(f"/runtime/{what}", content=body, headers=named)
        return reply.status_code, reply.json()

    async def respond(self, invocation: Invocation, body: Any = b'"done"', **headers: str) -> tuple[int, Any]:
        return await self.post(f"invocation/{invocation.request_id}/response", body, **headers)

    async def fail(self, invocation: Invocation, body: Any = b"{}", **headers: str) -> tuple[int, Any]:
        return await self.post(f"invocation/{invocation.request_id}/error", body, **headers)


class Poll:
    """A request for the next event."""

    def __init__(self, client: httpx.AsyncClient, tasks: anyio.abc.TaskGroup) -> None:
        self._client = client
        self._done = anyio.Event()
        self._reply: httpx.Response
        tasks.start_soon(self._run)

    async def _run(self) -> None:
        self._reply = await self._client.get("/runtime/invocation/next")
        self._done.set()

    async def reply(self) -> httpx.Response:
        await self._done.wait()
        return self._reply


@asynccontextmanager
async def environment() -> AsyncIterator[Environment]:
    async with anyio.create_task_group() as tasks:
        created = Environment(tasks)
        nobody = cast(Any, None)
        async with listening(Routes(created.api, nobody, nobody, nobody).dispatch) as port:
            url = f"http://127.0.0.1:{port}/2018-06-01"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=None) as created.client:
                yield created
                tasks.cancel_scope.cancel()


def run(use: Callable[[Environment], Awaitable[None]]) -> None:
    async def main() -> None:
        async with environment() as opened:
            await use(opened)

    anyio.run(main)


def answer_of(invocation: Invocation) -> tuple[bytes, str, str | None]:
    answer = invocation.answer
    assert answer is not None
    return answer.payload, answer.content_type, answer.function_error


# Many at once...


def test_events_run_at_once_and_are_answered_in_any_order() -> None:
    """
    Each poll gets an event of its own, the one that waits longest first.
    """

    async def use(env: Environment) -> None:
        polls = []
        for number in range(3):
            polls.append(env.poll())
            await env.until_idle(number + 1)
        invocations = [env.invoke(b"%d" % number) for number in range(3)]
        replies = [await poll.reply() for poll in polls]

        assert [reply.content for reply in replies] == [b"0", b"1", b"2"]
        assert env.api.idle == 0
        for invocation in reversed(invocations):
            assert await env.respond(invocation, b'"%b"' % invocation.event) == OK
        assert [answer_of(invocation)[0] for invocation in invocations] == [b'"0"', b'"1"', b'"2"']

    run(use)


def test_invocation_is_over_when_its_response_is_sent() -> None:
    """
    Nobody waits for the next poll of the one that answered.
    """

    async def use(env: Environment) -> None:
        env.poll()
        await env.until_idle(1)
        invocation = Invocation(event=b"1", function_arn="arn", requested_at=time.time())
        invocation.start(time.time(), 20)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(env.api.invoke, invocation)
            assert await env.respond(invocation) == OK
        # The group has ended, and with it the call of invoke.
        assert answer_of(invocation) == (b'"done"', "application/octet-stream", None)

    run(use)


def test_event_without_a_poll_is_throttled() -> None:
    """
    When all slots are busy, Lambda turns to another environment, or throttles.
    """

    async def use(env: Environment) -> None:
        invocation = Invocation(event=b"1", function_arn="arn", requested_at=time.time())
        with pytest.raises(ThrottledError, match="no idle runtimes"):
            await env.api.invoke(invocation)

    run(use)


def test_request_id_that_is_running_is_refused() -> None:
    """
    Two events of one id could not be told apart.
    """

    async def use(env: Environment) -> None:
        first = await env.event()
        second = Invocation(event=b"1", function_arn="arn", requested_at=time.time(), request_id=first.request_id)
        with pytest.raises(EmulatorError, match="running already"):
            await env.api.invoke(second)

    run(use)


def test_event_comes_with_its_nonce_and_with_what_its_caller_gave() -> None:
    """
    The headers are those of an environment that serves one event at a time.
    """

    async def use(env: Environment) -> None:
        poll = env.poll()
        await env.until_idle(1)
        invocation = env.invoke(tenant_id="blue")
        headers = (await poll.reply()).headers

        assert headers["Lambda-Runtime-Aws-Request-Id"] == invocation.request_id
        assert headers["Lambda-Runtime-Invocation-Id"] == invocation.nonce
        assert headers["Lambda-Runtime-Aws-Tenant-Id"] == "blue"
        assert "Lambda-Runtime-Client-Context" not in headers

    run(use)


def test_more_polls_than_any_runtime_has_are_refused() -> None:
    """
    There may be ten thousand.
    """

    async def use(env: Environment) -> None:
        for _ in range(MAX_IDLE_POLLS):
            env.api.next()
        with pytest.raises(RefusedError) as refused:
            env.api.next()

        assert refused.value.status == 500
        assert env.api.idle == MAX_IDLE_POLLS

    run(use)


# ...what is refused...


def test_second_answer_is_refused_and_the_first_one_counts() -> None:
    """
    The id of an event that was answered is worth nothing, nor is one that nobody has heard of.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()
        assert await env.respond(invocation, b"first", Content_Type="text/plain") == OK

        assert await env.respond(invocation) == INVALID_ID
        assert await env.fail(invocation) == INVALID_ID
        assert await env.post("invocation/unknown/response") == INVALID_ID
        assert answer_of(invocation) == (b"first", "text/plain", None)

    run(use)


def test_error_is_passed_on() -> None:
    """
    The document as it is, with the type that the header gives.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()
        document = b'{ "errorMessage": "no" }'

        assert await env.fail(invocation, document, Lambda_Runtime_Function_Error_Type="Runtime.Sad") == OK
        assert answer_of(invocation) == (document, "application/json", "Runtime.Sad")
        assert await env.fail(invocation) == INVALID_ID

    run(use)


def test_error_over_its_limit_is_refused_and_another_may_follow() -> None:
    """
    A megabyte is enough for an error, whosever it is.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()

        assert await env.fail(invocation, b"x" * (MAX_ERROR_BYTES + 1)) == TOO_LARGE
        assert await env.post("invocation/unknown/error", b"x" * (MAX_ERROR_BYTES + 1)) == TOO_LARGE
        assert await env.fail(invocation, b"x" * MAX_ERROR_BYTES) == OK

    run(use)


def test_response_over_the_limit_is_refused_and_the_caller_told() -> None:
    """
    The environment goes on.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()

        assert await env.respond(invocation, b"x" * 6291557) == TOO_LARGE
        assert answer_of(invocation)[2] == "Function.ResponseSizeTooLarge"
        assert await env.fail(invocation) == INVALID_ID
        assert await env.respond(await env.event(), b"x" * 6291556) == OK

    run(use)


def test_unknown_mode_fails_its_invocation_only() -> None:
    """
    Nothing is stuck here, unlike where there is one event at a time.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()

        status, document = await env.respond(invocation, Lambda_Runtime_Function_Response_Mode="Streaming")
        assert (status, document["errorType"]) == (400, "InvalidFunctionResponseMode")
        assert answer_of(invocation)[2] == "Runtime.InvalidResponseModeHeader"
        assert await env.respond(await env.event()) == OK

    run(use)


def test_nonce_of_another_attempt_is_refused() -> None:
    """
    A late answer to an earlier attempt is not taken for that to the retry, which has the same id.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event()

        assert await env.respond(invocation, Lambda_Runtime_Invocation_Id="another") == INVOKE_TIMEOUT
        assert await env.fail(invocation, Lambda_Runtime_Invocation_Id="another") == INVOKE_TIMEOUT
        assert await env.respond(invocation, Lambda_Runtime_Invocation_Id=invocation.nonce) == OK

    run(use)


def test_init_error_may_come_once() -> None:
    """
    Each worker may fail to start; the platform hears the first, and is not ended by it after a poll.
    """

    async def use(env: Environment) -> None:
        env.poll()
        await env.until_idle(1)

        assert await env.post("init/error", b'{"errorType":"Sad"}') == OK
        status, document = await env.post("init/error", b"{}")
        assert (status, document["errorType"]) == (403, "InvalidStateTransition")
        assert env.api.init_failure is not None
        assert env.api.init_failure.document == b'{"errorType":"Sad"}'
        assert env.api.idle == 1

    run(use)


# ...time...


def test_late_answer_is_gone_once_and_then_unknown() -> None:
    """
    The caller was told of the timeout; the others run on.
    """

    async def use(env: Environment) -> None:
        other = await env.event()
        invocation = await env.event(timeout=0.01)
        answer = await invocation.answered()

        assert json.loads(answer.payload) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "Task timed out after 0.01 seconds",
        }
        assert invocation.status == "timeout"
        assert await env.respond(invocation) == INVOKE_TIMEOUT
        assert await env.respond(invocation) == INVALID_ID
        assert await env.respond(other) == OK

    run(use)


def test_a_thousand_timeouts_are_remembered() -> None:
    """
    The oldest is forgotten first.
    """

    async def use(env: Environment) -> None:
        invocations = []
        for _ in range(MAX_TIMED_OUT + 1):
            env.api.next()
            invocation = Invocation(event=b"1", function_arn="arn", requested_at=time.time())
            invocation.start(time.time(), 0)
            invocations.append(invocation)
            await env.api.invoke(invocation)

        assert await env.fail(invocations[0]) == INVALID_ID
        assert await env.fail(invocations[1]) == INVOKE_TIMEOUT

    run(use)


# ...streams, and the end.


class Stream:
    """A response of which one piece is sent after the other."""

    def __init__(self) -> None:
        self._send, self._pieces = anyio.create_memory_object_stream[bytes](10)

    def write(self, piece: bytes) -> None:
        self._send.send_nowait(piece)

    def close(self) -> None:
        self._send.close()

    async def body(self) -> AsyncIterator[bytes]:
        with self._pieces:
            async for piece in self._pieces:
                yield piece


async def post_stream(env: Environment, invocation: Invocation, stream: Stream, replies: list[tuple[int, Any]]) -> None:
    reply = await env.respond(invocation, stream.body(), Lambda_Runtime_Function_Response_Mode="streaming")
    replies.append(reply)


def test_stream_reaches_its_caller_piece_by_piece() -> None:
    """
    The caller has the first piece while the second is not even there.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event(streaming=True)
        stream, replies = Stream(), list[tuple[int, Any]]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post_stream, env, invocation, stream, replies)
            stream.write(b"one")
            pieces = invocation.chunks()
            assert await anext(pieces) == b"one"
            stream.write(b"two")
            assert await anext(pieces) == b"two"
            stream.close()

        assert replies == [OK]
        assert [piece async for piece in pieces] == []
        assert answer_of(invocation)[2] is None

    run(use)


@pytest.mark.parametrize("streaming", [True, False])
def test_error_breaks_a_response_off_that_is_being_sent(streaming: bool) -> None:
    """
    The caller has what came before, if it reads a stream, and the error.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event(streaming=streaming)
        stream, replies = Stream(), list[tuple[int, Any]]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post_stream, env, invocation, stream, replies)
            stream.write(b"one")
            if streaming:
                pieces = invocation.chunks()
                assert await anext(pieces) == b"one"
            else:
                await until_answering(env, invocation)
            assert await env.respond(invocation) == INVALID_ID
            assert await env.fail(invocation, b'{"errorType":"Sad"}', Lambda_Runtime_Function_Error_Type="Sad") == OK
            stream.close()

        assert replies == [INTERNAL_ERROR]
        answer = await invocation.answered()
        assert (answer.error_body, answer.function_error) == (b'{"errorType":"Sad"}', "Sad")

    run(use)


async def until_answering(env: Environment, invocation: Invocation) -> None:
    """Wait until a response to *invocation* is on its way, which a wrong nonce shows and does not change."""
    while await env.respond(invocation, Lambda_Runtime_Invocation_Id="another") != INVALID_ID:
        pass


def test_timeout_breaks_a_stream_off() -> None:
    """
    The runtime is told that it is late, the caller that there will be no more.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event(timeout=1.0, streaming=True)
        stream, replies = Stream(), list[tuple[int, Any]]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post_stream, env, invocation, stream, replies)
            stream.write(b"one")
            assert [piece async for piece in invocation.chunks()] == [b"one"]
            stream.close()

        assert replies == [INVOKE_TIMEOUT]
        assert answer_of(invocation)[2] == "Sandbox.Timedout"
        assert await env.respond(invocation) == INVALID_ID

    run(use)


def test_error_in_the_trailers_of_a_stream_is_accepted() -> None:
    """
    The stream has ended well, and tells itself that it is not complete.
    """

    async def use(env: Environment) -> None:
        invocation = await env.event(streaming=True)
        path = f"/2018-06-01/runtime/invocation/{invocation.request_id}/response"
        error = base64.b64encode(b"{}").decode()
        request = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n3\r\none\r\n0\r\n"
            f"Lambda-Runtime-Function-Error-Type: Sad\r\nLambda-Runtime-Function-Error-Body: {error}\r\n\r\n"
        )
        async with await anyio.connect_tcp("127.0.0.1", env.client.base_url.port or 0) as connection:
            await connection.send(request.encode())
            reply = await connection.receive()

        assert reply.startswith(b"HTTP/1.1 202 ")
        assert [piece async for piece in invocation.chunks()] == [b"one"]
        answer = await invocation.answered()
        assert (answer.function_error, answer.error_body) == ("Sad", b"{}")

    run(use)


def test_end_of_the_runtime_fails_what_it_had() -> None:
    """
    All its callers are told, and its polls are refused.
    """

    async def use(env: Environment) -> None:
        first, second = await env.event(), await env.event()
        poll = env.poll()
        await env.until_idle(1)
        env.api.end(Failure("Runtime.ExitError", "Runtime exited with error: exit status 1"))

        reply = await poll.reply()
        assert (reply.status_code, reply.json()) == INTERNAL_ERROR
        assert [answer_of(one) for one in (first, second)] == [
            (b'{"errorType":"Runtime.ExitError"}', "application/json", "Runtime.ExitError")
        ] * 2
        assert env.api.idle == 0

    run(use)


def test_there_are_no_snapshots() -> None:
    """
    Managed instances start every environment anew.
    """

    async def use(env: Environment) -> None:
        assert (await env.client.get("/runtime/restore/next")).status_code == 404
        assert (await env.client.post("/runtime/restore/error")).status_code == 404
        assert (await env.client.get("/ping")).text == "pong"

    run(use)
