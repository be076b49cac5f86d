"""Whom the consumer takes tasks from: what stands in an event is its sender's claim."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from lambda_ric import wait_until
from lambda_ric.errors import EnvelopeError
from lambda_ric.overflow import Envelope, Sink, lambda_async, sqs
from lambda_ric.tasks.consumer import Consumer
from lambda_ric.tasks.policy import Task
from lambda_ric.testing import invoke

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:tasks"
OWN = sqs("https://sqs.eu-west-1.amazonaws.com/123456789012/tasks")
HERE = "arn:aws:lambda:us-east-1:123456789012:function:test"
"""The function that `invoke` makes believe."""


def record(body: Any, id: str = "m-1", source: str = "aws:sqs", arn: str | None = QUEUE) -> dict[str, Any]:
    """Return a record as an event has it, whoever wrote it."""
    text = body if isinstance(body, str) else json.dumps(body)
    given = {"messageId": id, "eventSource": source, "body": text, "attributes": {}}
    return given if arn is None else {**given, "eventSourceARN": arn}


def refund(cents: Any = 999, **members: Any) -> dict[str, Any]:
    """Return the document that asks for a refund of *cents*."""
    return {"v": 1, "task": "refund", "args": [cents], "kwargs": {}, "id": "i", "attempt": 1, "origin": {}, **members}


class Shop:
    """A function with a task that its handler guards; it keeps what was refunded and what its handler saw."""

    def __init__(self, overflow: Sink | None = OWN, **trusted: Any) -> None:
        self.refunded: list[Any] = []
        self.seen: list[Any] = []
        self.task = Task(self.refunded.append, name="refund", overflow=overflow)
        self._consumer = Consumer(self._handle, {"refund": self.task}, **trusted)

    def _handle(self, event: Any, context: Any) -> Any:
        self.seen.append(event)
        return {"batchItemFailures": []}

    def failed(self, *records: dict[str, Any]) -> list[str]:
        """Return which of *records* come back."""
        response = invoke(self._consumer, {"Records": list(records)}).response
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


# The queue...


@pytest.mark.parametrize(
    ("url", "options", "arn"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/tasks", {}, QUEUE),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/tasks.fifo", {}, f"{QUEUE}.fifo"),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/tasks", {}, QUEUE),
        ("https://vpce-1a2b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/tasks", {}, QUEUE),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/tasks", {"endpoint_url": "http://127.0.0.1:4566"}, QUEUE),
        ("http://127.0.0.1:4566/123456789012/tasks", {"region": "eu-west-1"}, QUEUE),
        ("http://localhost:4566/queue/eu-west-1/123456789012/tasks", {"region": "eu-west-1"}, QUEUE),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/tasks",
            {},
            "arn:aws-cn:sqs:cn-north-1:123456789012:tasks",
        ),
        (
            "https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/tasks",
            {},
            "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:tasks",
        ),
        (
            "https://sqs.eusc-de-east-1.amazonaws.eu/123456789012/tasks",
            {},
            "arn:aws-eusc:sqs:eusc-de-east-1:123456789012:tasks",
        ),
    ],
)
def test_task_from_the_queue_that_it_overflows_to_is_run(url: str, options: dict[str, Any], arn: str) -> None:
    """The URL says the region, the account and the name, and the region the partition."""
    shop = Shop(sqs(url, **options))

    assert shop.failed(record(refund(), arn=arn)) == []
    assert shop.refunded == [999]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sqs:us-east-1:999999999999:some-other-queue",
        "arn:aws:sqs:eu-west-1:999999999999:tasks",
        "arn:aws:sqs:eu-central-1:123456789012:tasks",
        "arn:aws:sqs:eu-west-1:123456789012:tasks.fifo",
        "arn:aws-cn:sqs:eu-west-1:123456789012:tasks",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks",
        "tasks",
        "",
        None,
    ],
)
def test_task_from_any_other_queue_is_not_run_and_comes_back(arn: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the handler nor the queue loses it, and the log says what to do if it should have been run."""
    shop = Shop()

    assert shop.failed(record(refund(), arn=arn)) == ["m-1"]
    assert (shop.refunded, shop.seen) == ([], [])
    assert "message m-1: task 'refund' is not run: it " in caplog.text
    assert "list its ARN in LAMBDA_RIC_TASK_SOURCES" in caplog.text


def test_refused_task_among_others_comes_back_alone() -> None:
    """The expected task is run, the handler sees its own messages, and each is reported by itself."""
    shop = Shop()
    events = [
        record(refund(1), "own"),
        record(refund(2), "other-queue", arn="arn:aws:sqs:eu-west-1:123456789012:others"),
        record(refund(3), "no-queue", arn=None),
        record(refund(4), "invoked", source="lambda-ric:task", arn=None),
        record("an order", "order"),
    ]

    assert shop.failed(*events) == ["other-queue", "no-queue", "invoked"]
    assert shop.refunded == [1]
    assert shop.seen == [{"Records": [events[4]]}]


def test_record_that_says_nothing_of_a_queue_is_the_handlers() -> None:
    """As every event is that has no message of SQS."""
    shop = Shop()
    event = {"Records": [{"messageId": "m-1", "body": json.dumps(refund())}]}

    invoke(shop._consumer, event)

    assert (shop.refunded, shop.seen) == ([], [event])


def test_queue_that_is_listed_is_expected() -> None:
    """Where the function that sends has other code, or a sink of its own."""
    listed = invoke_with(Shop(overflow=None), record(refund()), LAMBDA_RIC_TASK_SOURCES=f" {QUEUE}, arn:aws:sqs:a:1:b")
    other = invoke_with(Shop(overflow=None), record(refund()), LAMBDA_RIC_TASK_SOURCES="arn:aws:sqs:a:1:b")

    assert (listed, other) == ([999], [])


def test_sink_of_ones_own_may_say_where_its_tasks_come_from() -> None:
    """By the attribute that the sinks of this package have."""

    class Outbox:
        source = QUEUE

        def check(self, envelope: Envelope) -> None: ...

        def send(self, envelopes: Any, within: float) -> list[tuple[Envelope, str]]:
            return []

    shop = Shop(Outbox())

    assert shop.failed(record(refund())) == []
    assert shop.refunded == [999]


# The function...


@pytest.mark.parametrize(
    "function",
    [
        "test",
        "test:live",
        "123456789012:function:test",
        "123456789012:function:test:7",
        HERE,
        f"{HERE}:live",
    ],
)
def test_task_of_an_asynchronous_invocation_is_run_by_the_function_that_it_was_meant_for(function: str) -> None:
    """By its name, a part of its ARN or all of it, with a version or without."""
    shop = Shop(lambda_async(function, region="us-east-1"))

    assert shop.failed(record(refund(), source="lambda-ric:task", arn=None)) == []
    assert shop.refunded == [999]


@pytest.mark.parametrize(
    "overflow",
    [
        None,
        OWN,
        lambda_async("worker", region="us-east-1"),
        lambda_async("test-2", region="us-east-1"),
        lambda_async("999999999999:function:test", region="us-east-1"),
        lambda_async("arn:aws:lambda:eu-west-1:123456789012:function:test"),
    ],
    ids=repr,
)
def test_task_of_an_asynchronous_invocation_that_nobody_expects_fails(overflow: Sink | None) -> None:
    """It is not run, and the invocation has an error, so that its destination has it."""
    shop = Shop(overflow)

    with pytest.raises(EnvelopeError, match="was sent to this function, and no task is expected from there"):
        shop.failed(record(refund(), source="lambda-ric:task", arn=None))
    assert (shop.refunded, shop.seen) == ([], [])


def test_function_that_is_listed_may_send_tasks() -> None:
    """Its envelopes say whose they are; an alias makes no difference."""
    sender = "arn:aws:lambda:us-east-1:123456789012:function:front"
    sent = record(refund(origin={"function_arn": f"{sender}:live"}), source="lambda-ric:task", arn=None)

    assert invoke_with(Shop(overflow=None), sent, LAMBDA_RIC_TASK_SOURCES=sender) == [999]
    with pytest.raises(EnvelopeError, match="by 'arn:aws:lambda:us-east-1:123456789012:function:front:live'"):
        Shop(overflow=None).failed(sent)


def invoke_with(shop: Shop, *records: dict[str, Any], **environ: str) -> list[Any]:
    """Serve *records* as the runtime does with these settings; return what was refunded."""
    from lambda_ric.tasks.policy import TASKS

    TASKS["refund"] = shop.task
    try:
        invoke(shop._handle, {"Records": list(records)}, environ=environ).response  # noqa: B018
    finally:
        del TASKS["refund"]
    return shop.refunded


# The switch...


def test_consumer_that_is_off_leaves_every_event_to_the_handler() -> None:
    """Also those of the function's own queue."""
    shop = Shop()
    event = record(refund())

    assert invoke_with(shop, event, LAMBDA_RIC_CONSUME="off") == []
    assert shop.seen == [{"Records": [event]}]


# The signature...


def signed(document: dict[str, Any], key: bytes) -> dict[str, Any]:
    """Sign *document* as the documentation says."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    return {**document, "signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}


def test_signed_task_is_run() -> None:
    """By the key that there is, or the one before it."""
    for key in b"new", b"old":
        shop = Shop(keys=[b"new", b"old"])
        assert shop.failed(record(signed(refund(more="member"), key))) == []
        assert shop.refunded == [999]


@pytest.mark.parametrize(
    "document",
    [
        refund(),
        signed(refund(), b"another key"),
        signed(refund(1), b"key") | {"args": [999]},
        signed(refund(), b"key") | {"more": "members"},
        refund(signature=""),
        refund(signature=None),
        refund(signature=17),
        refund(signature="ä"),
        refund(signature=["a"]),
    ],
)
def test_task_that_is_not_signed_is_not_run(document: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Not even from its own queue, and nothing of it may have been changed; the key is in no message."""
    shop = Shop(keys=[b"key"])

    assert shop.failed(record(document)) == ["m-1"]
    assert shop.refunded == []
    assert "message m-1: task 'refund' is not run: it is not signed with LAMBDA_RIC_TASK_KEY" in caplog.text


def test_signature_is_no_way_around_the_source() -> None:
    """Whoever can read a queue could send its messages to another function."""
    shop = Shop(keys=[b"key"])

    assert shop.failed(record(signed(refund(), b"key"), arn="arn:aws:sqs:eu-west-1:123456789012:others")) == ["m-1"]


def test_task_that_goes_to_its_queue_is_signed_with_the_first_key() -> None:
    """So what one function hands over, the next may run; the attempt is a part of it."""
    sent: list[str] = []

    class Outbox:
        def check(self, envelope: Envelope) -> None: ...

        def send(self, envelopes: Any, within: float) -> list[tuple[Envelope, str]]:
            sent.extend(envelope.encode() for envelope in envelopes)
            return []

    shop = Shop(Outbox())
    too_long = Task(shop.refunded.append, name="refund", overflow=Outbox(), timeout=3600)

    invoke(lambda event, context: wait_until(too_long, 5).state, environ={"LAMBDA_RIC_TASK_KEY": "new, old"})

    document = json.loads(sent[0])
    assert document == signed({name: value for name, value in document.items() if name != "signature"}, b"new")
    assert Shop(keys=[b"new"]).failed(record(sent[0])) == []
