"""Datadog: its wrapper over every form of handler; without its extension, it writes traces and metrics to stdout."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from tests.conftest import Serve, Served
from tests.proofs.decorators.forms import FORMS, PAUSE
from tests.support.fakes import Event

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_REGION": "eu-west-1",
    "DD_FLUSH_TO_LOG": "true",
    "DD_COLD_START_TRACING": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}

SETUP = f"""
import asyncio, time
from datadog_lambda.metric import lambda_metric
from datadog_lambda.wrapper import datadog_lambda_wrapper
from ddtrace import tracer
from lambda_ric import after_response, before_invoke

@before_invoke
def tell(event, context):
    print("invocation", context.aws_request_id, flush=True)

decorated = datadog_lambda_wrapper

def work(event):
    with tracer.trace("work"):
        lambda_metric("shop.orders", event["orders"])
        if event.get("fail"):
            raise ValueError("out of stock")

PAUSE = {PAUSE}
"""

FUNCTION = SETUP + FORMS
NAMES = ["plain", "continued", "awaited", "streamed", "awaited_and_streamed"]


def one_of_each(**event: Any) -> list[Event]:
    return [Event({"form": name, "orders": n, **event}) for n, name in enumerate(NAMES, 1)]


def written(served: Served) -> list[dict[str, Any]]:
    """Return, for each invocation, what was written during it: spans and metrics by name."""
    invocations: list[dict[str, Any]] = []
    for line in served.lines:
        if line.startswith("invocation"):
            invocations.append({})
        elif line.startswith('{"m"'):
            metric = json.loads(line)
            invocations[-1][metric["m"]] = metric["v"]
        elif line.startswith('{"traces"'):
            invocations[-1] |= {span["name"]: span for trace in json.loads(line)["traces"] for span in trace}
    return invocations


def test_spans_are_as_long_as_the_work_which_is_part_of_them(serve: Serve) -> None:
    """The wrapper measures the call, and writes before it returns."""
    events = one_of_each()
    served = serve(FUNCTION, *events, env=ENVIRONMENT)

    invocations = written(served)
    assert [names["aws.lambda"]["meta"]["request_id"] for names in invocations] == [e.request_id for e in events]
    assert [names["aws.lambda"]["duration"] >= PAUSE * 1e9 for names in invocations] == [True] * len(NAMES)
    assert [names["work"]["parent_id"] for names in invocations] == [
        names["aws.lambda"]["span_id"] for names in invocations
    ]
    assert [names["shop.orders"] for names in invocations] == [n for n, _ in enumerate(NAMES, 1)]
    assert [post.name for post in served.posts] == ["response"] * len(NAMES)


def test_errors_are_recorded_and_fail_the_invocation(serve: Serve) -> None:
    """The same error: of a stream in its trailers."""
    served = serve(FUNCTION, *one_of_each(fail=True), env=ENVIRONMENT)

    invocations = written(served)
    assert [names["aws.lambda"]["meta"]["error.message"] for names in invocations] == ["out of stock"] * len(NAMES)
    assert [names["aws.lambda.enhanced.errors"] for names in invocations] == [1] * len(NAMES)
    assert [post.name for post in served.posts] == ["error"] * 3 + ["response"] * 2
    assert [post.trailers["lambda-runtime-function-error-type"] for post in served.posts[3:]] == [
        "Function.ValueError"
    ] * 2


def test_wrapper_of_the_handler_itself_sees_all_of_a_bare_async_one(serve: Serve) -> None:
    """What is called by it lasts until the work is done, and its error is counted."""
    served = serve(
        SETUP
        + dedent(
            """
            @datadog_lambda_wrapper
            async def handler(event, context):
                await asyncio.sleep(PAUSE)
                work(event)
            """
        ),
        Event({"orders": 1, "fail": True}),
        env=ENVIRONMENT,
    )

    (names,) = written(served)
    assert names["aws.lambda"]["duration"] >= PAUSE * 1e9
    assert names["work"]["parent_id"] == names["aws.lambda"]["span_id"]
    assert (names["aws.lambda"]["error"], names["aws.lambda.enhanced.errors"]) == (1, 1)
    assert [post.name for post in served.posts] == ["error"]


def test_handler_that_is_loaded_through_datadogs_own_is_wrapped(serve: Serve) -> None:
    """As with their layer: _HANDLER names theirs, DD_LAMBDA_HANDLER the function's."""
    served = serve(
        SETUP + "\ndef decorated(handler): return handler\n" + FORMS,
        Event({"form": "awaited", "orders": 3}),
        handler="datadog_lambda.handler.handler",
        env={**ENVIRONMENT, "DD_LAMBDA_HANDLER": "app.handler"},
    )

    (names,) = written(served)
    assert names["aws.lambda"]["duration"] >= PAUSE * 1e9
    assert served.answers == ["done"]
