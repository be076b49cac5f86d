"""The second argument of a handler, checked against the one of AWS's own runtime."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from awslambdaric.bootstrap import create_lambda_context
from awslambdaric.lambda_context import LambdaContext as ContextOfAWS
from awslambdaric.lambda_runtime_exception import FaultException

from lambda_ric import LambdaContext
from lambda_ric.errors import ContextDecodeError
from lambda_ric.protocol import Invocation
from lambda_ric.replies import Reply
from tests.conftest import Serve
from tests.support.fakes import Event

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:f:live"
ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]1",
}
CLIENT_CONTEXT = {
    "client": {
        "installation_id": "i",
        "app_title": "t",
        "app_version_name": "v",
        "app_version_code": "c",
        "app_package_name": "p",
        "unknown": "dropped",
    },
    "custom": {"a": [1]},
    "env": {"locale": "de"},
    "unknown": "dropped",
}
COGNITO = {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool", "unknown": "dropped"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lambda sets for every function."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def context_of(deadline_ms: object = None, **headers: str) -> LambdaContext:
    """Return the context of an event with *headers*, underscores in their names being dashes."""
    given = {f"lambda-runtime-{name.replace('_', '-')}": value for name, value in headers.items()}
    if deadline_ms is not None:
        given["lambda-runtime-deadline-ms"] = str(deadline_ms)
    reply = Reply(200, {"lambda-runtime-aws-request-id": "r-1", **given}, b"{}")
    return LambdaContext.of(Invocation(reply, time.time()))


Make = Callable[..., Any]
MAKES = pytest.mark.parametrize("make", [LambdaContext, ContextOfAWS], ids=["ours", "awss"])

# What AWS's has, ours has...


def test_constructor_takes_what_awss_takes() -> None:
    """For code that makes contexts for its tests. Parity 104."""
    ours = list(inspect.signature(LambdaContext).parameters.values())
    theirs = list(inspect.signature(ContextOfAWS).parameters.values())

    assert [(one.name, one.default, one.kind) for one in ours] == [(one.name, one.default, one.kind) for one in theirs]


@MAKES
def test_attributes_are_those_of_awss(make: Make) -> None:
    """The memory is text. Parity 11, 105, 107, 108."""
    context = make("r-1", copy.deepcopy(CLIENT_CONTEXT), COGNITO, 1_700_000_000_000, ARN, "blue")

    assert context.aws_request_id == "r-1"
    assert context.log_group_name == "/aws/lambda/f"
    assert context.log_stream_name == "2026/11/21/[$LATEST]1"
    assert context.function_name == "f"
    assert context.memory_limit_in_mb == "128"
    assert context.function_version == "$LATEST"
    assert context.invoked_function_arn == ARN
    assert context.tenant_id == "blue"
    assert context._epoch_deadline_time_in_ms == 1_700_000_000_000
    assert context.identity.cognito_identity_id == "id"
    assert context.identity.cognito_identity_pool_id == "pool"
    assert context.client_context.custom == {"a": [1]}
    assert context.client_context.env == {"locale": "de"}
    client = context.client_context.client
    assert (client.installation_id, client.app_title, client.app_version_name) == ("i", "t", "v")
    assert (client.app_version_code, client.app_package_name) == ("c", "p")
    assert not hasattr(client, "unknown")
    assert not hasattr(context.client_context, "unknown")


@MAKES
def test_absent_things_are_none_but_there_is_always_an_identity(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parity 11, 107, 108."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name)
    context = make("r-1", None, None, 0)
    partial = make("r-1", {}, {}, 0)

    assert context.log_group_name is context.log_stream_name is context.function_name is context.tenant_id is None
    assert context.memory_limit_in_mb is context.function_version is context.invoked_function_arn is None
    assert context.client_context is None
    assert context.identity.cognito_identity_id is context.identity.cognito_identity_pool_id is None
    assert partial.client_context.custom is partial.client_context.env is partial.client_context.client is None
    assert partial.identity.cognito_identity_id is None


@pytest.mark.parametrize(("client_context", "cognito"), [(CLIENT_CONTEXT, COGNITO), (None, None), ({}, {})])
def test_repr_is_that_of_awss(client_context: Any, cognito: Any) -> None:
    """People log it. Parity 111."""
    ours, theirs = (
        make("r-1", copy.deepcopy(client_context), cognito, 0, ARN, "blue") for make in (LambdaContext, ContextOfAWS)
    )

    assert repr(ours) == repr(theirs)
    assert repr(ours).startswith("LambdaContext([aws_request_id=r-1,log_group_name=/aws/lambda/f,")


@MAKES
@pytest.mark.parametrize(("ahead", "least", "most"), [(5000, 4000, 5000), (0, 0, 0), (-5000, 0, 0)])
def test_remaining_time_is_whole_and_never_below_zero(make: Make, ahead: int, least: int, most: int) -> None:
    """Parity 106."""
    context = make("r-1", None, None, int(time.time() * 1000) + ahead)

    left = context.get_remaining_time_in_millis()

    assert type(left) is int
    assert least <= left <= most


@MAKES
@pytest.mark.parametrize(
    ("w3c", "expected"),
    [
        (
            {"traceparent": "00-1-2-01", "tracestate": "a=b", "baggage": "k=v", "other": "x"},
            {"traceparent": "00-1-2-01", "tracestate": "a=b", "baggage": "k=v"},
        ),
        ({"traceparent": 1, "baggage": "k=v"}, {"baggage": "k=v"}),
        ("text", {}),
        (None, {}),
    ],
)
def test_w3c_trace_context_is_what_the_caller_sent(make: Make, w3c: Any, expected: dict[str, str]) -> None:
    """A copy of its known, textual fields; the client context does not have it. Parity 109."""
    context = make("r-1", {"custom": {}, "w3c": w3c}, None, 0)

    context.w3c()["traceparent"] = "changed"

    assert context.w3c() == expected
    assert not hasattr(context.client_context, "w3c")
    assert make("r-1", None, None, 0).w3c() == {}


@MAKES
def test_libraries_may_assign_to_the_context(make: Make) -> None:
    """New Relic does. Parity 105."""
    context = make("r-1", None, None, 0)

    context.iopipe = "mine"
    context.function_name = "other"

    assert (context.iopipe, context.function_name) == ("mine", "other")
    assert copy.copy(context).function_name == "other"


@MAKES
def test_environment_is_read_for_each_invocation(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restored snapshot has another log stream than the environment that made it. Parity 11."""
    before = make("r-1", None, None, 0)
    assert before.log_stream_name == "2026/11/21/[$LATEST]1"
    monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", "another")
    after = make("r-2", None, None, 0)

    assert (before.log_stream_name, after.log_stream_name) == ("2026/11/21/[$LATEST]1", "another")


@MAKES
def test_log_writes_to_the_sink_of_the_first_handler_that_has_one(make: Make) -> None:
    """As it is, without a line break. Parity 110."""

    written: list[str] = []

    class Handler(logging.NullHandler):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.log_sink = self
            self.sink_name = name

        def log(self, message: str) -> None:
            written.append(f"{self.sink_name}: {message}")

    handlers = [logging.NullHandler(), Handler("first"), Handler("second")]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    try:
        make("r-1", None, None, 0).log({"a": 1})
    finally:
        for handler in handlers:
            root.removeHandler(handler)

    assert written == ["first: {'a': 1}"]


@MAKES
def test_log_without_a_sink_writes_to_stdout(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """In tests of functions, say. Parity 110."""
    make("r-1", None, None, 0).log(42)

    assert capsys.readouterr().out == "42"


# ...and what it is made from...


def test_context_says_what_the_headers_say() -> None:
    """From the wire to the attribute. Parity 34, 105, 112."""
    context = context_of(
        int(time.time() * 1000) + 60_000,
        invoked_function_arn=ARN,
        aws_tenant_id="blue",
        trace_id="Root=1-2;Sampled=1",
        invocation_id="n-1",
        client_context=json.dumps(CLIENT_CONTEXT),
        cognito_identity=json.dumps(COGNITO),
    )

    assert context.aws_request_id == "r-1"
    assert context.invoked_function_arn == ARN
    assert context.tenant_id == "blue"
    assert (context.trace_id, context.invocation_id) == ("Root=1-2;Sampled=1", "n-1")
    assert context.client_context is not None
    assert context.client_context.custom == {"a": [1]}
    assert context.identity.cognito_identity_id == "id"
    assert 50_000 < context.get_remaining_time_in_millis() <= 60_000


@pytest.mark.parametrize("deadline_ms", [None, 0, -1, "text", "1" + "0" * 30, 3600_000])
def test_unknown_deadline_leaves_the_longest_timeout_there_is(deadline_ms: object) -> None:
    """Zero, as AWS's runtime has it, makes libraries give up before they begin. Parity 50."""
    context = context_of(deadline_ms)

    assert 899_000 < context.get_remaining_time_in_millis() <= 900_000
    assert math.isfinite(context._epoch_deadline_time_in_ms)


@pytest.mark.parametrize("header", ["client_context", "cognito_identity"])
@pytest.mark.parametrize("text", ["{", "", "NaN]", "[" * 100_000, '{"a": }'])
def test_header_that_is_not_json_fails_the_invocation_with_awss_words(header: str, text: str) -> None:
    """An empty one says nothing. Parity 32, 77."""
    arguments = {"client_context": (text, None), "cognito_identity": (None, text)}[header]
    if not text:
        assert repr(context_of(**{header: text})) == repr(context_of())
        return
    with pytest.raises((FaultException, RecursionError)) as fault:
        create_lambda_context(*arguments, 0, "r-1", "", None)
    with pytest.raises(ContextDecodeError) as refusal:
        context_of(**{header: text})

    assert refusal.value.error_type == "Runtime.LambdaContextUnmarshalError"
    assert str(refusal.value) == getattr(fault.value, "msg", None)


@pytest.mark.parametrize(
    ("header", "name"), [("client_context", "Client Context"), ("cognito_identity", "Cognito Identity")]
)
@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("1", "int"), ('"text"', "str"), ("true", "bool")])
def test_header_that_is_no_object_fails_the_invocation(header: str, name: str, text: str, kind: str) -> None:
    """With its own error, not with an AttributeError. Parity 108."""
    with pytest.raises(ContextDecodeError) as refusal:
        context_of(**{header: text})

    assert str(refusal.value) == f"Unable to parse {name} JSON: expected an object, not {kind}"


@pytest.mark.parametrize("client", ["text", [1], False])
def test_client_that_is_no_object_fails_the_invocation(client: Any) -> None:
    """Parity 108."""
    with pytest.raises(ContextDecodeError) as refusal:
        context_of(client_context=json.dumps({"client": client}))

    kind = type(client).__name__
    assert str(refusal.value) == f"Unable to parse Client Context JSON: expected an object as client, not {kind}"


def test_null_headers_say_nothing() -> None:
    """They are JSON for: there is none. Parity 108."""
    assert repr(context_of(client_context="null", cognito_identity="null")) == repr(context_of())


def test_no_attribute_is_invented() -> None:
    """Powertools takes what has both *state* and *lambda_context* for a durable context. Parity 112."""
    context = context_of()

    assert not [name for name in ("state", "lambda_context", "anything") if hasattr(context, name)]


# ...in the loop.


def test_handler_gets_the_context_of_its_own_event(serve: Serve) -> None:
    """The variables of the environment, the headers, a trace id set and taken away. Parity 41, 105, 106, 112."""
    served = serve(
        """
        import os

        def handler(event, context):
            assert 0 < context.get_remaining_time_in_millis() <= 30_000
            context.log("logged\\n")
            return [context.aws_request_id, context.memory_limit_in_mb, context.trace_id, os.getenv("_X_AMZN_TRACE_ID")]
        """,
        Event(request_id="r-1", headers={"Lambda-Runtime-Trace-Id": "Root=1"}),
        Event(request_id="r-2"),
        Event(request_id="r-3", headers={"Lambda-Runtime-Trace-Id": "Root=3"}),
        env={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "_X_AMZN_TRACE_ID": "of the environment"},
    )

    assert served.answers == [
        ["r-1", "128", "Root=1", "Root=1"],
        ["r-2", "128", None, None],
        ["r-3", "128", "Root=3", "Root=3"],
    ]
    assert served.lines[:3] == ["logged"] * 3


def test_trace_id_is_kept_through_background_work(serve: Serve) -> None:
    """The X-Ray SDK reads it when a segment begins. Parity 41."""
    served = serve(
        """
        import os
        from lambda_ric import wait_until

        def work():
            print("in the background", os.environ.get("_X_AMZN_TRACE_ID"))

        def handler(event, context):
            wait_until(work)
        """,
        Event(headers={"Lambda-Runtime-Trace-Id": "Root=1"}),
        Event(),
    )

    assert [line for line in served.lines if "in the" in line] == ["in the background Root=1", "in the background None"]


def test_broken_client_context_fails_the_invocation_only(serve: Serve) -> None:
    """The error is one of the invocation. Parity 32, 77."""
    served = serve(
        "def handler(event, context): return 'fine'",
        Event(headers={"Lambda-Runtime-Client-Context": "{"}),
        Event(),
    )

    first, second = served.posts
    assert first.name == "error"
    assert first.json()["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert first.json()["errorMessage"].startswith("Unable to parse Client Context JSON: ")
    assert second.json() == "fine"
