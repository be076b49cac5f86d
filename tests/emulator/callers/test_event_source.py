"""
The event source mapping, against moto's SQS server.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from lambda_ric.emulator import Filter
from lambda_ric.emulator.callers.batches import reported_failures
from lambda_ric.emulator.callers.event_source import SQSEventSource
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError
from tests.support.callers import ARN, Notes, Scripted, Step, Time, client, fails, sqs_server, succeeds, throttled

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

FUNCTION = Function(handler="app.handler", caller={})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with sqs_server() as url:
        yield url


@pytest.fixture
def boto(server: str) -> Iterator[Any]:
    with closing(client("sqs", server)) as boto:
        yield boto


class Queue:
    """A new queue, as its owner sees it."""

    def __init__(self, boto: Any, server: str, name: str, **attributes: str) -> None:
        self.boto, self.server = boto, server
        attributes = {"VisibilityTimeout": "600", **attributes}
        self.url = boto.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def send(self, *bodies: str, **parameters: Any) -> list[str]:
        """Send messages; return their ids."""
        return [
            self.boto.send_message(QueueUrl=self.url, MessageBody=body, **parameters)["MessageId"] for body in bodies
        ]

    def counts(self) -> tuple[int, int]:
        """Return how many messages are visible, and how many are in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.boto.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(got[names[0]]), int(got[names[1]])


@pytest.fixture
def queue(boto: Any, server: str, request: pytest.FixtureRequest) -> Queue:
    return Queue(boto, server, request.node.name.partition("[")[0])


class Run:
    """
    A mapping run against *queue* until the function has seen *batches* batches, and they were settled.

    A last message tells: by default it is received after everything before is done with.
    """

    def __init__(self, queue: Queue, *script: Step, batches: int = 1, **options: Any) -> None:
        self.function = Scripted(list(script))
        self.notes = Notes()
        self._queue = queue
        self._batches = batches
        anyio.run(self._run, {"long_poll": 1, "note": self.notes, **options})

    async def _run(self, options: dict[str, Any]) -> None:
        self._over = anyio.Event()
        source = SQSEventSource(self._queue.url, self._queue.server, FUNCTION, self._submit, **options)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    def _submit(self, invocation: Invocation) -> None:
        if len(self.function.seen) == self._batches:
            (record,) = json.loads(invocation.event)["Records"]
            self._queue.boto.delete_message(QueueUrl=self._queue.url, ReceiptHandle=record["receiptHandle"])
            self._over.set()
            return
        self.function(invocation)
        if len(self.function.seen) == self._batches:
            self._queue.send("over", **({"MessageGroupId": "over"} if self._queue.url.endswith(".fifo") else {}))

    @property
    def events(self) -> list[list[Any]]:
        return [json.loads(invocation.event)["Records"] for invocation in self.function.seen]

    @property
    def bodies(self) -> list[list[str]]:
        return [[record["body"] for record in records] for records in self.events]


def reports(*numbers: int) -> Step:
    """Report the messages of the batch with these *numbers* as failed."""

    def step(invocation: Invocation) -> None:
        records = json.loads(invocation.event)["Records"]
        failures = [{"itemIdentifier": records[number]["messageId"]} for number in numbers]
        succeeds({"batchItemFailures": failures})(invocation)

    return step


def test_record_is_what_a_function_gets_on_lambda(queue: Queue) -> None:
    """Name by name."""
    attributes = {
        "text": {"DataType": "String", "StringValue": "a"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    (message_id,) = queue.send("body", MessageAttributes=attributes)
    ((record,),) = Run(queue, succeeds()).events

    assert record == {
        "messageId": message_id,
        "receiptHandle": record["receiptHandle"],
        "body": "body",
        "attributes": record["attributes"],
        "messageAttributes": {
            "text": {"stringValue": "a", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "bytes": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfMessageAttributes": record["md5OfMessageAttributes"],
        "md5OfBody": "841a2d689ad86bd1611447453c22c6fc",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue.url.rpartition('/')[2]}",
        "awsRegion": "us-east-1",
    }
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SenderId", "SentTimestamp", "ApproximateFirstReceiveTimestamp"} <= record["attributes"].keys()


def test_invocation_says_where_it_came_from(queue: Queue) -> None:
    """The page and the log tell it from a call."""
    queue.send("one")
    (invocation,) = Run(queue, succeeds()).function.seen

    assert (invocation.source, invocation.function_arn) == ("sqs", ARN)


def test_messages_of_a_good_batch_are_deleted(queue: Queue) -> None:
    """Whatever the function returned that is no report."""
    queue.send("1", "2", "3")
    run = Run(queue, succeeds("done"))

    assert run.bodies == [["1", "2", "3"]]
    assert queue.counts() == (0, 0)
    assert [text[:36] for _, text in run.notes.taken] == ["the emulator was closed: 1 messages "]  # the last one


def test_message_that_no_filter_wants_is_deleted_and_not_seen(queue: Queue) -> None:
    """As on Lambda; one filter of several is enough."""
    queue.send("1", "2", "3")
    filters = [Filter.read('{"body": ["1"]}'), Filter.read('{"body": [{"anything-but": ["1", "2"]}]}')]
    run = Run(queue, succeeds(), filters=filters)

    assert run.bodies == [["1", "3"]]
    assert queue.counts() == (0, 0)


def test_messages_of_a_failed_batch_stay_in_flight(queue: Queue) -> None:
    """They come again when the visibility timeout is over, which Lambda does not shorten."""
    queue.send("1", "2")
    run = Run(queue, fails())

    assert queue.counts() == (0, 2)
    assert "2 of 2 messages failed" in str(run.notes)


def test_only_the_reported_messages_of_a_batch_stay(queue: Queue) -> None:
    """A partial batch response."""
    queue.send("1", "2", "3")
    Run(queue, reports(1))

    assert queue.counts() == (0, 1)


def test_report_is_ignored_when_it_was_not_asked_for(queue: Queue) -> None:
    """As on Lambda without FunctionResponseTypes."""
    queue.send("1", "2", "3")
    Run(queue, reports(1), report_batch_item_failures=False)

    assert queue.counts() == (0, 0)


def test_failed_messages_come_again(boto: Any, server: str) -> None:
    """And are counted by the queue, whose redrive policy so works."""
    queue = Queue(boto, server, "again", VisibilityTimeout="1")
    queue.send("1")
    run = Run(queue, fails(), succeeds(), batches=2)

    assert run.bodies == [["1"], ["1"]]
    assert run.events[1][0]["attributes"]["ApproximateReceiveCount"] == "2"
    assert queue.counts() == (0, 0)


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (b"", ""),
        (b"null", ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'"text"', ""),
        (b'{"statusCode": 200}', ""),
        (b'{"batchItemFailures": null}', ""),
        (b'{"batchItemFailures": []}', ""),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', "b"),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "b"}]}', "b"),
        (b"no json", "abc"),
        (b"[" * 100_000, "abc"),
        (b'{"batchItemFailures": "b"}', "abc"),
        (b'{"batchItemFailures": {"itemIdentifier": "b"}}', "abc"),
        (b'{"batchItemFailures": ["b"]}', "abc"),
        (b'{"batchItemFailures": [{"messageId": "b"}]}', "abc"),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', "abc"),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', "abc"),
        (b'{"batchItemFailures": [{"itemIdentifier": ["b"]}]}', "abc"),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "d"}]}', "abc"),
    ],
)
def test_report_that_makes_no_sense_fails_the_whole_batch(payload: bytes, failed: str) -> None:
    """No report at all is a success, though."""
    assert reported_failures(payload, set("abc")) == set(failed)


def test_batch_has_no_more_than_the_batch_size(queue: Queue) -> None:
    """The rest comes in the next one."""
    queue.send("1", "2", "3")

    assert Run(queue, succeeds(), batches=2, batch_size=2).bodies == [["1", "2"], ["3"]]


def test_window_collects_more_than_one_call_returns(queue: Queue) -> None:
    """A batch of more than ten is waited for; it ends the window when it is full."""
    bodies = [str(number) for number in range(24)]
    queue.send(*bodies)
    run = Run(queue, succeeds(), batches=2, batch_size=12, batching_window=1)

    assert [len(batch) for batch in run.bodies] == [12, 12]
    assert sorted((body for batch in run.bodies for body in batch), key=int) == bodies
    assert queue.counts() == (0, 0)


def test_batch_that_is_larger_than_an_event_may_be_is_split(queue: Queue) -> None:
    """6 MB, of which each message brings its part and its own description."""
    queue.send(*("x" * 1_000_000 for _ in range(8)))
    run = Run(queue, succeeds(), batches=2)

    assert [len(batch) for batch in run.bodies] == [6, 2]
    assert queue.counts() == (0, 0)


def test_groups_of_a_fifo_queue_keep_their_order(boto: Any, server: str) -> None:
    """While a message of a group is in flight, none after it is sent."""
    queue = Queue(boto, server, "order.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for body in "abcdef":
        queue.send(body, MessageGroupId="vowel" if body in "aeiou" else "other")
    run = Run(queue, succeeds(), batches=6, batch_size=1, concurrency=3)

    seen = "".join(body for (body,) in run.bodies)
    assert [letter for letter in seen if letter in "ae"] == ["a", "e"]
    assert [letter for letter in seen if letter in "bcdf"] == ["b", "c", "d", "f"]
    assert run.events[0][0]["attributes"]["MessageGroupId"] == "vowel"


def test_throttled_batch_is_kept_and_tried_again(queue: Queue) -> None:
    """The messages are not received a second time for it."""
    time = Time()
    queue.send("1")
    run = Run(queue, throttled, throttled, throttled, succeeds(), clock=time.clock, sleep=time.sleep)

    assert time.slept == [1, 2, 4]
    assert run.events[0][0]["attributes"]["ApproximateReceiveCount"] == "1"
    assert queue.counts() == (0, 0)


def test_throttled_batch_is_given_up_when_its_messages_are_visible_again(queue: Queue) -> None:
    """Somebody else may have them now."""
    time, notes = Time(), Notes()
    queue.send("1")

    async def main() -> None:
        source = SQSEventSource(
            queue.url, queue.server, FUNCTION, throttled, note=notes, clock=time.clock, sleep=time.sleep, long_poll=1
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await notes.first.wait()
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert sum(time.slept) == 600
    assert "throttled until they were visible" in str(notes)


def test_no_more_batches_run_at_once_than_the_concurrency(queue: Queue) -> None:
    """A batch whose function goes on after its response counts: its environment takes no other."""
    queue.send(*"123456")
    running: list[Invocation] = []
    most = 0

    async def main() -> None:
        async def end(invocation: Invocation) -> None:
            await anyio.wait_all_tasks_blocked()
            running.remove(invocation)
            invocation.finish()
            if len(seen) == 6 and not running:
                tasks.cancel_scope.cancel()

        def submit(invocation: Invocation) -> None:
            nonlocal most
            seen.append(invocation)
            running.append(invocation)
            most = max(most, len(running))
            invocation.delivery.respond(0, b"null", "application/json")
            tasks.start_soon(end, invocation)

        seen: list[Invocation] = []
        source = SQSEventSource(queue.url, queue.server, FUNCTION, submit, batch_size=1, concurrency=2, long_poll=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)

    anyio.run(main)
    assert most == 2


def test_queue_may_be_created_later(boto: Any, server: str) -> None:
    """The server's reason is told once, and the mapping goes on when there is a queue."""
    notes, slept = Notes(), 0

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 3:
            await anyio.to_thread.run_sync(lambda: Queue(boto, server, "later").send("1"))

    async def main() -> None:
        arrived = anyio.Event()
        source = SQSEventSource(
            f"{server}/123456789012/later",
            server,
            FUNCTION,
            lambda invocation: arrived.set(),
            note=notes,
            sleep=sleep,
            long_poll=1,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await arrived.wait()
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert slept == 3
    assert [text for _, text in notes.taken if "does not exist" in text] == [str(notes).splitlines()[0]]


@pytest.mark.parametrize("window", [0, 300])
def test_messages_in_flight_at_the_end_are_told_of(boto: Any, server: str, window: float) -> None:
    """They are not lost: they stay in the queue, whether the function has them or the window is still open."""
    queue = Queue(boto, server, f"in-flight-{window}")
    notes = Notes()
    queue.send("1", "2")

    async def main() -> None:
        arrived = anyio.Event()

        def clock() -> float:
            if queue.counts() == (0, 2):
                arrived.set()
            return 0

        source = SQSEventSource(
            queue.url,
            queue.server,
            FUNCTION,
            lambda invocation: None,
            batching_window=window,
            note=notes,
            clock=clock,
            long_poll=1,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await arrived.wait()
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert "2 messages of" in str(notes)
    assert queue.counts() == (0, 2)


def test_real_runtime_takes_messages(queue: Queue, stand_in: StandIn) -> None:
    """From the queue through the Runtime API and back."""
    script = """
        import json
        while True:
            request_id, event = next_event()
            records = json.loads(event.content)["Records"]
            say([record["body"] for record in records])
            failed = [{"itemIdentifier": record["messageId"]} for record in records if record["body"] == "bad"]
            respond(request_id, json.dumps({"batchItemFailures": failed}).encode())
    """
    queue.send("good", "bad", "good")
    notes = Notes()

    async def main() -> None:
        over = anyio.Event()
        emulator = stand_in(script, on_log=lambda line: over.set() if "over" in line.text else None)
        async with emulator, anyio.create_task_group() as tasks:
            source = SQSEventSource(
                queue.url, queue.server, emulator.function, emulator.submit, note=notes, long_poll=1
            )
            tasks.start_soon(source.run)
            await notes.first.wait()
            queue.send("over")
            await over.wait()
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert queue.counts() == (0, 2)  # the bad one, and the last
    assert "1 of 3 messages failed" in str(notes)


@pytest.mark.parametrize(
    ("url", "endpoint", "options", "problem"),
    [
        ("a queue", "http://localhost:5000", {}, "queue URL"),
        ("http://localhost:5000/queue", "http://localhost:5000", {}, "queue URL"),
        ("http://[::1/1/queue", "http://localhost:5000", {}, "queue URL"),
        ("http://localhost:5000/1/queue", "http://example.com", {}, "on this machine"),
        ("http://localhost:5000/1/queue", "https://sqs.us-east-1.amazonaws.com", {}, "http://localhost"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"batch_size": 0}, "1 to 10000"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"batch_size": 10_001}, "1 to 10000"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"batch_size": 11}, "needs a batching window"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"batching_window": 301}, "0 to 300"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"batching_window": math.nan}, "0 to 300"),
        ("http://localhost:5000/1/queue", "http://localhost:5000", {"concurrency": 0}, "at least 1"),
        ("http://localhost:5000/1/q.fifo", "http://localhost:5000", {"batch_size": 11}, "FIFO"),
        ("http://localhost:5000/1/q.fifo", "http://localhost:5000", {"batching_window": 1}, "FIFO"),
    ],
)
def test_settings_that_lambda_would_refuse_are_refused(
    url: str, endpoint: str, options: dict[str, Any], problem: str
) -> None:
    """The limits are those of Lambda's API; the server must be on this machine."""
    with pytest.raises(ConfigurationError, match=problem):
        SQSEventSource(url, endpoint, FUNCTION, throttled, **options)


@pytest.mark.parametrize("name", ["{}", "arn:aws:sqs:us-east-1:123456789012:{}"])
def test_queue_is_found_by_its_name_or_its_arn(boto: Any, server: str, name: str) -> None:
    """The server tells its URL."""
    found = Queue(boto, server, f"found-{len(name)}")
    found.send("1")

    async def main() -> None:
        arrived = anyio.Event()
        source = SQSEventSource(
            name.format(f"found-{len(name)}"), server, FUNCTION, lambda invocation: arrived.set(), long_poll=1
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await arrived.wait()
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert found.counts() == (0, 1)


def test_queue_url_of_a_deployed_function_may_be_kept() -> None:
    """Only the endpoint is connected to."""
    SQSEventSource(
        "https://sqs.us-east-1.amazonaws.com/123456789012/queue", "http://localhost:5000", FUNCTION, throttled
    )
