"""Tasks that come out of a queue."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from lambda_ric import wait_until
from lambda_ric.emulator import Emulator, in_thread
from lambda_ric.emulator.callers.event_source import SQSEventSource
from lambda_ric.errors import EnvelopeError, HandlerTimeoutError
from lambda_ric.tasks.consumer import Consumer
from lambda_ric.tasks.envelope import Envelope
from lambda_ric.tasks.policy import Task
from lambda_ric.testing import invoke
from tests.conftest import ROOT
from tests.support.callers import client, sqs_server

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


QUEUE = "arn:aws:sqs:us-east-1:123456789012:tasks"
SOURCES = (QUEUE, f"{QUEUE}.fifo", "arn:aws:lambda:us-east-1:123456789012:function:test")
"""What these tests expect tasks from; `test_sources` has the rest of it."""


class Ran:
    """A task that keeps the calls that it got, and raises for the arguments in *failing*."""

    def __init__(self, *failing: Any, **policy: Any) -> None:
        self.calls: list[Any] = []
        self._failing = failing
        self.task = Task(self._call, name="send", **policy)

    def _call(self, what: Any) -> None:
        self.calls.append(what)
        if what in self._failing:
            raise ValueError(f"no {what}")


class Sink:
    """Takes what it is sent, unless there is a *reason* against it."""

    def __init__(self, reason: str | None = None) -> None:
        self.taken: list[Envelope] = []
        self._reason = reason

    def check(self, envelope: Envelope) -> None: ...

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        if self._reason is not None:
            return [(envelope, self._reason) for envelope in envelopes]
        self.taken += envelopes
        return []


class Broken(Sink):
    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        raise OSError("no network")


def carrying(*args: Any, task: str = "send", attempt: int = 1) -> str:
    """Return the body of a message that carries a call of *task*."""
    return Envelope(task, args, {}, "id-1", attempt).encode()


def record(body: str, id: str, *, receives: int = 1, group: str | None = None, source: str = "aws:sqs") -> Any:
    """Return *body* as Lambda shows it to a function; a message of a *group* is in a FIFO queue."""
    attributes = {"ApproximateReceiveCount": str(receives), **({"MessageGroupId": group} if group else {})}
    arn = QUEUE + (".fifo" if group else "")
    return {"messageId": id, "body": body, "eventSource": source, "eventSourceARN": arn, "attributes": attributes}


def consumed(task: Task | None, *records: Any, handler: Callable[[Any, Any], Any] | None = None, **options: Any) -> Any:
    """Return which messages the consumer of *task* reports as failed."""

    def none_expected(event: Any, context: Any) -> None:
        raise AssertionError("the handler was called")

    consumer = Consumer(handler or none_expected, {task.name: task} if task else {}, sources=SOURCES)
    response = invoke(consumer, {"Records": list(records)}, **options).response
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


# What is the consumer's...


def test_task_of_a_message_is_run_with_its_arguments() -> None:
    """What did not fit before one deadline runs here; Lambda then deletes the message."""
    called = []
    task = Task(lambda *args, **kwargs: called.append((args, kwargs)), name="send")
    body = Envelope("send", ["o-17"], {"copy": True}, "id-1").encode()

    assert consumed(task, record(body, "m-1")) == []
    assert called == [(("o-17",), {"copy": True})]


def test_failed_message_is_reported_and_the_others_are_not() -> None:
    """Only what failed comes back."""
    ran = Ran("b", retries=1)

    failed = consumed(ran.task, *(record(carrying(what), f"m-{what}") for what in "abc"))

    assert failed == ["m-b"]
    assert sorted(ran.calls) == ["a", "b", "c"]


def test_synchronous_tasks_run_at_the_same_time() -> None:
    """Each in a thread of its own: here, each waits for the other."""
    meeting = threading.Barrier(2)
    task = Task(lambda: meeting.wait(10), name="send")

    assert consumed(task, record(carrying(), "m-1"), record(carrying(), "m-2")) == []


def test_asynchronous_tasks_run_at_the_same_time() -> None:
    """On the environment's event loop."""
    arrived: list[asyncio.Event] = []

    async def meet() -> None:
        arrived.append(asyncio.Event())
        for event in arrived if len(arrived) == 2 else ():
            event.set()
        await arrived[0].wait()

    task = Task(meet, name="send")

    assert consumed(task, record(carrying(), "m-1"), record(carrying(), "m-2")) == []


def test_task_may_hand_over_more_work() -> None:
    """It runs after the response, as that of a handler does."""
    done: list[str] = []

    def send() -> None:
        wait_until(done.append, "more")

    assert consumed(Task(send, name="send"), record(carrying(), "m-1")) == []
    assert done == ["more"]


def test_failure_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Under the task's name, and once more with the message that comes back."""
    consumed(Ran("b", retries=1).task, record(carrying("b"), "m-1"))

    assert "ValueError: no b" in caplog.text
    assert "task send, attempt 1, message m-1: failed, and comes back" in caplog.text


def test_task_that_is_not_registered_is_not_imported(caplog: pytest.LogCaptureFixture) -> None:
    """The registry is an allow-list: a message can name anything."""
    assert consumed(None, record(carrying("echo", task="os:system"), "m-1")) == ["m-1"]
    assert "there is no task 'os:system' here" in caplog.text


@pytest.mark.parametrize("body", ['{"v": 2, "task": "send"}', '{"v": 1, "task": "send"}'])
def test_malformed_envelope_fails(body: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is for nobody else, and must not be lost: it comes back, up to the dead-letter queue."""
    ran = Ran()

    assert consumed(ran.task, record(body, "m-1"), record(carrying("a"), "m-2")) == ["m-1"]
    assert ran.calls == ["a"]
    assert "message m-1: a task " in caplog.text


def test_what_did_not_end_in_time_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """And the invocation still answers before the deadline: what has succeeded is not repeated."""

    async def send(what: str) -> None:
        if what == "slow":
            await asyncio.sleep(60)

    task = Task(send, name="send")

    assert consumed(task, record(carrying("fast"), "m-1"), record(carrying("slow"), "m-2"), timeout=1) == ["m-2"]
    assert "task send, attempt 1, message m-2: cancelled, and comes back" in caplog.text


def test_thread_that_did_not_end_in_time_comes_back() -> None:
    """It cannot be stopped, and may go on beside the next delivery: tasks are idempotent."""
    released = threading.Event()
    task = Task(lambda: released.wait(30), name="send")

    assert consumed(task, record(carrying(), "m-1"), timeout=0.5) == ["m-1"]
    released.set()


# ...how often...


@pytest.mark.parametrize(("retries", "attempt", "receives"), [(0, 1, 1), (2, 1, 3), (2, 3, 1), (2, 2, 2), (0, 2, 1)])
def test_last_attempt_is_given_up(retries: int, attempt: int, receives: int, caplog: pytest.LogCaptureFixture) -> None:
    """A message that fails for ever is not run for ever: it is logged in full, and Lambda deletes it."""
    ran = Ran("b", retries=retries)
    body = carrying("b", attempt=attempt)

    assert consumed(ran.task, record(body, "m-1", receives=receives)) == []
    assert ran.calls == ["b"]
    assert f"message m-1: failed, and is given up: {body}" in caplog.text


@pytest.mark.parametrize(("attempt", "receives"), [(1, 1), (1, 2), (2, 1)])
def test_attempt_before_the_last_comes_back(attempt: int, receives: int) -> None:
    """Those here before it was handed over count, and those since."""
    ran = Ran("b", retries=2)

    assert consumed(ran.task, record(carrying("b", attempt=attempt), "m-1", receives=receives)) == ["m-1"]


def test_attempt_is_made_although_deliveries_came_to_nothing() -> None:
    """Those for which there was no environment count as well, and are not the task's fault."""
    ran = Ran()

    assert consumed(ran.task, record(carrying("a"), "m-1", receives=5)) == []
    assert ran.calls == ["a"]


def test_message_that_is_delivered_too_often_is_given_up_unrun(caplog: pytest.LogCaptureFixture) -> None:
    """Its task may be what ends the process each time, before it can be said to have failed."""
    ran = Ran()

    assert consumed(ran.task, record(carrying("a"), "m-1", receives=6)) == []
    assert ran.calls == []
    assert "was delivered too often without an end, and is given up" in caplog.text


def test_what_is_given_up_goes_to_on_failure() -> None:
    """Where somebody looks at it."""
    sink = Sink()
    ran = Ran("b", on_failure=sink)

    assert consumed(ran.task, record(carrying("b"), "m-1", receives=3), record(carrying("a"), "m-2")) == []
    (document,) = [json.loads(envelope.encode()) for envelope in sink.taken]
    assert document["requestPayload"] == json.loads(carrying("b", attempt=1))
    assert document["requestContext"]["approximateInvokeCount"] == 3
    assert document["responsePayload"]["errorMessage"] == "no b"


def test_what_is_given_up_unrun_goes_to_on_failure() -> None:
    """It says that nothing is known of why."""
    sink = Sink()

    assert consumed(Ran(on_failure=sink).task, record(carrying("a"), "m-1", receives=6)) == []
    assert [envelope.args for envelope in sink.taken] == [["a"]]


@pytest.mark.parametrize("sink", [Sink("it is full"), Broken()])
def test_what_on_failure_does_not_take_comes_back(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """It is nowhere else yet."""
    ran = Ran("b", on_failure=sink)

    assert consumed(ran.task, record(carrying("b"), "m-1")) == ["m-1"]
    assert "comes back, as its on_failure has not taken it" in caplog.text


# ...and in which order


def test_messages_of_a_fifo_group_run_one_after_the_other() -> None:
    """That is what the group is for; other groups go on beside it."""
    order: list[str] = []
    begun = threading.Event()

    def send(what: str) -> None:
        if what == "a1":
            begun.wait(10)
        order.append(what)
        if what == "b1":
            begun.set()

    task = Task(send, name="send")

    assert consumed(task, *(record(carrying(what), what, group=what[0]) for what in ("a1", "a2", "b1"))) == []
    assert order == ["b1", "a1", "a2"]


def test_messages_of_a_fifo_group_after_a_failed_one_fail(caplog: pytest.LogCaptureFixture) -> None:
    """They come back behind it; other groups are not held up."""
    ran = Ran("a1", retries=1)

    failed = consumed(ran.task, *(record(carrying(what), what, group=what[0]) for what in ("a1", "b1", "a2", "a3")))

    assert failed == ["a1", "a2", "a3"]
    assert sorted(ran.calls) == ["a1", "b1"]
    assert "2 messages of group a come back" in caplog.text


def test_fifo_group_goes_on_behind_one_that_was_given_up() -> None:
    """That one is gone."""
    ran = Ran("a1")

    assert consumed(ran.task, *(record(carrying(what), what, group="a") for what in ("a1", "a2"))) == []
    assert ran.calls == ["a1", "a2"]


def test_group_of_a_standard_queue_has_no_order() -> None:
    """There it is for fairness: here, each waits for the other."""
    meeting = threading.Barrier(2)
    records = [record(carrying(), id, group="a") for id in ("m-1", "m-2")]
    for each in records:
        each["eventSourceARN"] = "arn:aws:sqs:us-east-1:123456789012:tasks"

    task = Task(lambda: meeting.wait(10), name="send")

    assert consumed(task, *records) == []


def test_fifo_group_waits_for_a_failed_message_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    """The order is that of all messages in the group; what the handler has done already stays done."""
    ran = Ran()

    def handler(event: Any, context: Any) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "m-1"}]}

    bodies = {"m-1": "an order", "m-2": carrying("a"), "m-3": "an order"}
    records = [record(body, id, group="a") for id, body in bodies.items()]

    assert consumed(ran.task, *records, handler=handler) == ["m-1", "m-2"]
    assert ran.calls == []
    assert "1 messages of group a come back" in caplog.text


# What is the handler's...


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"Records": None},
        {"Records": []},
        {"Records": [None, 17, {}]},
        {"Records": [record("an order", "m-1")]},
        {"Records": [record(carrying(), "m-1", source="aws:sns")]},
        {"Records": [{"eventSource": "aws:sqs", "body": 17, "attributes": 17, "messageId": {}}]},
    ],
    ids=json.dumps,
)
def test_event_without_a_task_is_the_handlers(event: Any) -> None:
    """And so is its result."""

    async def handler(event: Any, context: Any) -> Any:
        return {"got": event}

    assert invoke(Consumer(handler, {"send": Ran().task}), event).response == {"got": event}


def test_messages_without_a_task_are_the_handlers() -> None:
    """In an event that has nothing else."""
    got = []

    def handler(event: Any, context: Any) -> None:
        got.append(event)

    ran = Ran()
    order = record("an order", "m-2")

    assert consumed(ran.task, record(carrying("a"), "m-1"), order, handler=handler) == []
    assert got == [{"Records": [order]}]
    assert ran.calls == ["a"]


def test_failures_that_the_handler_reports_are_reported() -> None:
    """Beside those of tasks, in the order of the messages."""

    async def handler(event: Any, context: Any) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "m-1"}]}

    records = [record("an order", f"m-{number}") for number in (1, 2)]

    assert consumed(Ran("b", retries=1).task, record(carrying("b"), "m-0"), *records, handler=handler) == ["m-0", "m-1"]


@pytest.mark.parametrize(
    "failures", [17, "m-1", ["m-1"], [{}], [{"itemIdentifier": None}], [{"itemIdentifier": "m-0"}], {"m-1": 1}], ids=str
)
def test_report_without_sense_is_one_of_all_messages(failures: Any) -> None:
    """As Lambda takes it; the tasks beside it are not repeated for that."""

    def handler(event: Any, context: Any) -> Any:
        return {"batchItemFailures": failures}

    records = record(carrying("a"), "m-0"), record("an order", "m-1")

    assert consumed(Ran().task, *records, handler=handler) == ["m-1"]


@pytest.mark.parametrize("result", [None, "done", {"statusCode": 200}, {"batchItemFailures": None}, [], 17], ids=str)
def test_result_without_a_report_is_success(result: Any) -> None:
    """As it is for Lambda."""
    records = record(carrying("a"), "m-0"), record("an order", "m-1")

    assert consumed(Ran().task, *records, handler=lambda event, context: result) == []


def test_handler_that_fails_has_its_own_messages_come_back(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; the tasks beside it have run, and are not repeated."""

    def handler(event: Any, context: Any) -> None:
        raise KeyError("order")

    ran = Ran()
    records = record(carrying("a"), "m-0"), record("an order", "m-1")

    assert consumed(ran.task, *records, handler=handler) == ["m-1"]
    assert ran.calls == ["a"]
    assert "KeyError: 'order'" in caplog.text


def test_handler_that_streams_has_its_messages_come_back(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would run what it yields, and nobody said that it has succeeded."""

    def handler(event: Any, context: Any) -> Any:
        yield "an order"

    records = record(carrying("a"), "m-0"), record("an order", "m-1")

    assert consumed(Ran().task, *records, handler=handler) == ["m-1"]
    assert "a handler returns batchItemFailures, not 'generator'" in caplog.text


def test_handler_that_overruns_fails_the_invocation_before_any_task_has_run() -> None:
    """All messages come back, so none of them may have been run already."""
    ran = Ran()
    consumer = Consumer(lambda event, context: time.sleep(60), {"send": ran.task})

    with pytest.raises(HandlerTimeoutError):
        _ = invoke(consumer, {"Records": [record(carrying("a"), "m-0"), record("an order", "m-1")]}, timeout=1).response
    assert ran.calls == []


def test_powertools_batch_processor_is_a_handler_as_any_other() -> None:
    """It sees the messages without a task, and what it reports is reported."""
    seen = []

    def process(record: Any) -> None:
        seen.append(record.body)
        if record.body == "bad":
            raise ValueError(record.body)

    def handler(event: Any, context: Any) -> Any:
        processor = BatchProcessor(event_type=EventType.SQS)
        return process_partial_response(event, process, processor, context)

    orders = [record(body, body) for body in ("good", "bad")]

    assert consumed(Ran().task, record(carrying("a"), "m-0"), *orders, handler=handler) == ["bad"]
    assert consumed(Ran().task, record(carrying("a"), "m-0"), orders[1], handler=handler) == ["bad"]
    assert seen == ["good", "bad", "bad"]


# What comes by an asynchronous invocation...


def test_failure_of_an_asynchronous_event_is_raised() -> None:
    """There is no message to report: Lambda repeats the event if it failed, and knows how often it has."""
    ran = Ran("b")

    with pytest.raises(ValueError, match="no b"):
        consumed(ran.task, record(carrying("b"), "id-1", source="lambda-ric:task"))


@pytest.mark.parametrize("attempt", [1, 9])
def test_asynchronous_event_runs_its_task(attempt: int) -> None:
    """It has the form of an event with one message; how often it comes is Lambda's to limit."""
    ran = Ran()

    assert consumed(ran.task, record(carrying("a", attempt=attempt), "id-1", source="lambda-ric:task")) == []
    assert ran.calls == ["a"]


def exits() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "body", "error", "message"),
    [
        (lambda: asyncio.sleep(60), carrying(), HandlerTimeoutError, "task send did not end in the time"),
        (exits, carrying(), RuntimeError, "task send raised SystemExit: 3"),
        (exits, carrying(task="other"), EnvelopeError, "there is no task 'other' here"),
        (exits, '{"v": 1, "task": "send"}', EnvelopeError, "malformed"),
    ],
)
def test_asynchronous_event_says_why_it_failed(
    function: Callable[[], Any], body: str, error: type[Exception], message: str
) -> None:
    """Its destination is told; and what would end the process does not."""
    with pytest.raises(error, match=message):
        consumed(Task(function, name="send"), record(body, "id-1", source="lambda-ric:task"), timeout=1)


# ...and all of it together

APP = """
from lambda_ric import task

@task(retries=9)
def send(order, path):
    with open(path, "a") as file:
        print(order, file=file)
    if order == "bad" and open(path).read().count("bad") == 1:
        raise ValueError(order)

def handler(event, context):
    raise AssertionError("there are no messages for it")
"""


def test_messages_of_a_real_queue_are_run_and_deleted_and_the_failed_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer, moto's queue, the event source of the emulator, the runtime: at the end the queue is empty."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(APP)
    sent = tmp_path / "sent.txt"
    with sqs_server() as server, closing(client("sqs", server)) as boto:
        url = boto.create_queue(QueueName="consumed", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
        bodies = [carrying(order, str(sent), task="app:send") for order in ("good", "bad", "fine")]
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        boto.send_message_batch(QueueUrl=url, Entries=entries)

        environment = {"LAMBDA_RIC_TASK_SOURCES": "arn:aws:sqs:us-east-1:123456789012:consumed"}
        emulator = Emulator("app.handler", task_root=tmp_path, timeout=10, environment=environment)
        source = SQSEventSource(url, server, emulator.function, emulator.submit, long_poll=1)
        with in_thread(emulator) as running, running.serve(sources=[source]):
            _until_empty(boto, url)

    assert sorted(sent.read_text().split()) == ["bad", "bad", "fine", "good"]


def _until_empty(boto: Any, url: str) -> None:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        got = boto.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        if [got[name] for name in names] == ["0", "0"]:
            return
        time.sleep(0.1)
    raise AssertionError("messages are left in the queue")
