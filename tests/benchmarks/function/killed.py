"""Ten tasks, half of which do not fit; each that runs appends its id to a file."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count
from typing import Any

from lambda_ric import task, wait_until
from lambda_ric.overflow import sqs

QUEUE = sqs(os.environ["TASKS_QUEUE_URL"])

if os.environ["AS"] == "producer":
    QUEUE.prepare()  # before it is copied, so that a run takes no longer than it has to

# What takes too long before the deadline is quick as the consumer.
_IN_TIME = os.environ["AS"] == "consumer"
_RAN = os.open(os.environ["RAN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _ran(number: str) -> None:
    os.write(_RAN, f"{number}\n".encode())


def handler(event: dict[str, Any], context: object) -> str:
    """Hand over what ends at once, later, never in time, and with an error."""
    numbers = (f"{event['run']}:{number}" for number in count())
    for seconds in (0, 0.02, 0.06):
        wait_until(runs_in_thread, next(numbers), seconds)
    wait_until(runs_in_loop, next(numbers), 0.04)
    wait_until(fails, next(numbers))
    for _ in range(2):
        wait_until(does_not_fit, next(numbers))
    wait_until(times_out_early, next(numbers))
    wait_until(times_out_late, next(numbers))
    wait_until(is_cut_short, next(numbers))
    return "accepted"


@task
def runs_in_thread(number: str, seconds: float) -> None:
    time.sleep(seconds)
    _ran(number)


@task
async def runs_in_loop(number: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    _ran(number)


@task
def fails(number: str) -> None:
    _ran(number)
    raise ValueError("no receipt")


@task(timeout=60, overflow=QUEUE)
def does_not_fit(number: str) -> None:
    """Go to the queue at once."""
    _ran(number)


async def _without_end(number: str) -> None:
    if not _IN_TIME:
        await asyncio.sleep(60)
    _ran(number)


@task(timeout=0.08, retries=1, backoff=0, overflow=QUEUE)
async def times_out_early(number: str) -> None:
    """Go to the queue after 80 ms, when there is no time for another attempt."""
    await _without_end(number)


@task(timeout=0.12, retries=1, backoff=0, overflow=QUEUE)
async def times_out_late(number: str) -> None:
    """Go there after 120 ms."""
    await _without_end(number)


@task(overflow=QUEUE)
async def is_cut_short(number: str) -> None:
    """Go there at the end of the time."""
    await _without_end(number)
