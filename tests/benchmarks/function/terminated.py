"""Forty tasks, handed over first of all; then each stage of the invocation takes its time, and the drain has no end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

from lambda_ric import after_invoke, after_response, before_freeze, on_shutdown, task, wait_until
from lambda_ric.overflow import sqs

QUEUE = sqs(os.environ["TASKS_QUEUE_URL"])

STAGE = 0.05
"""Seconds that the handler, the rest of it, and the hook after it take."""

_RAN = os.open(os.environ["RAN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _ran(what: str) -> None:
    os.write(_RAN, f"{what}\n".encode())


@task(timeout=10, overflow=QUEUE)
async def ends(number: str) -> None:
    await asyncio.sleep(0.02)
    _ran(number)


@task(timeout=10, overflow=QUEUE)
async def waits(number: str) -> None:
    await asyncio.sleep(60)


@task(timeout=10, overflow=QUEUE)
def hangs(number: str) -> None:
    time.sleep(60)


@task(timeout=60, overflow=QUEUE)
def does_not_fit(number: str) -> None:
    raise AssertionError("there was no time for it")


KINDS = (ends, waits, hangs, does_not_fit)


@after_response
def handler(event: dict[str, Any], context: object) -> Iterator[str]:
    _ran(f"{event['run']}:began")
    for number in range(40):
        wait_until(KINDS[number % len(KINDS)], f"{event['run']}:{number}")
    time.sleep(STAGE)
    yield "accepted"
    time.sleep(STAGE)


@after_invoke
def audit(outcome: object) -> None:
    time.sleep(STAGE)


@before_freeze
def rest() -> None:
    time.sleep(0.005)


@on_shutdown
def say_goodbye() -> None:
    _ran("goodbye")
