"""What `python -m tests.benchmarks.stock` invokes on AWS's own runtime: handlers of every bad habit, with work."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lambda_ric import task, wait_until
from lambda_ric.overflow import Envelope

RECORD = Path(os.environ.get("RECORD", os.devnull))


def note(*words: object) -> None:
    # Of several processes: one write, which appends.
    with RECORD.open("a") as record:
        record.write(" ".join(map(str, words)) + "\n")


class Queue:
    def check(self, envelope: Envelope) -> None: ...

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        for envelope in envelopes:
            note("queued", envelope.args[0], time.time())
        return []


def work(number: int, seconds: float) -> None:
    time.sleep(seconds)
    note("done", number, time.time())


@task(timeout=3600, overflow=Queue())
def long_work(number: int) -> None: ...


def handler(event: dict[str, Any], context: object) -> int:
    number: int = event["number"]
    wait_until(work, number, 0 if event["kind"] == "hang" else event["seconds"])
    if event["kind"] == "fail":
        raise ValueError(number)
    if event["kind"] == "hang":
        wait_until(long_work, number)
        time.sleep(3600)
    if event["kind"] == "fork" and os.fork() == 0:
        return -1
    return number
