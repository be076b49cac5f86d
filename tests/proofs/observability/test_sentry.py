"""Sentry: its integration for Lambda, as its documentation has it, in an environment that freezes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.proofs.observability.conftest import Deploy, Function
from tests.support.collector import Collector

SETUP = """
import asyncio, os, time
import sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration
from lambda_ric import wait_until

# Else it imports each of the many libraries that are installed for these tests, to see whether it is there.
sentry_sdk.init(
    dsn=os.environ["SENTRY_DSN"], integrations=[AwsLambdaIntegration()], auto_enabling_integrations=False,
    traces_sample_rate=1.0,
)
"""

FUNCTION = (
    SETUP
    + """
def fail(text):
    raise ValueError(text)

async def fail_soon(text):
    await asyncio.sleep(0)
    fail(text)

def stream():
    yield "do"
    fail("streamed")

def handler(event, context):
    if event == "raised":
        fail(event)
    if event == "awaited":
        return fail_soon(event)
    if event == "streamed":
        return stream()
    if event == "handed over":
        wait_until(fail, event)
        wait_until(fail_soon, event)
    if event == "hangs":
        time.sleep(60)
    return event
"""
)


@pytest.fixture(scope="module")
def function(deploy: Deploy) -> Function:
    return deploy(FUNCTION)


@pytest.fixture(autouse=True)
def nothing_yet(collector: Collector) -> None:
    collector.envelopes.clear()


@pytest.mark.parametrize("form", ["raised", "awaited", "streamed"])
def test_error_of_a_handler_is_reported_before_the_freeze_and_after_the_answer(
    function: Function, collector: Collector, form: str
) -> None:
    """However the handler is written. Parity 136, 137."""
    invocation = function.invoke(form)

    assert invocation.failure is not None
    assert invocation.failure.error_type == "Function.ValueError"
    assert collector.errors == [("ValueError", form)]


def test_errors_of_background_work_are_reported_before_the_freeze(function: Function, collector: Collector) -> None:
    """They are logged, and flushed after the work has ended."""
    invocation = function.invoke("handed over")

    assert invocation.failure is None
    assert collector.errors == [("ValueError", "handed over")] * 2


def test_trace_of_an_invocation_is_sent_before_the_freeze(function: Function, collector: Collector) -> None:
    """With no error at all."""
    function.invoke("nothing")

    assert [transaction["contexts"]["trace"]["op"] for transaction in collector.transactions] == ["function.aws"]


def test_timeout_is_reported_before_the_process_is_replaced(deploy: Deploy, collector: Collector) -> None:
    """As an error like any other: the integration looks for an `Exception`."""
    function = deploy(FUNCTION, timeout=3, environment={"LAMBDA_RIC_SOFT_DEADLINE_MS": "2900"})

    invocation = function.invoke("hangs")

    assert invocation.answer is not None
    assert invocation.answer.function_error == "Function.Timeout"
    ((kind, text),) = collector.errors
    assert kind == "HandlerTimeoutError"
    assert text.startswith("Task timed out after")
    assert function.invoke("next").failure is None


def test_init_error_is_reported(serve: Serve, collector: Collector) -> None:
    """The integration replaces what posts it. Parity 136."""
    served = serve(SETUP + "raise ValueError('no')", env={"SENTRY_DSN": collector.dsn})

    assert collector.errors == [("ValueError", "no")]
    assert [post.path.split("/", 3)[3] for post in served.posts] == ["init/error"]
    assert served.answers[0]["errorMessage"] == "no"


def test_integration_that_took_a_module_of_the_functions_for_the_runtime_is_told_of(
    serve: Serve, tmp_path: Path, collector: Collector
) -> None:
    """It switches itself off then, and says so by a line of its own that few see."""
    (tmp_path / "bootstrap.py").write_text("")

    served = serve("import bootstrap\n" + FUNCTION, None, env={"SENTRY_DSN": collector.dsn})

    assert [line for line in served.lines if "has switched itself off" in line and "give that another name" in line]


SCRIPT = (
    FUNCTION
    + """
import lambda_ric, sys
sys.exit(lambda_ric.run(handler))
"""
)
NAMES = "from lambda_ric import awslambdaric as bootstrap\n"


def test_integration_in_a_script_is_told_of_and_works_with_the_names_of_awss_runtime(
    deploy: Deploy, collector: Collector
) -> None:
    """`__main__` is the script then, where the integration finds no runtime until the script names it."""
    without = deploy(SCRIPT, command=[sys.executable, "app.py"])
    without.invoke("raised")
    assert [line for line in without.log if NAMES.strip() in line]
    assert collector.errors == []

    with_names = deploy(NAMES + SCRIPT, command=[sys.executable, "app.py"])
    with_names.invoke("raised")
    assert collector.errors == [("ValueError", "raised")]


def test_integration_that_is_set_up_in_the_first_invocation_sends_its_errors_too(
    deploy: Deploy, collector: Collector
) -> None:
    """The module that it replaces functions of is loaded by a handler then."""
    source = SETUP.replace("sentry_sdk.init(", "def set_up(): sentry_sdk.init(") + (
        "ready = []\n"
        "def handler(event, context):\n"
        "    if not ready:\n"
        "        set_up()\n"
        "        ready.append(True)\n"
        "        return sentry_sdk.capture_exception(ValueError('first'))\n"
        "    raise ValueError('second')\n"
    )
    function = deploy(source)

    function.invoke(None)
    assert collector.errors == [("ValueError", "first")]

    function.invoke(None)
    assert collector.errors == [("ValueError", "first"), ("ValueError", "second")]


@pytest.mark.parametrize("mode", ["", "thread", "async"], ids=["unset", "thread", "async"])
def test_errors_on_managed_instances_are_reported(deploy: Deploy, collector: Collector, mode: str) -> None:
    """Of handlers of both kinds: an asynchronous one does not share a loop with others then. Parity 130."""
    options: dict[str, Any] = {"max_concurrency": 2, "memory": 2048}
    if mode:
        options["environment"] = {"AWS_LAMBDA_CONCURRENCY_MODE": mode}
    function = deploy(FUNCTION.replace("def handler(", "async def handler("), **options)

    for form in ("raised", "awaited"):
        invocation = function.invoke(form)

        assert invocation.failure is not None
    collector.wait_for(lambda: len(collector.errors) == 2)
    assert sorted(collector.errors) == [("ValueError", "awaited"), ("ValueError", "raised")]
