"""
What can be seen of a fault from outside: the answer, the log, and whether the same process serves the next event.

Events come in pairs, one that is struck and a good one. As Lambda does, the
process is killed at the deadline of an event.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import CLEAN_ENVIRONMENT
from tests.support.fakes import ACCEPTED, END, Event, FakeRuntimeAPI, Request, reply

from .strikes import FAULTS

PLACES = Path(__file__).parent / "places"
OURS, AWS = "lambda_ric", "awslambdaric"
SHORT, LONG = 2.0, 20.0

GOES_ON = "goes on"
HANGS = "hangs until the timeout"
REPLACED = "is replaced"
BOTH_SUCCEED, COMES_BACK = "both messages succeed", "its message comes back, the other succeeds"
NEXT_HOOK, NO_HOOK = "the next hook runs", "no further hook runs"

REGISTERED = reply(200, b"{}", Lambda_Extension_Identifier="7f3c0c4e-6c2b-4b5e-9d4e-6d1f0e6f0a11")
NO_ANSWER = b"HTTP/1.1 100 Continue\r\n\r\n"  # an interim reply, after which the client goes on waiting


class Observed(NamedTuple):
    """What one fault did."""

    caller: str
    end: str
    log: str


class Platform(FakeRuntimeAPI):
    """
    Hands out *events*, and does to *process* what Lambda does; *logs* has what was written up to each poll.

    At the end it kills it, or has it shut down in an *orderly* way, in so many seconds.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, *events: Event, log: int, intercept: Instead | None = None, orderly: float = 0.0) -> None:
        super().__init__(*events, intercept=self._look)
        self.logs: list[str] = []
        self.timed_out = False
        self.broken_off: list[Request] = []
        self._instead = intercept
        self._log = log
        self._orderly = orderly
        self._deadline: threading.Timer | None = None

    def expect_poll(self, within: float) -> None:
        """Kill the process if it does not ask for an event *within* so many seconds."""
        self._deadline = threading.Timer(within, self._time_out)
        self._deadline.daemon = True
        self._deadline.start()

    def cut_log(self) -> None:
        """Add what has been written since the last time."""
        written = b""
        try:
            while data := os.read(self._log, 1 << 20):
                written += data
        except BlockingIOError:
            pass
        self.logs.append(written.decode())

    def usual(self, request: Request, *, counts: bool = True) -> bytes:
        """Return what *request* would be answered; the event in it is handed out if that *counts*."""
        if request.method == "POST":
            return ACCEPTED
        return (self._left.pop(0) if counts else self._left[0]).encode()

    def refuse(self) -> None:
        """Listen no longer."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _look(self, request: Request) -> bytes | None:
        if "/extension/" in request.path:
            return NO_ANSWER if request.name == "next" else REGISTERED
        if request.name == "next":
            if self._deadline is not None:
                self._deadline.cancel()
            self.cut_log()
            if not self._left and self._orderly:
                self.expect_poll(self._orderly)
                self.process.terminate()
                return NO_ANSWER
            if not self._left:
                self.process.kill()  # how it would end is not the question any more
                return END
            self.expect_poll(self._left[0].timeout)
        return self._instead(self, request) if self._instead is not None else None

    def _time_out(self) -> None:
        self.timed_out = True
        self.process.kill()

    def _read(self, stream: Any, number: int) -> Request | None:
        try:
            request = super()._read(stream, number)
        except (ValueError, AssertionError):  # the process has ended in the middle of a chunk
            return None
        if request is not None and len(request.body) < int(request.headers.get("content-length", 0)):
            return None
        return request

    def _read_chunks(self, stream: Any, request: Request) -> None:
        self.broken_off.append(request)
        super()._read_chunks(stream, request)
        self.broken_off.remove(request)


Instead = Callable[[Platform, Request], "bytes | None"]


def serve(
    runtime: str,
    handler: str,
    events: Sequence[Event],
    *,
    init: float = LONG,
    intercept: Instead | None = None,
    env: dict[str, str] | None = None,
    orderly: float = 0.0,
) -> tuple[Platform, int]:
    """Serve *events* to the end of the process; return what there was to see, and the exit code."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(writer, True)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    platform = Platform(*events, log=reader, intercept=intercept, orderly=orderly)
    with platform, tempfile.TemporaryDirectory() as directory:
        platform.process = subprocess.Popen(
            [sys.executable, "-m", runtime, handler],
            cwd=PLACES,
            env={
                **CLEAN_ENVIRONMENT,
                "AWS_LAMBDA_RUNTIME_API": platform.address,
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "LAMBDA_TASK_ROOT": str(PLACES),
                "_HANDLER": handler,
                "TMPDIR": directory,
                "LAMBDA_RIC_DEADLINE_MARGIN_MS": "500",
                "LAMBDA_RIC_TASK_SOURCES": QUEUE,
                "LAMBDA_RIC_SOFT_DEADLINE_MS": "1000",
                # So little of a processor that no start fits into the time that is left: there is one way of it.
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1",
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        platform.expect_poll(init)
        code = platform.process.wait(60)
        try:
            os.killpg(platform.process.pid, signal.SIGKILL)  # what it has left running
        except ProcessLookupError:
            pass
        platform.read_to_the_end()
        platform.cut_log()
        os.close(writer)
        os.close(reader)
    return platform, code


def observe(
    runtime: str,
    handler: str,
    events: Sequence[Event],
    *,
    init: float = LONG,
    intercept: Instead | None = None,
    env: dict[str, str] | None = None,
) -> list[Observed]:
    """Serve *events*, of which every other one is good; say what became of each pair."""
    platform, code = serve(runtime, handler, events, init=init, intercept=intercept, env=env)
    return [
        Observed(_answer(platform, event), _end(platform, 2 * number, code), _log(platform, 2 * number))
        for number, event in enumerate(events[::2])
        if 2 * number < max(len(platform.logs) - 1, 1)
    ]


def observe_faults(runtime: str, place: str, names: Iterable[str]) -> dict[str, Observed]:
    """Let each of the faults strike at *place*; many share a process, as long as it lives."""
    observed: dict[str, Observed] = {}
    left = list(names)
    before = 1 if place == "thaw_hook" else 0  # it does not run before the first event
    while left:
        batch = [name for name in left if not FAULTS[name].lasting] or left[:1]
        events = [event for name in batch for event in (_event(name, place), _event(name))]
        pairs = observe(runtime, f"{place}.handler", [Event(None), Event(None)] * before + events)
        observed.update(zip(batch, pairs[before:], strict=False))
        left = [name for name in left if name not in observed]
    return observed


def observe_faults_of_init(runtime: str, place: str, names: Iterable[str]) -> dict[str, Observed]:
    """Let each of the faults strike at *place*, before the first event: each in a process of its own."""
    return {
        name: observe(
            runtime,
            f"{place}.handler",
            [Event(None), Event(None)],
            init=SHORT if FAULTS[name].hanging else LONG,
            env={"FAULT": name},
        )[0]
        for name in names
    }


def observe_faults_of_shutdown(runtime: str, place: str, names: Iterable[str]) -> dict[str, Observed]:
    """Let each of the faults strike at *place*, after a SIGTERM: each in a process of its own."""
    return {name: _observe_shutdown(runtime, place, name) for name in names}


def _observe_shutdown(runtime: str, place: str, name: str) -> Observed:
    # Lambda gives it 300 ms, but a processor of its own, too.
    orderly = 2 * SHORT if FAULTS[name].hanging else LONG
    platform, code = serve(runtime, f"{place}.handler", [], env={"FAULT": name}, orderly=orderly)
    log, next_hook, rest = "".join(platform.logs).partition("the next hook has run\n")
    return Observed(NEXT_HOOK if next_hook else NO_HOOK, _end_with(platform, code), log + rest)


def _event(name: str, place: str | None = None) -> Event:
    """Return the event by which the fault *name* strikes at *place*, without that a good one."""
    payload: object = None
    if place == "consumer":
        payload = messages(name)
    elif place is not None:
        payload = name
    return Event(payload, timeout=SHORT if FAULTS[name].hanging else LONG)


QUEUE = "arn:aws:sqs:us-east-1:123456789012:tasks"


def messages(name: str) -> dict[str, object]:
    """Return an event with a message for a task that the fault *name* strikes, and one for a good one."""
    return {"Records": [_message("struck", name), _message("good", None)]}


def _message(message_id: str, name: str | None) -> dict[str, object]:
    body = {"v": 1, "task": "struck", "args": [name], "kwargs": {}, "id": message_id, "attempt": 1, "origin": {}}
    source = {"eventSource": "aws:sqs", "eventSourceARN": QUEUE}
    return {"messageId": message_id, **source, "body": json.dumps(body), "attributes": {}}


def _answer(platform: Platform, event: Event) -> str:
    """Say what was posted: for *event*, and before the first one for the init."""
    places = [f"/invocation/{event.request_id}/", *(["/init/error"] if event is platform.events[0] else [])]
    answers = [_described(post) for post in platform.posts if any(place in post.path for place in places)]
    answers += ["response broken off" for broken in platform.broken_off if event.request_id in broken.path]
    return ", then ".join(answers) or "nothing"


def _described(post: Request) -> str:
    if post.name == "response":
        if post.body.startswith(b'{"batchItemFailures"'):
            failed = [failure["itemIdentifier"] for failure in json.loads(post.body)["batchItemFailures"]]
            return {"": BOTH_SUCCEED, "struck": COMES_BACK}.get(",".join(failed), f"{failed} come back")
        error = post.trailers.get("lambda-runtime-function-error-body")
        return f"response broken off by {json.loads(b64decode(error))['errorType']}" if error else "response"
    return f"{'init error' if '/init/' in post.path else 'error'} {json.loads(post.body)['errorType']}"


def _end(platform: Platform, number: int, code: int) -> str:
    """Say how the process went on after the event *number*."""
    if len(platform.logs) - 1 > number + 1:  # asked for the one after the good one
        good = platform.events[number + 1]
        by = f"served by {platform.process.pid}".encode()
        posts = [post for post in platform.posts if f"/invocation/{good.request_id}/" in post.path]
        if [post.name for post in posts] == ["response"] and by in posts[0].body:
            return GOES_ON
        return "cannot serve the next event"
    if code == 1 and "the process ends, and Lambda starts a new one: it was interrupted" in _log(platform, number):
        return REPLACED
    return _end_with(platform, code)


def _end_with(platform: Platform, code: int) -> str:
    if platform.timed_out:
        return HANGS
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ends with {code}"


def _log(platform: Platform, number: int) -> str:
    # Before the first poll comes the log of the init.
    return "".join(platform.logs[number + 1 if number else 0 : number + 3])
