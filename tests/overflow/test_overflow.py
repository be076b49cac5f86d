"""
The sinks: what is found out when they are made, and what they cost before they are used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from lambda_ric.errors import ConfigurationError
from lambda_ric.overflow import lambda_async, sqs
from lambda_ric.tasks.envelope import Envelope
from lambda_ric.tasks.sink import Sink
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.delenv(name, raising=False)


def run(source: str, *options: str) -> Any:
    """Return what *source* prints, as JSON, in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, *options, "-c", source],
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def envelope(*args: Any) -> Envelope:
    return Envelope("app:send_receipt", args, {}, "id-1")


# Made...


@pytest.mark.parametrize("url", ["", None])
def test_queue_of_an_unset_variable_is_named_as_such(url: Any) -> None:
    """The commonest mistake there is, and found before the first event."""
    with pytest.raises(ConfigurationError, match="the URL of the queue is empty: is the variable set"):
        sqs(url)


@pytest.mark.parametrize(
    "url",
    [
        "tasks",
        "arn:aws:sqs:eu-west-1:123456789012:tasks",
        "ftp://sqs.eu-west-1.amazonaws.com/1/tasks",
        "https:///1/tasks",
        "https://sqs.eu-west-1.amazonaws.com",
        "https://sqs.eu-west-1.amazonaws.com/",
        "https://sqs.eu-west-1.amazonaws.com:port/1/tasks",
        "https://sqs.eu-west-1.amazonaws.com:70000/1/tasks",
        "https://sqs.eu-west-1.amazonaws.com/1/tasks\n",
        "https://sqs.eu-west-1.amazonaws.com/1/my tasks",
        "https://sqs.eu-west-1.amazonaws.com/1/tasks?a=b",
        "https://sqs.eu-west-1.amazonaws.com/1/tâches",
    ],
)
def test_queue_needs_its_url(url: str) -> None:
    """Not a name and not an ARN; the text repeats what was given."""
    with pytest.raises(ConfigurationError) as caught:
        sqs(url, region="eu-west-1")

    assert repr(url) in str(caught.value)


def test_password_in_a_url_is_refused_and_not_repeated() -> None:
    """An error is logged."""
    with pytest.raises(ConfigurationError, match="credentials do not belong there") as caught:
        sqs(QUEUE, endpoint_url="http://me:secret@localhost")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:4566/000000000000/tasks", "http://[::1]:4566/000000000000/tasks"])
def test_region_is_asked_for_where_nothing_tells_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature needs one; Lambda sets the variable."""
    with pytest.raises(ConfigurationError, match="set AWS_REGION"):
        sqs(url)

    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert repr(sqs(url)) == f"sqs({url!r})"


@pytest.mark.parametrize(
    "host",
    [
        "sqs.eu-west-1.amazonaws.com",
        "sqs.cn-north-1.amazonaws.com.cn",
        "sqs-fips.us-gov-west-1.amazonaws.com",
        "vpce-1a2b-3c.sqs.eu-west-1.vpce.amazonaws.com",
        "eu-west-1.queue.amazonaws.com",
        "sqs.us-east-1.localhost.localstack.cloud:4566",
    ],
)
def test_region_is_read_from_the_url_of_a_queue(host: str) -> None:
    """The queue may be in another region than the function."""
    sqs(f"https://{host}/123456789012/tasks")


@pytest.mark.parametrize("group", ["my tasks", "tâches", "g" * 129])
def test_group_that_sqs_would_refuse_is_refused(group: str) -> None:
    """At once, not with every message."""
    with pytest.raises(ConfigurationError, match="is no id of a message group"):
        sqs(f"{QUEUE}.fifo", message_group_id=group)


@pytest.mark.parametrize("function", ["", None, "my function", "worker/../other", "https://example.com", "wörker"])
def test_function_needs_a_name(function: Any) -> None:
    """Nothing of it may lead to another path of the service."""
    with pytest.raises(ConfigurationError, match="name of"):
        lambda_async(function, region="eu-west-1")


@pytest.mark.parametrize("function", ["worker", "worker:$LATEST", "123456789012:function:worker"])
def test_function_without_a_region_needs_the_environment(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ARN has its own."""
    lambda_async("arn:aws:lambda:eu-west-1:123456789012:function:worker:live")
    with pytest.raises(ConfigurationError, match="set AWS_REGION"):
        lambda_async(function)

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert repr(lambda_async(function)) == f"lambda_async({function!r})"


def test_endpoint_of_the_environment_has_to_be_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every SDK reads it, that of the service before that of all."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    with pytest.raises(ConfigurationError, match="the endpoint of sqs, 'localhost:4566', is not a URL"):
        sqs(QUEUE)

    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://localhost:4566")
    sqs(QUEUE)
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    sqs(QUEUE)


def test_nothing_heavy_is_loaded_before_something_is_sent() -> None:
    """A function that never overflows pays nothing for being able to."""
    loaded = run(
        f"""
import json, sys
import lambda_ric.tasks.envelope
before = set(sys.modules)
from lambda_ric.overflow import Sink, lambda_async, sqs
for sink in sqs({QUEUE!r}), lambda_async("worker", region="eu-west-1"):
    sink.check(lambda_ric.tasks.envelope.Envelope("app:task", [], {{}}, "id-1"))
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    )

    assert {name for name in loaded if not name.startswith("lambda_ric.")} == set()
    assert "lambda_ric.overflow.service" not in loaded


# Checked...


def test_envelope_of_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    """The attribute that names the task counts, as SQS counts it; both sizes are told."""
    size = len(envelope("").encode()) + len("lambda-ric-task" + "String" + "app:send_receipt")
    sink = sqs(QUEUE, max_message_size=size + 1000)

    sink.check(envelope("x" * 1000))
    with pytest.raises(ValueError, match=f"its message has {size + 1001:,} bytes, and {size + 1000:,} are allowed"):
        sink.check(envelope("x" * 1001))


@pytest.mark.parametrize("sink", [sqs(QUEUE), lambda_async("worker", region="eu-west-1")], ids=repr)
def test_more_than_a_mebibyte_is_never_accepted(sink: Sink) -> None:
    """AWS's limit, without asking AWS."""
    sink.check(envelope("x" * 1_000_000))
    with pytest.raises(ValueError, match=r"1,048,576 are allowed"):
        sink.check(envelope("x" * 1_048_576))


def test_what_has_no_json_form_is_told_by_the_check() -> None:
    """When the task is handed over, where the mistake is."""
    with pytest.raises(TypeError, match="argument 1"):
        sqs(QUEUE).check(envelope(object()))


def test_class_of_ones_own_is_a_sink() -> None:
    """The protocol is all there is to it; deriving from it is possible, too."""

    class Mine(Sink):
        def check(self, envelope: Envelope) -> None:
            pass

        def send(self, envelopes: Any, within: float) -> list[tuple[Envelope, str]]:
            return [(envelope, "no") for envelope in envelopes]

    sink: Sink = Mine()

    assert [reason for _, reason in sink.send([envelope()], 1)] == ["no"]
