"""What became of background work, told to hooks, to destinations, and to CloudWatch."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric import task, wait_until
from lambda_ric.background.metrics import documents
from lambda_ric.background.report import TaskReport
from lambda_ric.background.work import ENDS, Work
from lambda_ric.hooks import Hooks
from lambda_ric.tasks.envelope import Envelope
from lambda_ric.testing import Invoked, invoke
from tests.conftest import Serve

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = [pytest.mark.timeout(method="thread"), pytest.mark.usefixtures("own_tasks")]


class Destination:
    """A sink that keeps what it is sent, or refuses it."""

    def __init__(self, refuse: str = "") -> None:
        self.taken: list[dict[str, Any]] = []
        self._refuse = refuse

    def check(self, envelope: Envelope) -> None:
        pass

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        assert within > 0
        if self._refuse:
            return [(envelope, self._refuse) for envelope in envelopes]
        self.taken += [json.loads(envelope.encode()) for envelope in envelopes]
        return []


def run(*work: Any, hooks: Hooks | None = None, timeout: float = 10.0) -> Invoked:
    """Invoke a handler that hands *work* over: functions, or tuples of one and its arguments."""

    def handler(event: Any, context: Any) -> None:
        for each in work:
            wait_until(*each) if isinstance(each, tuple) else wait_until(each)

    return invoke(handler, hooks=hooks or Hooks(), timeout=timeout)


def fails() -> None:
    raise ValueError("no")


# Hooks...


def test_hook_is_told_of_every_piece_of_work_that_was_lost() -> None:
    """Not of what succeeded, nor of what somebody cancelled on purpose."""
    over = threading.Event()
    hooks = Hooks()
    told: list[TaskReport] = []
    hooks.task_failed.append(told.append)

    async def sleeps() -> None:
        await asyncio.sleep(30)

    def hangs() -> None:
        over.wait(30)

    def handler(event: Any, context: Any) -> None:
        for work in (fails, sleeps, hangs, len, lambda: None):
            wait_until(work, *([""] if work is len else []))
        wait_until(sleeps).cancel()

    invoke(handler, hooks=hooks, timeout=1)
    over.set()

    assert [(report.name, report.state) for report in told] == [
        ("fails", "failed"),
        ("sleeps", "cancelled"),
        ("hangs", "abandoned"),
    ]
    assert isinstance(told[0].error, ValueError)
    assert (told[1].error, told[0].args) == (None, ())


def test_report_of_a_registered_task_has_its_arguments_and_attempts() -> None:
    """So that it can be sent again, or looked into."""
    hooks = Hooks()
    told: list[TaskReport] = []
    hooks.task_failed.append(told.append)

    @task(name="send", retries=2, backoff=0)
    def send(order: str, *, copy: bool) -> None:
        raise ValueError(order)

    def handler(event: Any, context: Any) -> None:
        wait_until(send, "o-17", copy=True)

    invoke(handler, hooks=hooks)

    (report,) = told
    assert (report.args, report.kwargs, report.attempts) == (("o-17",), {"copy": True}, 3)


def test_hook_that_fails_is_logged_and_the_next_one_has_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    """It is a hook like any other; asynchronous ones are awaited."""
    hooks = Hooks()
    told: list[str] = []

    async def tell(report: TaskReport) -> None:
        await asyncio.sleep(0)
        told.append(report.name)

    hooks.task_failed += [lambda report: fails(), tell]

    run(fails, hooks=hooks)

    assert told == ["fails"]
    assert len([record for record in caplog.records if "hook" in record.getMessage()]) == 1


# Destinations...


def test_destination_gets_a_record_with_the_shape_of_lambdas_own() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    destination = Destination()

    @task(name="send", retries=1, backoff=0, on_failure=destination)
    def send(order: str) -> None:
        raise ValueError("the mail service said no")

    invoked = run((send, "o-17"))

    (record,) = destination.taken
    assert record["version"] == "1.0"
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestContext"]["requestId"] == invoked.outcome.context.aws_request_id  # type: ignore[union-attr]
    assert (record["requestPayload"]["task"], record["requestPayload"]["args"]) == ("send", ["o-17"])
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert record["responsePayload"]["errorMessage"] == "the mail service said no"
    assert record["responsePayload"]["stackTrace"]


def test_destination_hears_of_a_task_that_ran_out_of_time() -> None:
    """Under another condition, and without a stack."""
    destination = Destination()

    @task(name="send", on_failure=destination)
    async def send() -> None:
        await asyncio.sleep(30)

    run(send, timeout=1)

    (record,) = destination.taken
    assert record["requestContext"]["condition"] == "TimeBudgetExceeded"
    assert record["responsePayload"] == {"errorMessage": "background task send was cancelled", "errorType": "cancelled"}


def test_record_that_no_destination_takes_is_logged_in_full(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log has it then."""

    @task(name="send", on_failure=Destination(refuse="it is full"))
    def send(order: str) -> None:
        raise ValueError("no")

    run((send, "o-17"))

    record = caplog.records[-1].getMessage()
    assert "it is full" in record
    assert json.loads(record[record.index("{") :])["requestPayload"]["args"] == ["o-17"]


def test_failure_of_a_task_whose_arguments_have_no_json_form_is_told_by_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task without a queue takes any argument; a destination cannot have it."""
    destination = Destination()

    @task(name="send", on_failure=destination)
    def send(order: object) -> None:
        raise ValueError("no")

    run((send, object()))

    assert destination.taken == []
    assert "cannot be told" in caplog.records[-1].getMessage()


# Metrics...


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(ENDS)), max_size=250))
def test_counts_always_add_up(ended: list[tuple[str, Any]]) -> None:
    """Handed over is the sum of the seven ends, in every document and over all."""
    tasks = []
    for name, state in ended:
        each = Work(name)
        each.handed_over_at = 1.0
        each.begin(2.0)
        each.end(state, 4.5)
        tasks.append(each)

    written = list(documents(tasks, "shop", "orders", "r-1", 17.5))

    assert sum(document["Tasks"] for document in written) == len(ended)
    for document in written:
        assert document["Tasks"] == sum(document[end.capitalize()] for end in ENDS)
        assert len(document["RunTime"]) == document["Tasks"] <= 100
        assert set(document["RunTime"]) == {2500.0}
        assert set(document["QueueTime"]) == {1000.0}


def test_metrics_are_documents_in_the_log_that_cloudwatch_reads(serve: Serve) -> None:
    """One for each name, whatever the format and the level of the log; every metric that is declared is there."""
    source = """
        from lambda_ric import wait_until

        def send_receipt():
            raise ValueError("no")

        def handler(event, context):
            wait_until(send_receipt)
            wait_until(len, "")
            wait_until(len, "")
    """
    env = {
        "LAMBDA_RIC_METRICS_NAMESPACE": "shop/orders",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_LOG_LEVEL": "FATAL",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
    }

    written = {document["Task"]: document for document in serve(source, None, env=env).events if "_aws" in document}

    assert set(written) == {"send_receipt", "len"}
    (directive,) = written["len"]["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "shop/orders"
    assert directive["Dimensions"] == [["FunctionName"], ["FunctionName", "Task"]]
    assert {metric["Name"] for metric in directive["Metrics"]} <= set(written["len"])
    assert written["len"]["FunctionName"] == "orders"
    assert (written["len"]["Succeeded"], written["send_receipt"]["Failed"]) == (2, 1)


def test_no_metrics_are_written_unless_they_are_asked_for(serve: Serve) -> None:
    """A log costs money."""
    source = "from lambda_ric import wait_until\ndef handler(event, context):\n    wait_until(len, '')"

    assert "_aws" not in serve(source, None).stdout
