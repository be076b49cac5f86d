"""
Many callers at a time: environments come and go with them, and nobody gets another's answer.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from lambda_ric.emulator import Emulator, EmulatorError, Invocation, LogLine, serve
from tests.emulator.conftest import StandIn
from tests.support.callers import client, served
from tests.support.ports import free_port

CALLERS = 200
ENVIRONMENTS = 20

# Answers with its event and its process id; waits first while a file of the event's name is there.
ECHO = """
while True:
    request_id, event = next_event()
    path = event.content.decode().strip('"')
    while os.path.exists(path):
        time.sleep(0.005)
    if path == "exit":
        os._exit(3)
    respond(request_id, b'{"event": %b, "pid": %d}' % (event.content, os.getpid()))
"""

URL = "/2015-03-31/functions/function/invocations"


class Notes:
    """Counts what an emulator does, and lets a test wait for it."""

    def __init__(self) -> None:
        self.kinds: list[tuple[str, str]] = []
        self.changes = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self, invocation: Invocation) -> None:
        self._tell()

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        pass

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.kinds.append((kind, text))
        self._tell()

    def count(self, kind: str, text: str = "") -> int:
        return sum(found == kind and text in said for found, said in self.kinds)

    async def until(self, kind: str, text: str = "", *, number: int = 1) -> None:
        """Wait until *kind* was noted *number* times."""
        with anyio.fail_after(20):
            async with self.changes:
                await self.changes.wait_for(lambda: self.count(kind, text) >= number)

    def _tell(self) -> None:
        async def tell() -> None:
            async with self.changes:
                self.changes.notify_all()

        task = asyncio.get_running_loop().create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def ask(http: httpx.AsyncClient, event: str, replies: dict[str, httpx.Response]) -> None:
    assert event not in replies
    replies[event] = await http.post(URL, content=json.dumps(event))


async def wave(url: str, events: list[str]) -> dict[str, httpx.Response]:
    """Send *events* all at once; return the reply to each."""
    replies: dict[str, httpx.Response] = {}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, limits=limits) as http:
        async with anyio.create_task_group() as tasks:
            for event in events:
                tasks.start_soon(ask, http, event, replies)
    return replies


def own(replies: dict[str, httpx.Response]) -> int:
    """Return how many got an answer, after a look that it is their own."""
    answered = {event: reply for event, reply in replies.items() if reply.status_code == 200}
    for event, reply in answered.items():
        assert reply.json()["event"] == event
        assert "x-amz-function-error" not in reply.headers
    return len(answered)


def pids(replies: dict[str, httpx.Response]) -> set[int]:
    return {reply.json()["pid"] for reply in replies.values() if reply.status_code == 200}


def throttled(reply: httpx.Response) -> bool:
    return (reply.status_code, reply.headers.get("x-amzn-errortype")) == (429, "TooManyRequestsException")


def test_200_callers_get_one_answer_each_and_it_is_their_own(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Twenty are served, by as many environments; the rest is told to come again.

    The events of the first wave are held until everybody has called. The second
    wave finds environments that are warm, and starts none.
    """
    gate = tmp_path / "gate"
    gate.mkdir()
    first = [str(gate / str(number)) for number in range(CALLERS)]
    for name in first:
        Path(name).touch()

    async def main() -> None:
        notes = Notes()
        async with stand_in(ECHO, concurrency=ENVIRONMENTS, timeout=30, observers=[notes]) as emulator:
            async with serve(emulator) as endpoint:
                held: dict[str, httpx.Response] = {}
                async with anyio.create_task_group() as tasks:

                    async def call() -> None:
                        held.update(await wave(endpoint.url, first))

                    tasks.start_soon(call)
                    await notes.until("throttle", number=CALLERS - ENVIRONMENTS)
                    for name in first:
                        os.unlink(name)
                assert own(held) == ENVIRONMENTS
                assert sum(map(throttled, held.values())) == CALLERS - ENVIRONMENTS
                assert len(pids(held)) == ENVIRONMENTS

                warm = await wave(endpoint.url, [f"warm {number}" for number in range(CALLERS)])
                assert own(warm) + sum(map(throttled, warm.values())) == CALLERS
                assert own(warm) >= ENVIRONMENTS
                assert pids(warm) <= pids(held)
                assert notes.count("environment", "starts") == ENVIRONMENTS

    anyio.run(main)


def test_throttled_caller_sees_the_error_of_the_service(stand_in: StandIn, tmp_path: Path) -> None:
    """
    boto3 raises its own exception for it.
    """
    held = tmp_path / "held"
    held.touch()

    with served(stand_in(ECHO)) as (endpoint, _):
        caller = client("lambda", endpoint.url)
        event = json.dumps(str(held)).encode()
        assert caller.invoke(FunctionName="function", InvocationType="Event", Payload=event)["StatusCode"] == 202
        error: Any = None
        while error is None:  # until the queue has handed the event on
            try:
                caller.invoke(FunctionName="function", Payload=b'"free"')
            except caller.exceptions.TooManyRequestsException as exc:
                error = exc.response
        held.unlink()

    assert error["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert error["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_with_a_queue_callers_wait_instead(stand_in: StandIn) -> None:
    """
    Everybody is served in the end, by the environments that there may be.
    """

    async def main() -> None:
        async with stand_in(ECHO, concurrency=2, queue=True, timeout=30) as emulator, serve(emulator) as endpoint:
            replies = await wave(endpoint.url, [f"n {number}" for number in range(50)])
        assert own(replies) == 50
        assert len(pids(replies)) <= 2

    anyio.run(main)


def test_one_caller_after_the_other_needs_one_environment(stand_in: StandIn) -> None:
    """
    However many there might be.
    """

    async def main() -> None:
        notes = Notes()
        async with stand_in(ECHO, concurrency=ENVIRONMENTS, observers=[notes]) as emulator:
            for number in range(30):
                answer = await emulator.invoke(number)
                assert json.loads(answer.payload)["event"] == number
                await answer.finished()
        assert notes.count("environment", "starts") == 1

    anyio.run(main)


def test_idle_environment_is_shut_down(stand_in: StandIn) -> None:
    """
    After *idle_timeout* seconds without an event; the next one finds a new environment.
    """

    async def main() -> None:
        notes = Notes()
        async with stand_in(ECHO, idle_timeout=0.05, observers=[notes]) as emulator:
            first = json.loads((await emulator.invoke("a")).payload)["pid"]
            await notes.until("environment", "has ended")
            with pytest.raises(ProcessLookupError):
                os.kill(first, 0)
            second = json.loads((await emulator.invoke("b")).payload)["pid"]
            assert second != first
            await notes.until("environment", "has ended", number=2)

    anyio.run(main)


def test_environment_that_fails_does_not_disturb_the_others(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Its own caller learns of it, and the next one finds it as good as new.
    """
    held = tmp_path / "held"
    held.touch()

    async def main() -> None:
        async with stand_in(ECHO, concurrency=3, timeout=30) as emulator:
            invocations = [
                emulator.invocation(json.dumps(event).encode()) for event in (str(held), "exit", str(held) + "!")
            ]
            for invocation in invocations:
                emulator.submit(invocation)
            failed = await invocations[1].answered()
            await invocations[1].finished()
            again = await emulator.invoke("again")
            held.unlink()
            good = [await invocations[0].answered(), await invocations[2].answered()]
        assert failed.function_error is not None
        assert json.loads(failed.payload)["errorType"] == "Runtime.ExitError"
        assert json.loads(again.payload)["event"] == "again"
        assert [json.loads(answer.payload)["event"] for answer in good] == [str(held), str(held) + "!"]

    anyio.run(main)


def test_every_answer_is_given_when_the_emulator_ends(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Also to those that wait: nobody is left without one.
    """
    held = tmp_path / "held"
    held.touch()

    async def main() -> list[Invocation]:
        async with stand_in(ECHO, concurrency=2, queue=True, timeout=30) as emulator:
            event = json.dumps(str(held)).encode()
            invocations = [emulator.invocation(event) for _ in range(5)]
            for invocation in invocations:
                emulator.submit(invocation)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            for invocation in invocations:
                with pytest.raises(EmulatorError):
                    await invocation.answered()
        return invocations

    assert len(anyio.run(main)) == 5


def test_several_threads_may_call(stand_in: StandIn) -> None:
    """
    boto3 in threads, as in a test suite that runs in parallel.
    """
    answers: dict[int, Any] = {}

    def call(url: str, number: int) -> None:
        caller = client("lambda", url)
        for turn in range(5):
            event = json.dumps([number, turn]).encode()
            found = json.loads(caller.invoke(FunctionName="function", Payload=event)["Payload"].read())
            answers[number * 5 + turn] = found["event"]

    async def main() -> None:
        emulator: Emulator = stand_in(ECHO, concurrency=4, queue=True)
        async with emulator, serve(emulator) as endpoint, anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, call, endpoint.url, number)

    anyio.run(main)

    assert answers == {number * 5 + turn: [number, turn] for number in range(4) for turn in range(5)}


def test_environment_that_lives_goes_before_one_that_has_to_start_anew(stand_in: StandIn) -> None:
    """
    Two of them want the same port of this machine. The second fails, a note says why, and it is not tried again.
    """
    script = """
        import socket
        agent = socket.socket()
        try:
            agent.bind(("127.0.0.1", PORT))
        except OSError:
            os._exit(1)
        agent.listen()
        while True:
            request_id, event = next_event()
            respond(request_id, b"%d" % os.getpid())
            while event.content == b'"hold"' and not os.path.exists("go"):
                time.sleep(0.005)
    """.replace("PORT", str(free_port()))

    async def main() -> None:
        notes = Notes()
        async with stand_in(script, concurrency=2, observers=[notes]) as emulator:
            answer = await emulator.invoke("hold")
            failed = await (await emulator.invoke()).finished()
            assert failed.status == "error"
            assert notes.count("init", "share the ports of this machine") == 1

            (emulator.function.task_root / "go").touch()
            await answer.finished()
            for _ in range(3):
                again = await emulator.invoke()
                assert again.payload == answer.payload
                await again.finished()

    anyio.run(main)
