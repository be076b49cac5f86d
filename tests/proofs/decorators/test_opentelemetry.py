"""OpenTelemetry: the AwsLambdaInstrumentor around every form of handler, and spans of the function's own."""

from __future__ import annotations

import json
from datetime import datetime
from textwrap import dedent
from typing import Any

from tests.conftest import Serve, Served
from tests.proofs.decorators.forms import FORMS, NAMES, PAUSE
from tests.support.fakes import Event

SETUP = f"""
import asyncio, json, time
from opentelemetry import trace
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from lambda_ric import after_invoke, after_response, before_invoke, wait_until

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=lambda s: s.to_json(indent=None) + "\\n")))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

@before_invoke
def tell(event, context):
    print("invocation", context.aws_request_id, flush=True)

def work(event):
    with tracer.start_as_current_span("work"):
        if event.get("fail"):
            raise ValueError("out of stock")

PAUSE = {PAUSE}

def decorated(handler):
    return handler  # the instrumentor wraps what _HANDLER names
"""

FUNCTION = SETUP + FORMS + "\nAwsLambdaInstrumentor().instrument()\n"
ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": "shop"}


def one_of_each(**event: Any) -> list[Event]:
    return [Event({"form": name, **event}) for name in NAMES]


def with_setup(source: str) -> str:
    return SETUP + dedent(source)


def spans_of(served: Served) -> list[dict[str, Any]]:
    """Return, for each invocation, the spans that were exported during it, by name."""
    invocations: list[dict[str, Any]] = []
    for line in served.lines:
        if line.startswith("invocation"):
            invocations.append({})
        elif line.startswith('{"name"'):
            span = json.loads(line)
            invocations[-1][span["name"]] = span
    return invocations


def seconds(span: Any) -> float:
    began, ended = (datetime.fromisoformat(span[key]) for key in ("start_time", "end_time"))
    return (ended - began).total_seconds()


def test_spans_are_as_long_as_the_work(serve: Serve) -> None:
    """The instrumentor measures the call, and exports before it returns."""
    served = serve(FUNCTION, *one_of_each(), env=ENVIRONMENT)

    spans = spans_of(served)
    assert [sorted(exported) for exported in spans] == [["shop", "work"]] * len(NAMES)
    assert [seconds(exported["shop"]) >= PAUSE for exported in spans] == [True] * len(NAMES)
    assert [post.name for post in served.posts] == ["response"] * len(NAMES)


def test_spans_of_the_function_are_children_of_the_invocations(serve: Serve) -> None:
    """The current span is a context variable, which coroutines and generators are run with."""
    events = one_of_each()
    served = serve(FUNCTION, *events, env=ENVIRONMENT)

    spans = spans_of(served)
    assert [exported["work"]["parent_id"] for exported in spans] == [
        exported["shop"]["context"]["span_id"] for exported in spans
    ]
    assert [exported["shop"]["attributes"]["faas.invocation_id"] for exported in spans] == [
        event.request_id for event in events
    ]


def test_spans_are_found_by_coroutines_though_a_hook_has_run_one_before(serve: Serve) -> None:
    """Each coroutine sees the variables as they are when it is called, and not as the first one saw them."""
    served = serve(
        with_setup(
            """
            from lambda_ric import blocking

            @before_invoke
            async def authenticate(event, context):
                await asyncio.sleep(0)

            @blocking
            async def load(name):
                with tracer.start_as_current_span(name):
                    await asyncio.sleep(0)

            def handler(event, context):
                with tracer.start_as_current_span("first"):
                    load("in first")
                with tracer.start_as_current_span("second"):
                    load("in second")

            AwsLambdaInstrumentor().instrument()
            """
        ),
        Event({}),
        env=ENVIRONMENT,
    )

    (spans,) = spans_of(served)
    parents = {name: span["parent_id"] for name, span in spans.items()}
    ids = {name: span["context"]["span_id"] for name, span in spans.items()}
    assert [parents["first"], parents["second"]] == [ids["shop"], ids["shop"]]
    assert [parents["in first"], parents["in second"]] == [ids["first"], ids["second"]]


def test_spans_record_the_error_that_the_caller_gets(serve: Serve) -> None:
    """The same one: of a stream in its trailers."""
    served = serve(FUNCTION, *one_of_each(fail=True), env=ENVIRONMENT)

    spans = [exported["shop"] for exported in spans_of(served)]
    assert [span["status"]["status_code"] for span in spans] == ["ERROR"] * len(NAMES)
    assert [span["events"][0]["attributes"]["exception.message"] for span in spans] == ["out of stock"] * len(NAMES)
    assert [post.name for post in served.posts] == ["error"] * 4 + ["response"] * 2
    assert [post.trailers["lambda-runtime-function-error-type"] for post in served.posts[4:]] == [
        "Function.ValueError"
    ] * 2


def test_handler_that_is_loaded_through_a_wrapper_module_is_instrumented(serve: Serve, tmp_path: Any) -> None:
    """As in the OpenTelemetry layers: _HANDLER names their module, ORIG_HANDLER the function's."""
    (tmp_path / "otel_wrapper.py").write_text(
        dedent(
            """
            import importlib, os
            from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor

            AwsLambdaInstrumentor().instrument()
            module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
            lambda_handler = getattr(importlib.import_module(module), name)
            """
        )
    )
    served = serve(
        FUNCTION.replace("AwsLambdaInstrumentor().instrument()", ""),
        Event({"form": "awaited"}),
        handler="otel_wrapper.lambda_handler",
        env={**ENVIRONMENT, "ORIG_HANDLER": "app.handler"},
    )

    (spans,) = spans_of(served)
    assert sorted(spans) == ["shop", "work"]
    assert seconds(spans["shop"]) >= PAUSE


def test_span_of_a_bare_async_handler_is_as_long_as_its_work(serve: Serve) -> None:
    """The instrumentor sees a call that ends when the coroutine has, and the error."""
    served = serve(
        with_setup(
            """
            async def handler(event, context):
                with tracer.start_as_current_span("work"):
                    await asyncio.sleep(PAUSE)
                    raise ValueError("out of stock")

            AwsLambdaInstrumentor().instrument()
            """
        ),
        Event({}),
        env=ENVIRONMENT,
    )

    (spans,) = spans_of(served)
    assert seconds(spans["shop"]) >= PAUSE
    assert spans["work"]["parent_id"] == spans["shop"]["context"]["span_id"]
    assert (spans["shop"]["status"]["status_code"], spans["work"]["status"]["status_code"]) == ("ERROR", "ERROR")
    assert [post.name for post in served.posts] == ["error"]


def test_spans_after_the_response_belong_to_the_invocations_trace(serve: Serve) -> None:
    """Work handed over keeps the current span; the rest of a generator is given it. Whoever ends last exports."""
    served = serve(
        with_setup(
            """
            def mail():
                with tracer.start_as_current_span("mail"):
                    pass
                provider.force_flush()

            async def index():
                with tracer.start_as_current_span("index"):
                    await asyncio.sleep(0)
                provider.force_flush()

            @after_response
            def handler(event, context):
                span = trace.get_current_span()
                wait_until(mail)
                wait_until(index)
                yield "done"
                with tracer.start_as_current_span("rest", context=trace.set_span_in_context(span)):
                    pass

            AwsLambdaInstrumentor().instrument()
            """
        ),
        Event({}),
        Event({}),
        env=ENVIRONMENT,
    )

    invocations = spans_of(served)
    assert [sorted(spans) for spans in invocations] == [["index", "mail", "rest", "shop"]] * 2
    for spans in invocations:
        assert {spans[name]["parent_id"] for name in ("index", "mail", "rest")} == {spans["shop"]["context"]["span_id"]}
