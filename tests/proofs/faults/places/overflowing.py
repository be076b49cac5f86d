"""Two tasks that do not fit before the deadline, and go to a sink that may fail."""

from __future__ import annotations

import os
from typing import Any

from lambda_ric import on_startup, task, wait_until
from lambda_ric.overflow import sqs
from lambda_ric.tasks.sink import Sink
from tests.proofs.faults.sinks import SINKS
from tests.proofs.faults.strikes import strike


def sinks() -> tuple[Sink, Sink]:
    if "QUEUE" not in os.environ:
        fault = SINKS[os.environ["FAULT"]]
        return fault.sink, fault.another or fault.sink
    queue = sqs(os.environ["QUEUE"])
    on_startup(queue.prepare)  # else the time would go to that
    return queue, queue


first, second = sinks()


@task(name="long", timeout=3600, overflow=first)
def long(number: int) -> None:
    print("not to be run here", number)


@task(name="longer", timeout=3600, overflow=second)
def longer(number: int) -> None:
    print("not to be run here", number)


def handler(event: Any, context: Any) -> Any:
    if event == "overflow":
        wait_until(long, 1)
        wait_until(longer, 2)
    return strike(None)
