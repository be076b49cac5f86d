"""The circle: a handler, a task for which there is no time, its queue, and the same function as the consumer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from lambda_ric.emulator.callers.event_source import SQSEventSource
from tests.conftest import ROOT

from .queues import CREDENTIALS, Queue, queue

SOURCE = """
import json
import os

from lambda_ric import task, wait_until
from lambda_ric.overflow import sqs

@task(timeout=60, retries=1, backoff=0, overflow=sqs(os.environ["TASKS_QUEUE_URL"]))
def send_receipt(order, copies):
    print(json.dumps({"order": order, "copies": copies, "pid": os.getpid()}))
    if order == "bad":
        raise ValueError("no receipt")

def handler(event, context):
    wait_until(send_receipt, event["order"], copies=2)
    return {"pid": os.getpid()}
"""


class Consumed(Observer):
    """Keeps the invocations that came from the queue."""

    def __init__(self) -> None:
        self.invocations: list[Invocation] = []
        self.resets = 0

    def changed(self, invocation: Invocation) -> None:
        if invocation.source == "sqs" and invocation not in self.invocations:
            self.invocations.append(invocation)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.resets += kind == "reset"

    @property
    def answers(self) -> list[Any]:
        return [json.loads(invocation.answer.payload) for invocation in self.invocations if invocation.answer]

    @property
    def lines(self) -> list[str]:
        return [line.text for invocation in self.invocations for line in invocation.logs]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    (tmp_path / "app.py").write_text(SOURCE)
    return tmp_path


def around(order: str, directory: Path, tasks: Queue) -> tuple[Invocation, Consumed]:
    """Invoke the function, let it consume until the queue is empty; return how both went."""
    consumed = Consumed()
    environment = {**CREDENTIALS, "TASKS_QUEUE_URL": tasks.url}
    emulator = Emulator(
        "app.handler", task_root=directory, timeout=10, environment=environment, queue=True, observers=[consumed]
    )
    with in_thread(emulator) as running:
        handed_over = running.finished(running.invoke({"order": order}))
        assert tasks.counts() == (1, 0)
        source = SQSEventSource(tasks.url, tasks.server, emulator.function, emulator.submit, long_poll=1)
        with running.serve(sources=[source]):
            tasks.wait_until_empty()
    assert consumed.resets == 0
    return handed_over, consumed


def test_task_that_does_not_fit_is_run_by_the_same_function_out_of_the_queue(directory: Path) -> None:
    """It is not begun before, the message is deleted after it, and nothing is reported as failed."""
    with queue() as tasks:
        handed_over, consumed = around("o-17", directory, tasks)

    assert handed_over.answer is not None
    pid = json.loads(handed_over.answer.payload)["pid"]
    (summary,) = [line.text for line in handed_over.logs if line.text.startswith("BACKGROUND")]
    assert summary.endswith("Tasks: 1\tSucceeded: 0\tOverflowed: 1 (send_receipt)")
    assert consumed.answers == [{"batchItemFailures": []}]
    assert [json.loads(line) for line in consumed.lines if line.startswith("{")] == [
        {"order": "o-17", "copies": 2, "pid": pid}
    ]


def test_task_that_fails_comes_back_and_is_given_up_after_its_attempts(directory: Path) -> None:
    """The message is deleted then; the log has all that it held."""
    # A busy machine must have failed by then, or the message comes back in the middle of its first attempt.
    with queue(visibility_timeout=6) as tasks:
        _, consumed = around("bad", directory, tasks)

    attempts = [json.loads(line) for line in consumed.lines if line.startswith("{")]
    failures = [len(answer["batchItemFailures"]) for answer in consumed.answers]
    (given_up,) = [line for line in consumed.lines if "is given up" in line]
    assert len(attempts) == 2
    assert failures == [1, 0]
    assert '"args":["bad"]' in given_up
