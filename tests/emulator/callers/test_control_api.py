"""
What tools ask before they call a function, asked by boto3; and what is meant for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from lambda_ric.emulator import Emulator, KinesisStream, SQSEventSource, StreamEventSource, in_thread
from tests.emulator.conftest import StandIn
from tests.support.callers import ARN, client
from tests.support.ports import free_port

IDLE = "next_event()"


@pytest.fixture
def url(stand_in: StandIn) -> Iterator[str]:
    """The address of a function that must not be run."""
    emulator: Emulator = stand_in(IDLE, timeout=7, memory=256, environment={"TABLE": "orders"})
    with in_thread(emulator) as opened, opened.serve(url_mode="stream") as endpoint:
        yield endpoint.url


def test_function_is_described(url: str) -> None:
    """With what the emulator knows; boto3's waiters find it active."""
    boto = client("lambda", url)
    configuration = boto.get_function_configuration(FunctionName="function")

    assert (configuration["FunctionArn"], configuration["Timeout"], configuration["MemorySize"]) == (ARN, 7, 256)
    assert (configuration["State"], configuration["Environment"]["Variables"]) == ("Active", {"TABLE": "orders"})
    assert boto.get_function(FunctionName=ARN)["Configuration"]["FunctionName"] == "function"
    assert boto.get_function(FunctionName="function", Qualifier="prod")["Configuration"]["FunctionArn"] == f"{ARN}:prod"
    assert [found["FunctionName"] for found in boto.list_functions()["Functions"]] == ["function"]
    boto.get_waiter("function_active_v2").wait(FunctionName="function")
    boto.get_waiter("function_updated_v2").wait(FunctionName="function")


def test_url_is_described(url: str) -> None:
    """With its mode, and where it is."""
    boto = client("lambda", url)
    described = boto.get_function_url_config(FunctionName="function")

    assert (described["FunctionUrl"], described["InvokeMode"]) == (f"{url}/lambda-url/function/", "RESPONSE_STREAM")
    assert len(boto.list_function_url_configs(FunctionName="function")["FunctionUrlConfigs"]) == 1


def test_event_source_mappings_are_described(stand_in: StandIn) -> None:
    """With their settings; the ARN of what is not there yet is not known."""
    emulator: Emulator = stand_in(IDLE)
    here = f"http://localhost:{free_port()}"
    queue = SQSEventSource("orders", here, emulator.function, emulator.submit, batch_size=5)
    stream = KinesisStream("orders", here, "us-east-1")
    shards = StreamEventSource(stream, emulator.function, emulator.submit, bisect=True, maximum_retry_attempts=3)
    with in_thread(emulator) as opened, opened.serve(sources=[queue, shards]) as endpoint:
        boto = client("lambda", endpoint.url)
        first, second = boto.list_event_source_mappings(FunctionName="function")["EventSourceMappings"]
        found = boto.get_event_source_mapping(UUID=second["UUID"])
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            boto.get_event_source_mapping(UUID="14e0db71-5d35-4eb5-b481-8945cf9d10c2")

    assert (first["BatchSize"], first["State"], first["FunctionArn"]) == (5, "Enabled", ARN)
    assert (second["BatchSize"], second["BisectBatchOnFunctionError"], second["MaximumRetryAttempts"]) == (100, True, 3)
    assert found["UUID"] == second["UUID"]


def test_account_and_what_belongs_to_a_function_are_described(url: str) -> None:
    """Lists are there, though empty."""
    boto = client("lambda", url)

    assert boto.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 1
    assert boto.list_event_source_mappings(FunctionName="function")["EventSourceMappings"] == []
    assert boto.list_aliases(FunctionName="function")["Aliases"] == []
    assert boto.get_alias(FunctionName="function", Name="prod")["FunctionVersion"] == "$LATEST"
    assert [found["Version"] for found in boto.list_versions_by_function(FunctionName="function")["Versions"]] == [
        "$LATEST"
    ]
    assert boto.get_function_concurrency(FunctionName="function")["ReservedConcurrentExecutions"] == 1
    assert boto.list_tags(Resource=ARN)["Tags"] == {}


def test_other_function_is_not_found(url: str) -> None:
    """And what this one has not, neither."""
    boto = client("lambda", url)

    for ask, arguments in [
        (boto.get_function, {"FunctionName": "other"}),
        (boto.get_function_url_config, {"FunctionName": "other"}),
        (boto.get_policy, {"FunctionName": "function"}),
    ]:
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            ask(**arguments)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sts", "get_caller_identity", {}),
        ("s3", "list_buckets", {}),
        ("dynamodb", "list_tables", {}),
        ("sqs", "list_queues", {}),
        ("sns", "list_topics", {}),
    ],
)
def test_request_for_another_service_is_refused_with_its_name(
    service: str, operation: str, arguments: dict[str, Any], url: str
) -> None:
    """And runs nothing: it would be the function's to answer as a web server."""
    with pytest.raises(ClientError, match=f"signed for the service '{service}'"):
        getattr(client(service, url), operation)(**arguments)


SCOPE = "Credential=AKID/20261130/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
PRESIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20261130%2Fus-east-1%2F{}%2Faws4_request"


@pytest.mark.parametrize("service", ["lambda", "execute-api"])
def test_signed_call_of_the_url_is_the_functions(service: str, stand_in: StandIn) -> None:
    """In a header or in the query; clients of a URL with AWS_IAM sign for lambda, too."""
    script = "while True: respond(next_event()[0], b'\"called\"')"
    with in_thread(stand_in(script, concurrency=3)) as emulator, emulator.serve() as endpoint:
        signed = {"Authorization": f"AWS4-HMAC-SHA256 {SCOPE.format(service)}"}
        answers = [
            httpx.post(f"{endpoint.url}/orders", headers=signed),
            httpx.get(f"{endpoint.url}/2024-01-01/report"),
            httpx.get(f"{endpoint.url}/orders?{PRESIGNED.format(service)}"),
        ]

    assert [answer.text for answer in answers] == ["called"] * 3
