"""
The shipped events: AWS Powertools finds in them what it expects of the real ones.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aws_lambda_powertools.utilities import data_classes
from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import PreSignUpTriggerEvent
from aws_lambda_powertools.utilities.data_classes.common import DictWrapper

from lambda_ric.emulator.function.examples import example, example_names
from lambda_ric.errors import ConfigurationError

CLASSES = {
    "alb": data_classes.ALBEvent,
    "alb-multi-value": data_classes.ALBEvent,
    "apigw-v1": data_classes.APIGatewayProxyEvent,
    "apigw-v2": data_classes.APIGatewayProxyEventV2,
    "cloudwatch-logs": data_classes.CloudWatchLogsEvent,
    "cognito-pre-signup": PreSignUpTriggerEvent,
    "dynamodb-stream": data_classes.DynamoDBStreamEvent,
    "eventbridge": data_classes.EventBridgeEvent,
    "eventbridge-scheduled": data_classes.EventBridgeEvent,
    "function-url": data_classes.LambdaFunctionUrlEvent,
    "kinesis-stream": data_classes.KinesisStreamEvent,
    "s3-put": data_classes.S3Event,
    "secrets-rotation": data_classes.SecretsManagerEvent,
    "ses": data_classes.SESEvent,
    "sns": data_classes.SNSEvent,
    "sqs": data_classes.SQSEvent,
    "sqs-fifo": data_classes.SQSEvent,
    "vpc-lattice-v1": data_classes.VPCLatticeEvent,
    "vpc-lattice-v2": data_classes.VPCLatticeEventV2,
}

# They read the body as something that it need not be, or ask for what only some events have.
CONDITIONAL = {
    "authorizer",  # of an API that has one
    "APIGatewayProxyEvent.version",  # of an HTTP API; REST APIs, which the example is of, send none
    "data_as_json",
    "data_zlib_compressed_as_json",
    "decoded_nested_s3_event",
    "decoded_nested_sns_event",
    "json_body",
}


def event(name: str) -> Any:
    return CLASSES[name](json.loads(example(name)))


def accessed(value: Any) -> Iterator[str]:
    """Ask *value* for everything it offers, and each answer in turn; yield the names."""
    if isinstance(value, DictWrapper):
        for name, _ in inspect.getmembers_static(type(value), lambda member: hasattr(member, "__get__")):
            if {name, f"{type(value).__name__}.{name}"} & CONDITIONAL:
                continue
            if isinstance(inspect.getattr_static(value, name), property):
                yield name
                yield from accessed(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from accessed(item)
    elif isinstance(value, Iterator | list):
        for item in value:
            yield from accessed(item)


def test_every_example_has_a_class_that_reads_it() -> None:
    """
    An example without a second opinion is not shipped.
    """
    assert example_names() == sorted(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_second_party_finds_everything(name: str) -> None:
    """
    No field that Powertools reads is missing, at any depth.
    """
    assert set(accessed(event(name)))


@pytest.mark.parametrize("name", CLASSES)
def test_example_is_json_for_people(name: str) -> None:
    """
    They are there to be copied and changed: indented, and with a line feed at the end.
    """
    text = example(name).decode()

    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", ["apigw-v1", "apigw-v2", "function-url"])
def test_body_of_an_http_request_is_an_order(name: str) -> None:
    """
    One handler can be tried with all three.
    """
    assert event(name).http_method == "POST"
    assert event(name).path == ("/orders/o-17")
    assert event(name).json_body["id"] == "o-17"
    assert event(name).resolved_query_string_parameters["tag"] == ["gift", "express"]


def test_load_balancer_has_one_form_or_the_other() -> None:
    """
    With multi-value headers the single ones are not there at all.
    """
    assert "multiValueHeaders" not in event("alb")
    assert not {"headers", "queryStringParameters"} & event("alb-multi-value").raw_event.keys()


@pytest.mark.parametrize("name", ["sqs", "sqs-fifo"])
def test_checksums_of_messages_are_right(name: str) -> None:
    """
    A handler that checks them accepts the example.
    """
    for record in event(name).records:
        assert record.md5_of_body == hashlib.md5(record.body.encode()).hexdigest()
        assert record.json_body["id"].startswith("o-")


def test_fifo_messages_name_their_group() -> None:
    """
    What a FIFO queue adds.
    """
    assert [record.attributes.message_group_id for record in event("sqs-fifo").records] == ["ada", "bob"]


def test_streams_carry_records() -> None:
    """
    Data is encoded as the services do it.
    """
    assert [record.kinesis.data_as_json()["id"] for record in event("kinesis-stream").records] == ["o-17", "o-18"]
    changes = list(event("dynamodb-stream").records)
    assert [change.event_name.name for change in changes] == ["INSERT", "MODIFY", "REMOVE"]
    assert changes[1].dynamodb.new_image["status"] == "paid"
    assert changes[1].dynamodb.old_image["tags"] == {"gift", "express"}


def test_object_key_is_url_encoded() -> None:
    """
    S3 sends it so, which is a classic trap for handlers.
    """
    assert json.loads(example("s3-put"))["Records"][0]["s3"]["object"]["key"] == "incoming/invoice+o-17.pdf"
    assert event("s3-put").object_key == unquote_plus("incoming/invoice+o-17.pdf")


def test_log_events_are_compressed() -> None:
    """
    The example can be unpacked.
    """
    assert event("cloudwatch-logs").parse_logs_data().log_events[0].message.startswith("[ERROR]")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sq", "did you mean 'sqs'"),
        ("apigw", "did you mean 'apigw-v"),
        ("zzz", "no example is called 'zzz'; there are: alb, "),
        ("../examples/sqs", "there are: alb, "),
        ("sqs.json", "there are: alb, "),
        ("", "there are: alb, "),
    ],
)
def test_unknown_name_is_a_clear_error(name: str, hint: str) -> None:
    """
    A name is looked up in the list, and never taken for a path.
    """
    with pytest.raises(ConfigurationError, match=hint):
        example(name)
