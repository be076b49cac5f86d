"""
Outcomes of asynchronous invocations, and the places that take them.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from lambda_ric.emulator.callers.destinations import DeliveryError, destination
from lambda_ric.emulator.callers.outcome import EventOutcome, Parcel
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.errors import ConfigurationError
from tests.support.callers import ARN, Step, client, fails, served, sqs_server, succeeds, times_out_after_the_response

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

RECORD = Parcel(b'{"version":"1.0"}', {})
LETTER = Parcel(b'{"n": 1}', {"RequestID": ("String", "id"), "ErrorCode": ("Number", "200")})


def invoked(step: Step, event: bytes = b'{"n": 1}', arn: str = ARN) -> Invocation:
    invocation = Invocation(event=event, function_arn=arn, requested_at=1_700_000_000.0, request_id="id")
    step(invocation)
    return invocation


def record(invocation: Invocation, condition: Any = "Success", attempts: int = 1) -> Any:
    outcome = EventOutcome(condition, 1_700_000_000.1239, attempts, invocation, invocation.answer)
    return json.loads(outcome.record().body)


def deliver(to: str, parcel: Parcel, endpoint: str | None = None) -> None:
    anyio.run(destination(to, endpoint=endpoint).deliver, parcel)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


# The outcome...


def test_record_of_a_success() -> None:
    """As AWS documents it."""
    assert record(invoked(succeeds({"a": 1}))) == {
        "version": "1.0",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "requestContext": {
            "requestId": "id",
            "functionArn": f"{ARN}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"a": 1},
    }


def test_record_of_a_failure() -> None:
    """It has the error document, and says that it is one."""
    got = record(invoked(fails("broken")), "RetriesExhausted", 3)

    assert got["requestContext"]["condition"] == "RetriesExhausted"
    assert got["requestContext"]["approximateInvokeCount"] == 3
    assert got["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert got["responsePayload"] == {"errorType": "ValueError", "errorMessage": "broken"}


def test_record_of_an_event_that_was_never_run_has_no_response() -> None:
    """Nothing is made up."""
    invocation = Invocation(event=b"{}", function_arn=f"{ARN}:$LATEST", requested_at=0)
    got = json.loads(EventOutcome("EventAgeExceeded", 0, 0, invocation, None).record().body)

    assert got.keys() == {"version", "timestamp", "requestContext", "requestPayload"}
    assert got["requestContext"]["functionArn"] == f"{ARN}:$LATEST"


@pytest.mark.parametrize(
    ("payload", "recorded"),
    [
        (b"", b"null"),
        (b"no json \xff", b'"no json \\ufffd"'),
        (b"NaN", b'"NaN"'),
        (b'{\r\n"a": 1.50}', b'{  "a": 1.50}'),
        (b"9" * 5000, b"9" * 5000),
        (b"[" * 100_000, b'"' + b"[" * 100_000 + b'"'),
    ],
)
def test_record_has_payloads_as_they_are(payload: bytes, recorded: bytes) -> None:
    """On one line; what is not JSON becomes a string."""
    outcome = EventOutcome("Success", 0, 1, invocation := invoked(succeeds(payload)), invocation.answer)

    assert outcome.record().body.endswith(b'"responsePayload":' + recorded + b"}")


def test_dead_letter_is_the_bare_event_with_the_error_beside_it() -> None:
    """The first KB of the error's text, cut between characters."""
    invocation = invoked(fails("ä" * 1000), b'{"n": 1.0}')
    letter = EventOutcome("RetriesExhausted", 0, 3, invocation, invocation.answer).dead_letter()

    assert letter.body == b'{"n": 1.0}'
    assert letter.attributes == {
        "RequestID": ("String", "id"),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "ä" * 512),
    }


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b'{"errorMessage": 1}', "1"), (b"[]", "[]"), (b"oops", "oops"), (b"", "Unhandled"), (b'{"a":1}', '{"a":1}')],
)
def test_dead_letter_of_an_error_of_any_form(payload: bytes, text: str) -> None:
    """A runtime may post what it wants as its error."""

    def step(invocation: Invocation) -> None:
        invocation.delivery.respond(0, payload, "text/plain", "Error")

    invocation = invoked(step)
    letter = EventOutcome("RetriesExhausted", 0, 3, invocation, invocation.answer).dead_letter()

    assert letter.attributes["ErrorMessage"] == ("String", text)


def test_dead_letter_of_an_event_that_was_never_run() -> None:
    """The error is the throttle."""
    invocation = Invocation(event=b"{}", function_arn=ARN, requested_at=0)
    letter = EventOutcome("EventAgeExceeded", 0, 0, invocation, None).dead_letter()

    assert letter.attributes["ErrorCode"] == ("Number", "429")
    assert letter.attributes["ErrorMessage"] == ("String", "Rate Exceeded.")


def test_dead_letter_of_a_failure_after_the_response() -> None:
    """The error is the platform's, for the function gave none."""
    invocation = invoked(times_out_after_the_response)
    letter = EventOutcome("RetriesExhausted", 0, 3, invocation, invocation.answer).dead_letter()

    assert letter.attributes["ErrorMessage"] == ("String", "Task timed out after 3.00 seconds")


# ...and where it goes.


def test_file_gets_one_line_for_each_parcel(tmp_path: Path) -> None:
    """A dead letter is wrapped, because a file has no attributes."""
    path = tmp_path / "out.jsonl"
    deliver(str(path), RECORD)
    deliver(f"file:{path}", LETTER)

    assert path.read_text() == (
        '{"version":"1.0"}\n{"attributes":{"RequestID":"id","ErrorCode":"200"},"body":{"n": 1}}\n'
    )


def test_file_that_cannot_be_written_is_a_failed_delivery(tmp_path: Path) -> None:
    """Not a crash of the emulator."""
    directory = tmp_path / "gone"
    directory.mkdir()
    to = destination(f"file:{directory}/out")
    directory.rmdir()

    with pytest.raises(DeliveryError, match="No such file"):
        anyio.run(to.deliver, RECORD)


def test_another_local_function_is_invoked_asynchronously(stand_in: StandIn) -> None:
    """It gets the record as its event."""
    script = """
        request_id, event = next_event()
        say(event.content.decode())
        respond(request_id)
        next_event()
    """
    lines: list[str] = []
    emulator = stand_in(script, on_log=lambda line: lines.append(line.text))
    with served(emulator) as (endpoint, call):
        deliver(f"lambda:{endpoint.url}/function", RECORD)
        call(endpoint.events.drained)

    assert '{"version":"1.0"}' in lines


def test_function_that_does_not_accept_the_event_is_a_failed_delivery(stand_in: StandIn) -> None:
    """Its own words are told."""
    with served(stand_in("next_event()")) as (endpoint, _):
        with pytest.raises(DeliveryError, match=r"404.*Function not found"):
            deliver(f"lambda:{endpoint.url}/other", RECORD)


@pytest.fixture(scope="module")
def sqs() -> Iterator[str]:
    with sqs_server() as url:
        yield url


@pytest.mark.parametrize("name", ["queue", "queue.fifo"])
def test_queue_gets_the_dead_letter_with_its_attributes(sqs: str, name: str) -> None:
    """As an SQS consumer would see it on AWS."""
    with closing(client("sqs", sqs)) as boto:
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        url = boto.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        deliver(f"sqs:{url}", LETTER)
        (message,) = boto.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]

    assert message["Body"] == '{"n": 1}'
    assert message["MessageAttributes"] == {
        "RequestID": {"StringValue": "id", "DataType": "String"},
        "ErrorCode": {"StringValue": "200", "DataType": "Number"},
    }


def test_queue_takes_several_at_once(sqs: str) -> None:
    """Events that are given up together do not get into each other's way."""

    async def main() -> None:
        to = destination(f"sqs:{url}")
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(to.deliver, RECORD)

    with closing(client("sqs", sqs)) as boto:
        url = boto.create_queue(QueueName="several")["QueueUrl"]
        anyio.run(main)
        assert len(boto.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 10


def test_queue_that_does_not_exist_is_a_failed_delivery(sqs: str) -> None:
    """The server's reason is told."""
    with pytest.raises(DeliveryError, match="SendMessage: status 400: The specified queue does not exist"):
        deliver(f"sqs:{sqs}/123456789012/nowhere", RECORD)


@pytest.mark.parametrize("to", ["sqs:{}", "arn:aws:sqs:us-east-1:123456789012:{}"])
def test_queue_of_the_local_server_has_a_name(sqs: str, to: str) -> None:
    """Or an ARN, as it stands in a template."""
    name = f"named-{len(to)}"
    with closing(client("sqs", sqs)) as boto:
        url = boto.create_queue(QueueName=name)["QueueUrl"]
        deliver(to.format(name), RECORD, sqs)
        (message,) = boto.receive_message(QueueUrl=url)["Messages"]

    assert message["Body"] == '{"version":"1.0"}'


@pytest.mark.parametrize("to", ["sns:{}", "arn:aws:sns:us-east-1:123456789012:{}"])
def test_topic_gets_the_dead_letter_with_its_attributes(sqs: str, to: str) -> None:
    """As its subscribers would see it on AWS."""
    name = f"topic-{len(to)}"
    with closing(client("sqs", sqs)) as queues, closing(client("sns", sqs)) as topics:
        url = queues.create_queue(QueueName=name)["QueueUrl"]
        topic = topics.create_topic(Name=name)["TopicArn"]
        topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:123456789012:{name}")
        deliver(to.format(name), LETTER, sqs)
        (message,) = queues.receive_message(QueueUrl=url)["Messages"]

    published = json.loads(message["Body"])
    assert published["Message"] == '{"n": 1}'
    assert published["MessageAttributes"] == {
        "RequestID": {"Type": "String", "Value": "id"},
        "ErrorCode": {"Type": "Number", "Value": "200"},
    }


@pytest.mark.parametrize(("step", "kind"), [(succeeds(), "Success"), (fails(), "Failure")])
def test_event_bus_gets_an_event_of_lambdas(sqs: str, step: Step, kind: str) -> None:
    """A rule can tell success from failure, and one function from another."""
    invocation = invoked(step)
    condition: Any = "Success" if kind == "Success" else "RetriesExhausted"
    parcel = EventOutcome(condition, 1_700_000_000.0, 1, invocation, invocation.answer).record()
    with closing(client("sqs", sqs)) as queues, closing(client("events", sqs)) as buses:
        url = queues.create_queue(QueueName=f"events-{kind}")["QueueUrl"]
        pattern = {"source": ["lambda"], "detail-type": [f"Lambda Function Invocation Result - {kind}"]}
        buses.put_rule(Name=kind, EventPattern=json.dumps(pattern))
        target = {"Id": "1", "Arn": f"arn:aws:sqs:us-east-1:123456789012:events-{kind}"}
        buses.put_targets(Rule=kind, Targets=[target])
        deliver("events:default", parcel, sqs)
        (message,) = queues.receive_message(QueueUrl=url)["Messages"]

    event = json.loads(message["Body"])
    assert event["detail"]["requestContext"]["condition"] == condition
    assert event["resources"] == [f"{ARN}:$LATEST"]


@pytest.mark.parametrize("to", ["s3:{}", "arn:aws:s3:::{}"])
def test_bucket_gets_an_object_with_a_name_such_as_lambdas(sqs: str, to: str) -> None:
    """By function and day."""
    name = f"bucket-{len(to)}"
    invocation = invoked(succeeds())
    parcel = EventOutcome("Success", 1_700_000_000.0, 1, invocation, invocation.answer).record()
    with closing(client("s3", sqs)) as boto:
        boto.create_bucket(Bucket=name)
        deliver(to.format(name), parcel, sqs)
        (found,) = boto.list_objects_v2(Bucket=name)["Contents"]
        content = boto.get_object(Bucket=name, Key=found["Key"])["Body"].read()

    assert re.fullmatch(r"aws/lambda/async/function/\d{4}/\d\d/\d\d/[-\dT.]{19}-[-0-9a-f]{36}", found["Key"])
    assert content == parcel.body


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("sqs:nowhere", "GetQueueUrl: status 400: The specified queue does not exist"),
        ("sns:nowhere", "Publish: status 404: "),
        ("events:nowhere", "PutEvents: status 400: Event bus nowhere does not exist"),
        ("s3:nowhere", "status 404: The specified bucket does not exist"),
    ],
)
def test_what_the_local_server_does_not_have_is_a_failed_delivery(sqs: str, to: str, reason: str) -> None:
    """The server's reason is told."""
    with pytest.raises(DeliveryError, match=reason):
        deliver(to, RECORD, sqs)


@pytest.mark.parametrize("to", ["lambda:http://127.0.0.1:{}/function", "sqs:http://localhost:{}/123456789012/queue"])
def test_server_that_is_not_there_is_a_failed_delivery(to: str) -> None:
    """It may be started later: the delivery is tried again."""
    with pytest.raises(DeliveryError, match="cannot be reached"):
        deliver(to.format(closed_port()), RECORD)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "none of"),
        ("nonsense", "none of"),
        ("file:", "none of"),
        ("arn:aws:iam::123456789012:role/x", "none of"),
        ("arn:", "none of"),
        ("arn:aws:sqs:us-east-1:123456789012:queue", "needs to know its server: --aws-endpoint-url"),
        ("sns:topic", "needs to know its server"),
        ("events:bus", "needs to know its server"),
        ("s3:", "none of"),
        ("file:/", "cannot be a file"),
        ("/no/such/directory/out.jsonl", "cannot be a file"),
        ("lambda:http://localhost:9000", "the form"),
        ("lambda:http://localhost:9000/a/b", "the form"),
        ("lambda:my-function", "http://localhost"),
        ("lambda:https://localhost:9000/function", "http://localhost"),
        ("lambda:http://localhost:99999/function", "not a URL"),
        ("lambda:http://[::1/function", "not a URL"),
        ("lambda:http://user@localhost:9000/function", "a user"),
        ("lambda:http://localhost:9000/function?Qualifier=1", "a query"),
        ("lambda:http://localhost.example.com/function", "on this machine"),
        ("lambda:http://localhost.localstack.cloud.example.com/function", "on this machine"),
        ("lambda:http://notlocalhost.localstack.cloud/function", "on this machine"),
        ("lambda:http://10.0.0.1:9000/function", "on this machine"),
        ("lambda:http://0.0.0.0:9000/function", "on this machine"),
        ("sqs:https://sqs.us-east-1.amazonaws.com/123456789012/queue", "http://localhost"),
        ("sqs:http://sqs.us-east-1.amazonaws.com/123456789012/queue", "on this machine"),
        ("sqs:http://localhost:5000/queue", "ACCOUNT/QUEUE"),
        ("sqs:http://local\nhost:5000/1/queue", "http://localhost"),
    ],
)
def test_what_is_no_destination_on_this_machine_is_refused(text: str, problem: str) -> None:
    """An emulator sends no event to the outside, whatever it is told."""
    with pytest.raises(ConfigurationError, match=problem):
        destination(text)


@pytest.mark.parametrize(
    "host", ["moto.localhost", "localhost.localstack.cloud", "sqs.eu-west-1.localhost.localstack.cloud"]
)
def test_names_of_this_machine_are_reached_without_the_dns(sqs: str, host: str) -> None:
    """LocalStack has such names in the URLs of its queues."""
    port = sqs.rpartition(":")[2]
    with closing(client("sqs", sqs)) as boto:
        url = boto.create_queue(QueueName=f"by-name-{len(host)}")["QueueUrl"]
        deliver(f"sqs:{url.replace('127.0.0.1', host)}", RECORD)
        deliver(f"sqs:by-name-{len(host)}", RECORD, f"http://{host}:{port}")
        assert len(boto.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 2


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_addresses_of_this_machine_are_accepted(host: str) -> None:
    """By name, and by both kinds of numbers."""
    destination(f"lambda:http://{host}:9100/function")
    destination(f"sqs:http://{host}:5000/123456789012/queue")
