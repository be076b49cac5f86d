"""The recipes of docs/observability.md, each deployed as it stands to an environment that freezes."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest

from lambda_ric.hooks import Hooks
from lambda_ric.testing import invoke
from tests.conftest import ROOT
from tests.proofs.observability.conftest import Deploy, Function
from tests.support.collector import Collector

PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
EVENT = {"order_id": "o-17"}

# Else they look whether each of the many libraries that are installed for these tests is there.
RECIPES["sentry"] = RECIPES["sentry"].replace("traces_", "auto_enabling_integrations=False, traces_")
DATADOG = {
    "DD_FLUSH_TO_LOG": "true",
    "DD_COLD_START_TRACING": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}
NEW_RELIC = {
    "NEW_RELIC_SERVERLESS_MODE_ENABLED": "true",
    "NEW_RELIC_ACCOUNT_ID": "1",
    "NEW_RELIC_TRUSTED_ACCOUNT_KEY": "1",
}


@pytest.fixture(autouse=True)
def nothing_yet(collector: Collector) -> None:
    collector.spans.clear()
    collector.envelopes.clear()


def run_twice(deploy: Deploy, name: str, **options: Any) -> Function:
    """Deploy a recipe, and have it invoked: the second time as a process that has been frozen."""
    function = deploy(RECIPES[name], **options)
    for _ in range(2):
        assert function.invoke(EVENT).failure is None
    return function


def test_page_has_a_recipe_for_each_of_these() -> None:
    """One that is added is to be deployed here, too."""
    assert list(RECIPES) == [
        "sentry", "opentelemetry_by_hand", "datadog_decorated", "newrelic_decorated", "powertools", "any_other",
        "library",
    ]  # fmt: skip
    assert len(re.findall(r"^```python$", PAGE, re.MULTILINE)) == len(RECIPES)


def test_sentry(deploy: Deploy, collector: Collector) -> None:
    """A trace of every invocation, and the error of the work after its response."""
    run_twice(deploy, "sentry")

    assert len(collector.transactions) == 2
    assert collector.errors == [("ConnectionError", "no receipt for o-17")] * 2


def test_opentelemetry(deploy: Deploy, collector: Collector) -> None:
    """Two spans of every invocation."""
    run_twice(deploy, "opentelemetry_by_hand")

    assert sorted(span.name for span in collector.spans) == ["function", "function", "send receipt", "send receipt"]


@pytest.mark.parametrize("handler", ["app.handler", "datadog_lambda.handler.handler"])
def test_datadog(deploy: Deploy, handler: str) -> None:
    """The span of every invocation, and the metric of its work, in the log."""
    function = run_twice(
        deploy, "datadog_decorated", handler=handler, environment={**DATADOG, "DD_LAMBDA_HANDLER": "app.handler"}
    )

    spans = [json.loads(line)["traces"][0] for line in function.log if line.startswith('{"traces"')]
    assert [[span["name"] for span in trace] for trace in spans] == [["aws.lambda"]] * 2
    assert [json.loads(line)["v"] for line in function.log if '"m":"shop.receipts"' in line] == [1, 1]


def test_new_relic(deploy: Deploy) -> None:
    """A line for each transaction: the handler's and its work's."""
    from newrelic.common.encoding_utils import serverless_payload_decode

    function = run_twice(deploy, "newrelic_decorated", environment=NEW_RELIC)

    lines = [json.loads(line) for line in function.log if "NR_LAMBDA_MONITORING" in line]
    events = [serverless_payload_decode(line[2])["data"]["analytic_event_data"][2][0][0] for line in lines]
    names = [event["name"].rpartition("/")[2] for event in events]
    assert names == ["handler", "send receipt"] * 2


def test_powertools(deploy: Deploy) -> None:
    """Both metrics in one document of every invocation, and the keys of the context in the record of its work."""
    function = run_twice(deploy, "powertools")

    documents = [json.loads(line) for line in function.log if '"_aws"' in line]
    records = [json.loads(line) for line in function.log if "receipt sent" in line]
    assert [(document["orders"], document["receipts"]) for document in documents] == [([1.0], [1.0])] * 2
    assert [record["order_id"] for record in records] == ["o-17"] * 2
    assert {record["function_name"] for record in records} == {"function"}


@pytest.mark.parametrize("name", ["any_other", "library"])
def test_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They need no library that is set up for the whole process."""
    hooks = Hooks()
    monkeypatch.setattr("lambda_ric.hooks.PROCESS_HOOKS", hooks)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(ast.parse(RECIPES[name]), name, "exec"), names)

    invoked = invoke(names["handler"], EVENT, hooks=hooks)

    assert invoked.outcome.error is None
    assert {task.state for task in invoked.tasks} == {"succeeded"}
