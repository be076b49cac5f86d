"""
The faults of sinks: of SQS, and of those that a function has of its own.

Two tasks, 1 and 2, that do not fit go there; or the record of one that has failed.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from lambda_ric.tasks.envelope import Envelope
from tests.support.fakes import Event, FakeRuntimeAPI, Request, reply

from .observing import LONG, OURS, messages, observe
from .sinks import SINKS

# Half of it is for the first request, which has to be answered in that time where the machine is busy, too.
WAIT = 10.0
OVERFLOWED, DROPPED, UNCONFIRMED = "overflowed", "dropped and logged in full", "unconfirmed and logged in full"
TAKEN, LOGGED = "taken", "logged in full"
CREDENTIALS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}

# Where a sink is asked for: the place, and the event.
SENDERS: dict[str, tuple[str, object]] = {
    "overflow": ("overflowing", "overflow"),
    "on_failure": ("destination", "exception"),
    "on_failure_of_a_message": ("destination", messages("exception")),
}

Answer = Callable[["Queue", Request], bytes]


class Queue(FakeRuntimeAPI):
    """SQS with a fault; *taken* has the number of each task that it has said to have."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(intercept=lambda request: answer(self, request))
        self.taken: list[int] = []

    def take(self, request: Request, **failures: Any) -> bytes:
        """Take each message of *request*, but for one of task 2 if there are *failures*."""
        document: dict[str, list[Any]] = {"Successful": [], "Failed": []}
        for entry in request.json()["Entries"]:
            (number,) = json.loads(entry["MessageBody"])["args"]
            if failures and number == 2:
                document["Failed"].append({"Id": entry["Id"], **failures})
            else:
                document["Successful"].append({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"})
                self.taken.append(number)
        return reply(200, json.dumps(document).encode(), Content_Type="application/x-amz-json-1.0")


class QueueFault(NamedTuple):
    """One way to fail; without an answer, nobody listens or the sink is one of *sinks*."""

    title: str
    answer: Answer | None = None


QUEUES: dict[str, QueueFault] = {"refused": QueueFault("SQS is down: connections are refused")}


def fault(title: str) -> Callable[[Answer], None]:
    """Add a function to the faults; it returns what SQS sends."""

    def add(answer: Answer) -> None:
        QUEUES[answer.__name__] = QueueFault(title, answer)

    return add


def _error(status: int, code: str) -> bytes:
    return reply(status, json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}).encode())


@fault("SQS answers when the time is over")
def slow(queue: Queue, request: Request) -> bytes:
    time.sleep(WAIT)
    return b""


@fault("SQS answers `ThrottlingException`, for ever")
def throttling(queue: Queue, request: Request) -> bytes:
    return _error(400, "ThrottlingException")


@fault("SQS answers `ThrottlingException`, once")
def throttling_once(queue: Queue, request: Request) -> bytes:
    return queue.take(request) if queue.requests else _error(400, "ThrottlingException")


@fault("SQS answers 503, for ever")
def unavailable(queue: Queue, request: Request) -> bytes:
    return _error(503, "ServiceUnavailable")


@fault("SQS answers 403: a permission is missing")
def forbidden(queue: Queue, request: Request) -> bytes:
    return _error(403, "AccessDenied")


@fault("SQS takes half of a batch, and the rest the next time")
def half_at_first(queue: Queue, request: Request) -> bytes:
    failures = {} if queue.requests else {"Code": "InternalError", "SenderFault": False}
    return queue.take(request, **failures)


@fault("SQS takes half of a batch, and never the rest")
def half(queue: Queue, request: Request) -> bytes:
    return queue.take(request, Code="InternalError", SenderFault=False)


@fault("SQS takes half of a batch, and refuses the rest")
def half_refused(queue: Queue, request: Request) -> bytes:
    return queue.take(request, Code="InvalidMessageContents", SenderFault=True)


@fault("the answer of SQS is cut off, once")
def truncated(queue: Queue, request: Request) -> bytes:
    if queue.requests:
        return queue.take(request)
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{"


@fault("SQS closes the connection without an answer, for ever")
def closed(queue: Queue, request: Request) -> bytes:
    return b""


@fault("the answer of SQS is none of HTTP")
def garbage(queue: Queue, request: Request) -> bytes:
    return b"\x00\xff\r\n\r\n\x15\x03\x01 connection: close"


@fault("the answer of SQS is no JSON")
def no_json(queue: Queue, request: Request) -> bytes:
    return reply(200, b"<html>")


@fault("the answer of SQS names no message")
def no_names(queue: Queue, request: Request) -> bytes:
    return reply(200, b'{"Successful": [{}, 1], "Failed": null}')


QUEUES.update({name: QueueFault(sink.title) for name, sink in SINKS.items()})


class Seen(NamedTuple):
    """What a fault did: *tasks* is what became of what was to be sent."""

    caller: str
    tasks: str
    end: str
    log: str


def faults_of(sender: str) -> dict[str, QueueFault]:
    """Return the faults that *sender* meets: to a destination SQS is what it is to an overflow."""
    if sender == "overflow":
        return QUEUES
    return {name: QUEUES[name] for name, fault in SINKS.items() if fault.another is None}


def observe_queue(sender: str, name: str) -> Seen:
    """Let *sender* send to the sink with the fault *name*."""
    place, event = SENDERS[sender]
    events = [Event(event, timeout=WAIT), Event(None, timeout=WAIT)]
    with _environment(name) as (queue, env):
        (seen,) = observe(OURS, f"{place}.handler", events, init=LONG, env={"FAULT": name, **env})
        became = _overflowed(seen.log, queue) if sender == "overflow" else _told(seen.log)
        return Seen(seen.caller, became, seen.end, seen.log)


@contextmanager
def _environment(name: str) -> Iterator[tuple[Queue | None, dict[str, str]]]:
    answer = QUEUES[name].answer
    if name in SINKS:
        yield None, {}
    elif answer is None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            yield None, _settings(f"127.0.0.1:{bound.getsockname()[1]}")
    else:
        queue = Queue(answer)
        with queue:
            yield queue, _settings(queue.address)


def _settings(address: str) -> dict[str, str]:
    return {"QUEUE": f"http://{address}/123456789012/tasks", **CREDENTIALS}


def _overflowed(log: str, queue: Queue | None) -> str:
    """Say what became of the tasks: as they were counted, which has to be what the queue and the log have of them."""
    summary = re.search(r"^BACKGROUND .*Tasks: 2\tSucceeded: 0(.*)$", log, re.MULTILINE)
    if summary is None:
        return "none was handed over"
    counted = {state: int(number) for state, number in re.findall(r"(\w+): (\d)", summary[1])}
    overflowed, dropped, unconfirmed = (counted.pop(end, 0) for end in ("Overflowed", "Dropped", "Unconfirmed"))
    logged = sorted(envelope.args[0] for envelope in _lost(log))
    taken = len(queue.taken) if queue is not None else overflowed
    fits = len(logged) == dropped + unconfirmed and overflowed <= taken <= overflowed + unconfirmed
    if counted or logged not in ([], [1], [2], [1, 2]) or not fits:
        return f"{taken} taken and {logged} logged, but {summary[0]}"
    ends = {OVERFLOWED: overflowed, DROPPED: dropped, UNCONFIRMED: unconfirmed}
    return " and ".join(f"{['', 'one', 'both'][number]} {end}" for end, number in ends.items() if number)


def _lost(log: str) -> Iterator[Envelope]:
    for text in re.findall(r"background task long(?:er)? is (?:lost|unconfirmed), .*?(\{\"v\":.*\})", log):
        envelope = Envelope.decode(text)
        assert envelope is not None
        yield envelope


def _told(log: str) -> str:
    """Say what became of the record: whoever has it, it is whole."""
    logged = re.search(r"(?:has not taken it|may have it, and may not).*?(\{.*\})$", log, re.MULTILINE)
    if logged is None:
        return TAKEN
    record = json.loads(logged[1])
    return LOGGED if record.get("requestPayload", record)["args"] == ["exception"] else "mutilated"
