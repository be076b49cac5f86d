"""Datadog: its wrapper in an environment that freezes, without its extension."""

from __future__ import annotations

import json

from tests.proofs.observability.conftest import Deploy
from tests.support.collector import Collector

FUNCTION = """
import time
from datadog_lambda.metric import lambda_metric
from datadog_lambda.wrapper import datadog_lambda_wrapper
from lambda_ric import wait_until

@datadog_lambda_wrapper
def handler(event, context):
    lambda_metric("shop.orders", 1)
    wait_until(lambda_metric, "shop.receipts", 2)
    if event == "hang":
        time.sleep(60)
    return event
"""
QUIET = {
    "DD_COLD_START_TRACING": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


def test_metrics_reach_the_api_before_the_freeze_and_after_the_answer(deploy: Deploy, collector: Collector) -> None:
    """The wrapper flushes before it returns: that is put off, and takes those of background work along."""
    environment = {**QUIET, "DD_API_KEY": "key", "DATADOG_HOST": collector.url, "DD_TRACE_ENABLED": "false"}
    function = deploy(FUNCTION, environment=environment)

    for _ in range(2):
        collector.metrics.clear()
        function.invoke("event")

        assert sorted(item for item in collector.metrics if item[0].startswith("shop.")) == [
            ("shop.orders", [1.0]),
            ("shop.receipts", [2.0]),
        ]


def test_timeout_is_an_error_of_the_span_and_in_the_count(deploy: Deploy) -> None:
    """The wrapper looks for an `Exception`, and takes anything else for its own."""
    function = deploy(
        FUNCTION, timeout=3, environment={**QUIET, "DD_FLUSH_TO_LOG": "true", "LAMBDA_RIC_SOFT_DEADLINE_MS": "2900"}
    )

    function.invoke("hang")

    lines = [json.loads(line) for line in function.log if line.startswith(('{"m"', '{"traces"'))]
    spans = [span for line in lines if "traces" in line for span in line["traces"][0]]
    assert [(span["name"], span["error"]) for span in spans] == [("aws.lambda", 1)]
    assert "Task timed out after" in spans[0]["meta"]["error.message"]
    assert [line["v"] for line in lines if line.get("m") == "aws.lambda.enhanced.errors"] == [1]
