"""Background work that has no end before the deadline, invocation after invocation."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from tests.conftest import ROOT

SOURCE = """
import asyncio
import json
import os
import time

from lambda_ric import task, wait_until

class File:
    def check(self, envelope):
        pass

    def send(self, envelopes, within):
        with open("queue.jsonl", "a") as file:
            file.writelines(envelope.encode() + "\\n" for envelope in envelopes)
        return []

def outlives():
    time.sleep(1)

async def waits():
    await asyncio.sleep(60)

@task(timeout=60, overflow=File())
def does_not_fit(number):
    raise AssertionError("there was no time for it")

@task(overflow=File())
async def is_begun(number):
    await asyncio.sleep(60)

def handler(event, context):
    wait_until(outlives)
    wait_until(waits)
    wait_until(does_not_fit, event["number"])
    wait_until(is_begun, event["number"])
    return {"number": event["number"], "pid": os.getpid()}
"""

TIMES = 50
# Seconds: a quarter of them, 175 ms, is left to a machine that has other things to do.
TIMEOUT = 0.7
STATES = [
    "Tasks: 4",
    "Succeeded: 0",
    "Overflowed: 2 (does_not_fit, is_begun)",
    "Cancelled: 1 (waits)",
    "Abandoned: 1 (outlives)",
]


class Notes(Observer):
    """Keeps what the platform did with environments."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.kinds.append(kind)


def test_work_that_exceeds_the_budget_costs_the_environment_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One environment answers every invocation, and the log says of each piece of work how it ended.

    A thread that goes on, a coroutine, a task that is not begun and one that is: the queue gets both, the second
    as a later attempt.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(SOURCE)
    notes = Notes()
    with in_thread(Emulator("app.handler", task_root=tmp_path, timeout=TIMEOUT, observers=[notes])) as emulator:
        invocations = [emulator.finished(emulator.invoke({"number": number})) for number in range(TIMES)]

        assert notes.kinds == ["environment"]
    answers = [json.loads(invocation.answer.payload) for invocation in invocations if invocation.answer]
    summaries = [line.text for invocation in invocations for line in invocation.logs if "BACKGROUND" in line.text]
    queued = [json.loads(line) for line in (tmp_path / "queue.jsonl").read_text().splitlines()]
    assert [invocation.status for invocation in invocations] == ["success"] * TIMES
    assert [answer["number"] for answer in answers] == list(range(TIMES))
    assert len({answer["pid"] for answer in answers}) == 1
    assert [number for number, it in enumerate(invocations) if it.init_duration is not None] == [0]
    assert [summary.split("\t")[2:] for summary in summaries] == [STATES] * TIMES
    assert Counter((envelope["task"], envelope["args"][0], envelope["attempt"]) for envelope in queued) == Counter(
        (f"app:{name}", number, attempt)
        for number in range(TIMES)
        for name, attempt in (("does_not_fit", 1), ("is_begun", 2))
    )
