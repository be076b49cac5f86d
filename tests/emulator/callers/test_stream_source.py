"""
The event source mappings for Kinesis and DynamoDB streams, against moto's server.
"""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lambda_ric.emulator import Filter
from lambda_ric.emulator.callers.destinations import Destination, destination
from lambda_ric.emulator.callers.stream_source import POLL_INTERVAL, StreamEventSource
from lambda_ric.emulator.callers.streams import DynamoDBStream, KinesisStream, Stream
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError
from tests.support.callers import ARN, Notes, Scripted, Step, client, fails, sqs_server, succeeds, throttled

FUNCTION = Function(handler="app.handler", caller={})
REGION = "us-east-1"
NOW = 1_800_000_000.0
"""Later than any record of a test is made."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with sqs_server() as url:
        yield url


class Services:
    """What the owner of the streams has."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self.kinesis = stack.enter_context(closing(client("kinesis", url)))
        self.dynamodb = stack.enter_context(closing(client("dynamodb", url)))


@pytest.fixture(scope="module")
def services(server: str) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(server, stack)


class Data:
    """A new data stream."""

    def __init__(self, services: Services, name: str, shards: int = 1) -> None:
        self.services, self.name = services, name
        services.kinesis.create_stream(StreamName=name, ShardCount=shards)

    def put(self, *texts: str, key: str = "key") -> None:
        for text in texts:
            self.services.kinesis.put_record(StreamName=self.name, Data=text.encode(), PartitionKey=key)

    @property
    def stream(self) -> KinesisStream:
        return KinesisStream(self.name, self.services.url, REGION)


@pytest.fixture
def data(services: Services, request: pytest.FixtureRequest) -> Data:
    return Data(services, request.node.name.replace("[", "-").replace("]", ""))


class Run:
    """
    A mapping that runs until a shard has nothing new, *later* was called then, and there is nothing new again.

    With *calls* it runs until the function has been called so many times. The first time that the server is waited for
    or a batch put off, *while_away* is called.
    """

    def __init__(
        self,
        stream: Stream,
        *script: Step,
        position: Any = "TRIM_HORIZON",
        later: Callable[[], object] | None = None,
        while_away: Callable[[], object] | None = None,
        calls: int = 0,
        **options: Any,
    ) -> None:
        self.function = Scripted(list(script))
        self.notes = Notes()
        self.slept: list[float] = []
        self._later = later
        self._while_away = while_away
        self._calls = calls
        self._over = anyio.Event()
        anyio.run(self._run, stream, {"starting_position": position, "clock": lambda: NOW, **options})

    async def _run(self, stream: Stream, settings: dict[str, Any]) -> None:
        source = StreamEventSource(
            stream, FUNCTION, self._submit, **{"sleep": self._sleep, "note": self.notes, **settings}
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    async def _sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        if seconds != POLL_INTERVAL:
            self.slept.append(seconds)
            if self._while_away is not None:
                while_away, self._while_away = self._while_away, None
                await anyio.to_thread.run_sync(while_away)
        elif self._later is not None:
            later, self._later = self._later, None
            await anyio.to_thread.run_sync(later)
        elif not self._calls:
            self._over.set()

    def _submit(self, invocation: Invocation) -> None:
        self.function(invocation)
        if len(self.function.seen) == self._calls:
            self._over.set()

    @property
    def events(self) -> list[list[Any]]:
        return [json.loads(invocation.event)["Records"] for invocation in self.function.seen]

    @property
    def batches(self) -> list[str]:
        """The texts of each batch, one letter for each record."""
        return ["".join(text_of(record) for record in records) for records in self.events]


def text_of(record: Any) -> str:
    """Return the data of *record*, or the key of its item."""
    if "kinesis" in record:
        return base64.b64decode(record["kinesis"]["data"]).decode()
    key: str = record["dynamodb"]["Keys"]["id"]["S"]
    return key


def fails_with(letter: str) -> Step:
    """Fail if *letter* is in the batch."""

    def step(invocation: Invocation) -> None:
        records = json.loads(invocation.event)["Records"]
        (fails() if letter in map(text_of, records) else succeeds())(invocation)

    return step


def reports(letter: str) -> Step:
    """Report the record of *letter* as failed, if the batch has it."""

    def step(invocation: Invocation) -> None:
        records = json.loads(invocation.event)["Records"]
        numbers = [record["kinesis"]["sequenceNumber"] for record in records if text_of(record) == letter]
        succeeds({"batchItemFailures": [{"itemIdentifier": number} for number in numbers]})(invocation)

    return step


def test_record_of_a_data_stream_is_what_a_function_gets_on_lambda(data: Data) -> None:
    """Name by name."""
    data.put("a")
    ((record,),) = Run(data.stream, succeeds()).events

    number, arrived_at = record["kinesis"]["sequenceNumber"], record["kinesis"]["approximateArrivalTimestamp"]
    assert isinstance(arrived_at, float)
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "key",
            "sequenceNumber": number,
            "data": "YQ==",
            "approximateArrivalTimestamp": arrived_at,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/local",
        "awsRegion": "us-east-1",
        "eventSourceARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{data.name}",
    }


def test_record_of_a_table_is_what_a_function_gets_on_lambda(services: Services) -> None:
    """Its types are those of DynamoDB."""
    table = Table(services, "changes")
    table.put("a", n={"N": "1.50"})
    ((record,),) = Run(table.stream, succeeds()).events

    assert record["eventSource"] == "aws:dynamodb"
    assert record["eventName"] == "INSERT"
    assert record["eventVersion"] == "1.1"
    assert record["awsRegion"] == "us-east-1"
    assert record["eventSourceARN"].startswith("arn:aws:dynamodb:us-east-1:123456789012:table/changes/stream/")
    change = record["dynamodb"]
    assert change["Keys"] == {"id": {"S": "a"}}
    assert change["NewImage"] == {"id": {"S": "a"}, "n": {"N": "1.50"}}
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert isinstance(change["ApproximateCreationDateTime"], int)


class Table:
    """A new table with a stream."""

    def __init__(self, services: Services, name: str) -> None:
        self.services, self.name = services, name
        services.dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )

    def put(self, id: str, **attributes: Any) -> None:
        self.services.dynamodb.put_item(TableName=self.name, Item={"id": {"S": id}, **attributes})

    @property
    def stream(self) -> DynamoDBStream:
        return DynamoDBStream(self.name, self.services.url, REGION)


def test_invocation_says_where_it_came_from(data: Data) -> None:
    """The page and the log tell it from a call."""
    data.put("a")
    (invocation,) = Run(data.stream, succeeds()).function.seen

    assert (invocation.source, invocation.function_arn) == ("kinesis", ARN)


def test_records_are_sent_in_order_and_once(data: Data) -> None:
    """In batches of the batch size."""
    data.put(*"abcde")

    assert Run(data.stream, succeeds(), batch_size=2).batches == ["ab", "cd", "e"]


def test_stream_is_found_by_its_arn(data: Data) -> None:
    """Which says the region."""
    data.put("a")
    arn = f"arn:aws:kinesis:{REGION}:123456789012:stream/{data.name}"

    assert Run(KinesisStream(arn, data.services.url, "eu-west-1"), succeeds()).batches == ["a"]


def test_only_what_is_new_is_read_unless_all_is_asked_for(data: Data) -> None:
    """The position LATEST."""
    data.put("a")
    run = Run(data.stream, succeeds(), position="LATEST", later=lambda: data.put("b"))

    assert run.batches == ["b"]


def test_stream_that_comes_up_later_is_read_from_its_beginning(services: Services) -> None:
    """Nothing of it is old; the server's reason is told once."""
    tries = 0

    async def sleep(seconds: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            await anyio.to_thread.run_sync(lambda: Data(services, "later").put("a"))

    stream = KinesisStream("later", services.url, REGION)
    run = Run(stream, succeeds(), position="LATEST", calls=1, sleep=sleep)

    assert run.batches == ["a"]
    assert str(run.notes).count("not found") == 1


def test_stream_that_was_created_anew_is_read_from_its_beginning(data: Data) -> None:
    """Where the first one was read to says nothing of it."""
    data.put("a")
    run = Run(
        data.stream,
        succeeds(),
        calls=2,
        later=lambda: data.services.kinesis.delete_stream(StreamName=data.name),
        while_away=lambda: Data(data.services, data.name).put("b"),
    )

    assert run.batches == ["a", "b"]


def test_shards_are_read_beside_each_other(services: Services) -> None:
    """A batch of one that fails holds up no other."""
    data = Data(services, "two", shards=2)
    data.put("x", key="1")  # the hash of the key says which shard
    data.put("a", key="2")
    records = {text_of(record) for batch in Run(data.stream, fails_with("x"), calls=4).events for record in batch}

    assert records == {"a", "x"}


def test_record_that_no_filter_wants_is_passed_over(data: Data) -> None:
    """What is in the data counts for the filter, not the base64 of it."""
    data.put('{"kind": "order"}', '{"kind": "note"}', "no json", '{"kind": "order", "n": 2}')
    run = Run(data.stream, succeeds(), filters=[Filter.read('{"data": {"kind": ["order"]}}')])

    assert [len(batch) for batch in run.events] == [2]


def test_filter_of_a_table_is_about_the_whole_record(services: Services) -> None:
    """Its images included."""
    table = Table(services, "filtered")
    table.put("a", kind={"S": "order"})
    table.put("b", kind={"S": "note"})
    pattern = '{"eventName": ["INSERT"], "dynamodb": {"NewImage": {"kind": {"S": ["order"]}}}}'

    assert Run(table.stream, succeeds(), filters=[Filter.read(pattern)]).batches == ["a"]


def test_failed_batch_holds_its_shard_up_until_it_succeeds(data: Data) -> None:
    """What is behind it waits; the delays grow."""
    data.put(*"abc")
    run = Run(data.stream, fails(), fails(), fails(), succeeds(), batch_size=2)

    assert run.batches == ["ab", "ab", "ab", "ab", "c"]
    assert run.slept == [1, 2, 4]


def test_batch_is_given_up_after_the_retry_attempts(data: Data) -> None:
    """Without a destination it is told, at least."""
    data.put(*"abc")
    run = Run(data.stream, fails_with("a"), batch_size=2, maximum_retry_attempts=1)

    assert run.batches == ["ab", "ab", "c"]
    assert "2 records of shardId-000000000000 are given up (RetryAttemptsExhausted)" in str(run.notes)


def test_halves_of_a_failed_batch_are_sent_separately(data: Data) -> None:
    """Which counts as no retry: in the end one record alone is given up."""
    data.put(*"abcde")
    run = Run(data.stream, fails_with("d"), bisect=True, maximum_retry_attempts=1)

    assert run.batches == ["abcde", "ab", "cde", "c", "de", "d", "d", "e"]
    assert run.notes.kinds.count("dropped") == 1


def test_batch_is_sent_again_from_the_record_that_was_reported(data: Data) -> None:
    """A partial batch response; behind what has succeeded the count of attempts begins anew."""
    data.put(*"abcd")
    run = Run(data.stream, reports("b"), reports("d"), succeeds(), maximum_retry_attempts=1)

    assert run.batches == ["abcd", "bcd", "d"]
    assert "dropped" not in run.notes.kinds


def test_report_is_ignored_when_it_was_not_asked_for(data: Data) -> None:
    """As on Lambda without FunctionResponseTypes."""
    data.put(*"ab")

    assert Run(data.stream, reports("b"), report_batch_item_failures=False).batches == ["ab"]


def test_report_of_an_unknown_record_fails_the_whole_batch(data: Data) -> None:
    """As on Lambda."""
    data.put(*"ab")
    unknown = succeeds({"batchItemFailures": [{"itemIdentifier": "b"}]})

    assert Run(data.stream, unknown, succeeds()).batches == ["ab", "ab"]


def test_records_that_are_too_old_are_given_up_unseen(data: Data) -> None:
    """Also those for which there is no environment until then."""
    data.put(*"ab")
    run = Run(data.stream, succeeds(), maximum_record_age=60)

    assert run.batches == []
    assert "2 records of shardId-000000000000 are given up (RecordAgeExceeded)" in str(run.notes)


def test_throttled_batch_waits_for_an_environment(data: Data) -> None:
    """That counts as no attempt."""
    data.put("a")
    run = Run(data.stream, throttled, throttled, succeeds(), maximum_retry_attempts=0)

    assert run.batches == ["a"]
    assert run.slept == [1, 2]


@pytest.mark.parametrize("kind", ["kinesis", "dynamodb"])
def test_destination_is_told_which_records_were_given_up(services: Services, kind: str, tmp_path: Path) -> None:
    """As AWS documents it: not the records themselves, but where they are."""
    source: Data | Table
    source = Data(services, "given-up") if kind == "kinesis" else Table(services, "given-up")
    for letter in "ab":
        source.put(letter)
    file = tmp_path / "records.jsonl"
    run = Run(source.stream, fails(), maximum_retry_attempts=0, on_failure=destination(str(file)))

    record = json.loads(file.read_text())
    (invocation,) = run.function.seen
    assert record["requestContext"] == {
        "requestId": invocation.request_id,
        "functionArn": f"{ARN}:$LATEST",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 1,
    }
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    info = record["KinesisBatchInfo" if kind == "kinesis" else "DDBStreamBatchInfo"]
    numbers = [record.get("kinesis", record.get("dynamodb")) for record in run.events[0]]
    first, last = (number.get("sequenceNumber", number.get("SequenceNumber")) for number in numbers)
    assert (info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"]) == (first, last, 2)
    assert info["streamArn"] == run.events[0][0]["eventSourceARN"]
    assert info["approximateArrivalOfFirstRecord"].endswith("Z")
    assert "destination" in run.notes.kinds


def test_destination_that_takes_nothing_is_told_of_and_does_not_hold_up(data: Data) -> None:
    """What is behind goes on."""
    data.put(*"ab")
    nowhere: Destination = destination("s3:no-such-bucket", REGION, data.services.url)
    run = Run(data.stream, fails_with("a"), batch_size=1, maximum_retry_attempts=0, on_failure=nowhere)

    assert run.batches == ["a", "b"]
    assert "did not get 1 records of shardId-000000000000: PUT " in str(run.notes)
    assert "The specified bucket does not exist" in str(run.notes)


def test_table_without_a_stream_is_told_of(services: Services) -> None:
    """With what is missing."""
    services.dynamodb.create_table(
        TableName="plain",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    async def main() -> None:
        stream = DynamoDBStream("plain", services.url, REGION)
        source = StreamEventSource(stream, FUNCTION, throttled, note=notes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await notes.first.wait()
            tasks.cancel_scope.cancel()

    notes = Notes()
    anyio.run(main)
    assert "the table plain has no stream: set its StreamSpecification" in str(notes)


class Resharded(BaseHTTPRequestHandler):
    """Has a shard that was split: the first one has come to its end, which moto's never do."""

    server: Any

    def do_POST(self) -> None:
        members = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        if operation == "GetRecords":
            self.server.read.append(members["ShardIterator"])
        content = json.dumps(self.answer(operation, members)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self, operation: str, members: Any) -> Any:
        if operation == "DescribeStreamSummary":
            return {"StreamDescriptionSummary": {"StreamARN": "arn:aws:kinesis:us-east-1:1:stream/s"}}
        if operation == "ListShards" and "NextToken" not in members:
            return {"Shards": [{"ShardId": "child", "ParentShardId": "parent"}], "NextToken": "more"}
        if operation == "ListShards":
            return {"Shards": [{"ShardId": "parent", "ParentShardId": "one that is long gone"}]}
        if operation == "GetShardIterator":
            return {"ShardIterator": f"{members['ShardId']} {members['ShardIteratorType']}"}
        shard = members["ShardIterator"].split()[0]
        record = {"SequenceNumber": "1", "ApproximateArrivalTimestamp": NOW, "Data": "YQ==", "PartitionKey": "1"}
        # The last records of a shard come with no place to go on.
        return {"Records": [record], "NextShardIterator": None if shard == "parent" else "child"}

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_shard_is_read_after_the_one_that_it_has_come_of() -> None:
    """From its beginning, or what was sent meanwhile would be lost."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Resharded) as server:
        server.read = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        stream = KinesisStream("s", f"http://127.0.0.1:{server.server_port}", REGION)
        run = Run(stream, succeeds(), calls=2, position="LATEST")
        server.shutdown()
        thread.join()

    assert [record["eventID"] for batch in run.events for record in batch] == ["parent:1", "child:1"]
    assert server.read[:2] == ["parent LATEST", "child TRIM_HORIZON"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_size": 0}, "1 to 10000"),
        ({"batch_size": 10_001}, "1 to 10000"),
        ({"batching_window": 301}, "0 to 300"),
        ({"batching_window": math.nan}, "0 to 300"),
        ({"maximum_retry_attempts": -2}, "-1, for no limit, to 10000"),
        ({"maximum_retry_attempts": 10_001}, "-1, for no limit, to 10000"),
        ({"maximum_record_age": 59}, "60 to 604800"),
        ({"maximum_record_age": math.nan}, "60 to 604800"),
    ],
)
def test_settings_that_lambda_would_refuse_are_refused(options: dict[str, Any], problem: str) -> None:
    """The limits are those of Lambda's API."""
    with pytest.raises(ConfigurationError, match=problem):
        StreamEventSource(KinesisStream("s", "http://localhost:1", REGION), FUNCTION, throttled, **options)


def test_table_has_smaller_batches() -> None:
    """As on Lambda."""
    with pytest.raises(ConfigurationError, match="1 to 1000"):
        StreamEventSource(DynamoDBStream("t", "http://localhost:1", REGION), FUNCTION, throttled, batch_size=1001)


@pytest.mark.parametrize(
    ("name", "endpoint", "problem"),
    [
        ("", "http://localhost:1", "is not the name of a stream"),
        ("a/b", "http://localhost:1", "is not the name of a stream"),
        ("arn:aws:kinesis:us-east-1:1:table/x", "http://localhost:1", "is not the ARN of a stream"),
        ("arn:aws:kinesis", "http://localhost:1", "is not the ARN of a stream"),
        ("orders", "http://example.com", "is not on this machine"),
    ],
)
def test_name_that_is_none_is_refused(name: str, endpoint: str, problem: str) -> None:
    """And a server that is not on this machine."""
    with pytest.raises(ConfigurationError, match=problem):
        KinesisStream(name, endpoint, REGION)
