"""OpenTelemetry: its instrumentor, by hand and by its wrapper script, in an environment that freezes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.cli import main
from tests.conftest import Serve
from tests.proofs.observability.conftest import Deploy, Function
from tests.support.collector import Collector

HANDLER = """
import asyncio, time
from opentelemetry import trace
from lambda_ric import wait_until

tracer = trace.get_tracer("shop")

def mail():
    with tracer.start_as_current_span("mail"):
        pass

async def later():
    with tracer.start_as_current_span("work"):
        await asyncio.sleep(0)

def handler(event, context):
    if event == "fail":
        raise ValueError(event)
    if event == "hang":
        time.sleep(60)
    if event == "await":
        return later()
    wait_until(mail)
    return event
"""

BY_HAND = (
    """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
"""
    + HANDLER
    + "\nAwsLambdaInstrumentor().instrument()\n"
)

# What the layers' script does: https://github.com/open-telemetry/opentelemetry-lambda
OTEL_INSTRUMENT = f"""\
#!/bin/sh
export ORIG_HANDLER="$_HANDLER" _HANDLER=otel_wrapper.lambda_handler
export PYTHONPATH="$LAMBDA_RUNTIME_DIR:$PYTHONPATH"
exec {Path(sys.executable).parent}/opentelemetry-instrument "$@"
"""
OTEL_WRAPPER = """
import importlib, os
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor

AwsLambdaInstrumentor().instrument()
module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(importlib.import_module(module), name)
"""


@pytest.fixture(scope="module")
def function(deploy: Deploy) -> Function:
    return deploy(BY_HAND)


@pytest.fixture(autouse=True)
def nothing_yet(collector: Collector) -> None:
    collector.spans.clear()


def collected(collector: Collector) -> dict[str, Any]:
    """Return the spans by name."""
    return {span.name: span for span in collector.spans}


def test_spans_of_handler_and_background_work_are_exported_before_the_freeze_and_after_the_answer(
    function: Function, collector: Collector
) -> None:
    """The instrumentor flushes before it returns; that is put off, and its caller does not wait. Parity 140."""
    function.invoke("event")

    spans = collected(collector)
    assert sorted(spans) == ["function", "mail"]
    assert spans["mail"].parent_span_id == spans["function"].span_id


def test_span_of_an_asynchronous_handler_lasts_as_long_as_its_work(function: Function, collector: Collector) -> None:
    """The instrumentor sees one plain call."""
    function.invoke("await")

    spans = collected(collector)
    assert spans["work"].parent_span_id == spans["function"].span_id
    assert spans["function"].end_time_unix_nano >= spans["work"].end_time_unix_nano


def test_error_of_a_handler_is_in_its_span(function: Function, collector: Collector) -> None:
    """And reaches the caller all the same."""
    invocation = function.invoke("fail")

    (span,) = collector.spans
    assert invocation.failure is not None
    assert (span.status.code, span.events[0].attributes[0].value.string_value) == (2, "ValueError")


def test_timeout_is_an_error_in_the_span_which_is_exported_before_the_process_is_replaced(
    deploy: Deploy, collector: Collector
) -> None:
    """The instrumentor looks for an `Exception`, and does not flush after anything else."""
    function = deploy(BY_HAND, timeout=3, environment={"LAMBDA_RIC_SOFT_DEADLINE_MS": "2900"})

    function.invoke("hang")

    (span,) = collector.spans
    assert span.status.code == 2
    assert "Task timed out after" in str(span.events)


def test_wrapper_script_of_the_layer_works_around_bootstrap(
    deploy: Deploy, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing of OpenTelemetry in the function: the script starts what it is given as a command. Parity 140."""
    main(["bootstrap"])
    files = {
        "bootstrap": capsys.readouterr().out,
        "otel-instrument": OTEL_INSTRUMENT,
        "otel_wrapper.py": OTEL_WRAPPER,
    }
    function = deploy(
        HANDLER,
        files,
        command=["./bootstrap"],
        environment={
            "AWS_LAMBDA_EXEC_WRAPPER": "./otel-instrument",
            "LAMBDA_RIC_PYTHON": sys.executable,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            # Those of the many other libraries that are installed for these tests.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*",
        },
    )

    function.invoke("event")

    assert sorted(collected(collector)) == ["function", "mail"]


def test_command_of_the_distribution_starts_the_runtime_of_an_image(deploy: Deploy, collector: Collector) -> None:
    """It imports and instruments the handler before the runtime begins. Parity 140."""
    command = Path(sys.executable).parent / "opentelemetry-instrument"
    function = deploy(
        HANDLER,
        command=[str(command), sys.executable, "-m", "lambda_ric"],
        environment={
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        },
    )

    for event, names in {"event": ["function", "mail"], "await": ["function", "work"]}.items():
        collector.spans.clear()
        function.invoke(event)

        assert sorted(collected(collector)) == names


@pytest.mark.parametrize(
    "source",
    [
        BY_HAND,
        BY_HAND.replace("trace.set_tracer_provider(provider)", "").replace(
            "instrument()", "instrument(tracer_provider=provider)"
        ),
    ],
    ids=["global", "given"],
)
def test_provider_that_the_instrumentor_flushes_is_flushed_before_the_freeze(
    deploy: Deploy, collector: Collector, source: str
) -> None:
    """The global one, or that which it was given; after the answer in both cases."""
    function = deploy(source)

    for _ in range(2):
        collector.spans.clear()
        function.invoke("fail")

        assert [span.name for span in collector.spans] == ["function"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            HANDLER + "\nfrom opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor\n"
            "AwsLambdaInstrumentor().instrument()\n",
            "makes spans that go nowhere",
        ),
        (BY_HAND + "\ndef handler(event, context): return event\n", "has not wrapped the handler"),
    ],
    ids=["no SDK", "another handler"],
)
def test_instrumentor_that_can_do_nothing_is_told_of_at_init(serve: Serve, source: str, told: str) -> None:
    """By one warning, and not for every event."""
    served = serve(source, None, None, env={"AWS_LAMBDA_FUNCTION_NAME": "shop"})

    assert len([line for line in served.lines if told in line]) == 1
