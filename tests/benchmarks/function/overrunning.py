"""Tasks that are still at work when the time is up, for sinks of every kind, none of which is quick."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

from lambda_ric import task, wait_until
from lambda_ric.overflow import Envelope, Sink, lambda_async, sqs

QUEUE = os.environ["TASKS_QUEUE_URL"]
ENDPOINT = QUEUE.rpartition("/123456789012")[0]


class Own:
    """A sink that takes ten at a time, as slowly as the others, and looks at no clock."""

    def __init__(self) -> None:
        self._file = os.open(os.environ["RAN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def check(self, envelope: Envelope) -> None: ...

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        for start in range(0, len(envelopes), 10):
            time.sleep(0.03)
            ten = "".join(f"{envelope.args[0]}\n" for envelope in envelopes[start : start + 10])
            os.write(self._file, ten.encode())
        return []


def overrunning(name: str, sink: Sink) -> Any:
    @task(name=name, overflow=sink)
    async def job(number: str) -> None:
        await asyncio.sleep(60)

    return job


JOBS = {
    "sqs": overrunning("sqs", sqs(QUEUE)),
    "fifo": overrunning("fifo", sqs(f"{QUEUE}.fifo")),
    "lambda": overrunning("lambda", lambda_async("worker", endpoint_url=ENDPOINT)),
    "own": overrunning("own", Own()),
}


def handler(event: dict[str, Any], context: object) -> None:
    for number in range(event["tasks"]):
        wait_until(JOBS[event["sink"]], f"{event['run']}:{number}")
