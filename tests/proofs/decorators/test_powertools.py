"""Powertools for AWS Lambda: its decorators over every form of handler."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

import pytest

from tests.conftest import Serve, Served
from tests.proofs.decorators.daemons import XRayDaemon
from tests.proofs.decorators.forms import FORMS, NAMES, PAUSE
from tests.support.fakes import Event

TRACED = {"Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}

UTILITIES = f"""
import asyncio, time
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from lambda_ric import after_invoke, after_response, before_invoke, wait_until

logger = Logger(service="shop")
metrics = Metrics(namespace="shop", service="shop")
tracer = Tracer(service="shop")

@before_invoke
def tell(event, context):
    print("invocation", context.aws_request_id, flush=True)

def decorated(handler):
    return logger.inject_lambda_context(tracer.capture_lambda_handler(metrics.log_metrics(handler)))

def work(event):
    logger.info("working")
    metrics.add_metric("orders", MetricUnit.Count, event["orders"])
    if event.get("fail"):
        raise ValueError("out of stock")

PAUSE = {PAUSE}
"""

FUNCTION = UTILITIES + FORMS


def with_utilities(source: str) -> str:
    return UTILITIES + dedent(source)


def one_of_each(**event: Any) -> list[Event]:
    return [Event({"form": name, "orders": n, **event}, headers=TRACED) for n, name in enumerate(NAMES, 1)]


def metrics_of(served: Served) -> list[list[Any]]:
    """Return, for each invocation, the metrics that were flushed during it, in order."""
    invocations: list[list[Any]] = []
    for line in served.lines:
        if line.startswith("invocation"):
            invocations.append([])
        elif '"_aws"' in line:
            document = json.loads(line)
            names = [metric["Name"] for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
            invocations[-1].append({name: document[name] for name in names})
    return invocations


def logged(served: Served) -> list[Any]:
    """Return what was written by the Logger."""
    return [json.loads(line) for line in served.lines if line.startswith('{"level"')]


# Every form of handler...


def test_metrics_are_flushed_once_and_in_their_invocation(serve: Serve, xray: XRayDaemon) -> None:
    """`log_metrics` flushes when the call that it decorates has ended, and all the work is in there."""
    served = serve(FUNCTION, *one_of_each(), env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    assert metrics_of(served) == [[{"orders": [float(n)]}] for n, _ in enumerate(NAMES, 1)]
    assert [post.name for post in served.posts] == ["response"] * len(NAMES)
    assert served.stderr == ""


def test_subsegments_are_as_long_as_the_work(serve: Serve, xray: XRayDaemon) -> None:
    """`capture_lambda_handler` measures the call; each belongs to the trace of its invocation."""
    serve(FUNCTION, *one_of_each(), env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    segments = xray.segments()
    assert [segment["name"] for segment in segments] == [f"## {name}" for name in NAMES]
    assert [segment["end_time"] - segment["start_time"] >= PAUSE for segment in segments] == [True] * len(NAMES)
    assert {segment["trace_id"] for segment in segments} == {"1-5759e988-bd862e3fe1be46a994272793"}
    assert {segment["parent_id"] for segment in segments} == {"53995c3f42cd8ad8"}


def test_subsegments_know_of_the_error_that_the_caller_gets(serve: Serve, xray: XRayDaemon) -> None:
    """The same one: of a stream in its trailers, after what had been sent."""
    served = serve(FUNCTION, *one_of_each(fail=True), env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    assert [
        (segment["name"], segment["fault"], segment["cause"]["exceptions"][0]["message"]) for segment in xray.segments()
    ] == [(f"## {name}", True, "out of stock") for name in NAMES]
    assert [post.name for post in served.posts] == ["error"] * 4 + ["response"] * 2
    assert [post.json()["errorMessage"] for post in served.posts[:4]] == ["out of stock"] * 4
    assert [(post.body, post.trailers["lambda-runtime-function-error-type"]) for post in served.posts[4:]] == [
        (b"do", "Function.ValueError")
    ] * 2


def test_metrics_of_a_failed_invocation_are_flushed_too(serve: Serve, xray: XRayDaemon) -> None:
    """Powertools flushes in a `finally`."""
    served = serve(FUNCTION, *one_of_each(fail=True), env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    assert metrics_of(served) == [[{"orders": [float(n)]}] for n, _ in enumerate(NAMES, 1)]


def test_metrics_of_an_interrupted_invocation_are_flushed_too(serve: Serve, xray: XRayDaemon) -> None:
    """The soft deadline ends the call by an exception, under which `finally` runs."""
    served = serve(
        FUNCTION
        + dedent(
            """
            @decorated
            @blocking
            async def handler(event, context):
                work(event)
                await asyncio.sleep(30)
            """
        ),
        Event({"orders": 1}, headers=TRACED, timeout=1.0),
        env={"AWS_XRAY_DAEMON_ADDRESS": xray.address, "LAMBDA_RIC_SOFT_DEADLINE_MS": "900"},
    )

    assert metrics_of(served) == [[{"orders": [1.0]}]]
    assert [segment["name"] for segment in xray.segments()] == ["## handler"]
    assert [post.json()["errorType"] for post in served.posts] == ["Function.Timeout"]


def test_log_lines_carry_the_keys_of_their_invocation(serve: Serve, xray: XRayDaemon) -> None:
    """`inject_lambda_context` takes them from the context object."""
    events = one_of_each()
    served = serve(FUNCTION, *events, env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    lines = logged(served)
    assert [line["function_request_id"] for line in lines] == [event.request_id for event in events]
    assert {line["xray_trace_id"] for line in lines} == {"1-5759e988-bd862e3fe1be46a994272793"}
    assert {line["message"] for line in lines} == {"working"}


# Without @blocking, which Powertools does not support...

BARE = """
@decorated
async def handler(event, context):
    with tracer.provider.in_subsegment("work"):
        await asyncio.sleep(PAUSE)
        work(event)
    return "done"
"""

BARE_STREAM = """
@metrics.log_metrics
def handler(event, context):
    yield "do"
    work(event)
    yield "ne"
"""


@pytest.mark.parametrize("handler", [BARE, BARE_STREAM], ids=["async", "streaming"])
def test_metrics_of_a_bare_handler_come_an_invocation_late(serve: Serve, xray: XRayDaemon, handler: str) -> None:
    """The decorator sees what has not run yet: it flushes what the invocation before has left."""
    events = [Event({"orders": n}, headers=TRACED) for n in (1, 2, 3)]
    served = serve(UTILITIES + handler, *events, env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    assert metrics_of(served) == [[], [{"orders": [1.0]}], [{"orders": [2.0]}]]
    assert [post.name for post in served.posts] == ["response"] * 3


def test_subsegment_of_a_bare_async_handler_ends_before_its_work_begins(serve: Serve, xray: XRayDaemon) -> None:
    """And knows nothing of the error."""
    event = Event({"orders": 1, "fail": True}, headers=TRACED)
    served = serve(UTILITIES + BARE, event, env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    call, work = xray.segments()
    assert (call["name"], work["name"]) == ("## handler", "work")
    assert call["end_time"] <= work["start_time"]
    assert ("fault" in call, "fault" in work) == (False, True)
    assert [post.name for post in served.posts] == ["error"]


def test_tracer_itself_reads_the_stream_of_a_bare_generator(serve: Serve, xray: XRayDaemon) -> None:
    """It keeps what was returned as metadata, the X-Ray SDK lists that, and nothing is left for the caller."""
    source = with_utilities(
        """
        @tracer.capture_lambda_handler
        def handler(event, context):
            yield "done"
        """
    )
    served = serve(source, Event({}, headers=TRACED), env={"AWS_XRAY_DAEMON_ADDRESS": xray.address})

    assert [post.body for post in served.posts] == [b""]
    assert [segment["metadata"]["shop"]["handler response"] for segment in xray.segments()] == [["done"]]


# After the response...


def test_metric_added_after_the_response_is_flushed_by_the_next_invocation(serve: Serve) -> None:
    """The decorator has flushed when the response was yielded."""
    served = serve(
        with_utilities(
            """
        @metrics.log_metrics
        @after_response
        def handler(event, context):
            work(event)
            yield "done"
            metrics.add_metric("mailed", MetricUnit.Count, event["orders"])
        """
        ),
        {"orders": 1},
        {"orders": 2},
    )

    assert metrics_of(served) == [[{"orders": [1.0]}], [{"mailed": [1.0], "orders": [2.0]}]]


def test_after_invoke_hook_flushes_what_handler_and_rest_have_added(serve: Serve) -> None:
    """Instead of the decorator: once, in time, and the caller does not wait for it."""
    served = serve(
        with_utilities(
            """
        @after_invoke
        def flush(outcome):
            metrics.flush_metrics()

        @after_response
        def handler(event, context):
            work(event)
            yield "done"
            metrics.add_metric("mailed", MetricUnit.Count, event["orders"])
        """
        ),
        {"orders": 1},
        {"orders": 2},
    )

    assert metrics_of(served) == [[{"mailed": [n], "orders": [n]}] for n in (1.0, 2.0)]


def test_work_handed_over_flushes_metrics_of_its_own(serve: Serve) -> None:
    """`Metrics` is one set for the process; work that runs beside other work has an `EphemeralMetrics`."""
    served = serve(
        with_utilities(
            """
        def mail(order):
            own = EphemeralMetrics(namespace="shop", service="shop")
            own.add_metric("mailed", MetricUnit.Count, order)
            own.flush_metrics()

        async def index(order):
            own = EphemeralMetrics(namespace="shop", service="shop")
            await asyncio.sleep(0)
            own.add_metric("indexed", MetricUnit.Count, order)
            own.flush_metrics()

        @metrics.log_metrics
        def handler(event, context):
            work(event)
            wait_until(mail, event["orders"])
            wait_until(index, event["orders"])
            return "done"
        """
        ),
        {"orders": 1},
        {"orders": 2},
    )

    flushed = metrics_of(served)
    assert [invocation[0] for invocation in flushed] == [{"orders": [1.0]}, {"orders": [2.0]}]
    assert [sorted(invocation[1:], key=list) for invocation in flushed] == [
        [{"indexed": [n]}, {"mailed": [n]}] for n in (1.0, 2.0)
    ]


def test_log_keys_and_subsegments_reach_the_work_after_the_response(serve: Serve, xray: XRayDaemon) -> None:
    """In the generator, in a worker thread, in a coroutine: all of one invocation, and of its trace."""
    events = [Event(n, headers=TRACED) for n in (1, 2)]
    served = serve(
        with_utilities(
            """
        def mail():
            with tracer.provider.in_subsegment("mail"):
                logger.info("mail")

        async def index():
            with tracer.provider.in_subsegment("index"):
                logger.info("index")

        @logger.inject_lambda_context
        @tracer.capture_lambda_handler
        @after_response
        def handler(event, context):
            wait_until(mail)
            wait_until(index)
            yield "done"
            with tracer.provider.in_subsegment("rest"):
                logger.info("rest")
        """
        ),
        *events,
        env={"AWS_XRAY_DAEMON_ADDRESS": xray.address},
    )

    assert sorted((line["function_request_id"], line["message"]) for line in logged(served)) == sorted(
        (event.request_id, name) for event in events for name in ("index", "mail", "rest")
    )
    segments = xray.segments()
    assert sorted(segment["name"] for segment in segments) == sorted(["## handler", "index", "mail", "rest"] * 2)
    assert {segment["parent_id"] for segment in segments} == {"53995c3f42cd8ad8"}
    assert served.stderr == ""


# Batches and routes...

RECORDS: dict[str, Any] = {
    "Records": [
        {"messageId": name, "eventSource": "aws:sqs", "body": name, "receiptHandle": name, "attributes": {}}
        for name in ("fine", "broken", "fine-too")
    ]
}


def test_batches_are_processed_on_every_warm_start(serve: Serve) -> None:
    """`AsyncBatchProcessor` wants a synchronous handler and a current event loop that does not run."""
    served = serve(
        """
        import asyncio
        from aws_lambda_powertools.utilities.batch import (
            AsyncBatchProcessor, BatchProcessor, EventType, async_process_partial_response, process_partial_response,
        )

        one_by_one, together = BatchProcessor(EventType.SQS), AsyncBatchProcessor(EventType.SQS)

        def process(record):
            if record.body == "broken":
                raise ValueError(record.body)

        async def process_soon(record):
            await asyncio.sleep(0)
            process(record)

        def handler(event, context):
            asyncio.run(asyncio.sleep(0))  # leaves no current loop behind
            return process_partial_response(event, process, one_by_one, context)

        def async_handler(event, context):
            return async_process_partial_response(event, process_soon, together, context)

        def both(event, context):
            return [async_handler(event, context), handler(event, context)]
        """,
        RECORDS,
        RECORDS,
        handler="app.both",
    )

    assert served.answers == [[{"batchItemFailures": [{"itemIdentifier": "broken"}]}] * 2] * 2


@pytest.mark.parametrize(
    "handler",
    [
        "def handler(event, context):\n    return app.resolve(event, context)",
        "@blocking\nasync def handler(event, context):\n    return await app.resolve_async(event, context)",
        "async def handler(event, context):\n    return await app.resolve_async(event, context)",
    ],
    ids=["resolve", "resolve_async-blocking", "resolve_async"],
)
def test_routes_are_resolved(serve: Serve, handler: str) -> None:
    """Each warm start on the same loop; `asyncio.run` is not needed."""
    event = {
        "httpMethod": "GET",
        "path": "/orders/17",
        "headers": {},
        "multiValueHeaders": {},
        "requestContext": {"path": "/orders/17", "stage": "prod", "requestId": "r"},
    }
    route = "async def" if "resolve_async" in handler else "def"
    served = serve(
        "from aws_lambda_powertools.event_handler import APIGatewayRestResolver\n"
        + ("from lambda_ric import blocking\n" if "@blocking" in handler else "")
        + f'app = APIGatewayRestResolver()\n@app.get("/orders/<id>")\n{route} order(id):\n    return {{"id": id}}\n'
        + handler,
        event,
        event,
    )

    assert [(answer["statusCode"], answer["body"]) for answer in served.answers] == [(200, '{"id":"17"}')] * 2
