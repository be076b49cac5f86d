"""The function under test: one handler per behaviour, told by the event what to do."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import lambda_ric
from lambda_ric import wait_until

# What background work has finished since the process started.
finished: list[str] = []


def echo(event: Any, context: Any) -> Any:
    return {
        "event": event,
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
    }


def whereabouts(event: Any, context: Any) -> dict[str, Any]:
    return {
        "process": os.getpid(),
        "user": os.getuid(),
        "group": os.getgid(),
        "directory": os.getcwd(),
        "read_only": bool(os.statvfs(".").f_flag & os.ST_RDONLY),
        "home": os.environ.get("HOME"),
        "interpreter": sys.executable,
        "runtime": lambda_ric.__file__,
    }


def meets(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return when as many events as this one says have come to its place, and print who has met."""
    come_to(event["place"], context.aws_request_id)
    while len(os.listdir(event["place"])) < event["together"]:
        time.sleep(0.005)
    print("met", event["name"])
    return {"name": event["name"], "process": os.getpid(), "request_id": context.aws_request_id}


async def meets_async(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """As `meets`, on the event loop."""
    come_to(event["place"], context.aws_request_id)
    while len(os.listdir(event["place"])) < event["together"]:  # noqa: ASYNC110  # files are no events
        await asyncio.sleep(0.005)
    print("met", event["name"])
    return {"name": event["name"], "process": os.getpid(), "request_id": context.aws_request_id}


def come_to(place: str, name: str) -> None:
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, name), "w"):
        pass


def dies(event: dict[str, Any], context: Any) -> int:
    """End the process without a word when the event says so, else name it."""
    if event["die"]:
        os._exit(3)
    return os.getpid()


def fails(event: dict[str, Any], context: Any) -> int:
    """Fail when the event says so, else name the process."""
    if event["fail"]:
        raise LookupError("no such order")
    return os.getpid()


def answers_then_writes(event: dict[str, str], context: Any) -> str:
    """Write the event's file half a second after the answer was posted."""
    wait_until(write, event["file"])
    return "answered"


def write(file: str) -> None:
    time.sleep(0.5)
    with open(file, "w") as marker:
        marker.write("written")


def answers_then_waits(event: dict[str, str], context: Any) -> list[str]:
    """Answer with the work that is finished; hand over work that ends when the event's pipe is written to."""
    if "pipe" in event:
        wait_until(wait, event["pipe"])
    return list(finished)


def wait(pipe: str) -> None:
    with open(pipe) as opened:
        finished.append(opened.read())


def repeat(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return {"process": os.getpid(), "text": "x" * event["length"]}


def streams(event: dict[str, Any], context: Any) -> Iterator[bytes]:
    """Stream two pieces, then fail with a long message when the event says so; name the process else."""
    yield b"one, "
    yield b"two"
    if event.get("fail"):
        raise ValueError("x" * 20_000)
    yield f", {os.getpid()}".encode()
