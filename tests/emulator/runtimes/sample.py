"""A function whose handlers say what a runtime gave them; any Python runtime may serve it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

# What is left behind writes the times of its doing here.
beats: list[float] = []
loop = asyncio.new_event_loop()
tasks: list[asyncio.Task[None]] = []

log = logging.getLogger("app")


def echo(event: Any, context: Any) -> Any:
    return event


def tell(event: Any, context: Any) -> Any:
    client = context.client_context
    return {
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "version": context.function_version,
        "memory": int(context.memory_limit_in_mb),
        "log_group": context.log_group_name,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "trace_id": os.environ.get("_X_AMZN_TRACE_ID"),
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "client": client and [client.client.installation_id, client.custom, client.env],
        "tenant_id": context.tenant_id,
    }


def fail(event: Any, context: Any) -> Any:
    if event["fail"]:
        raise LookupError("no order named Zoë")
    return os.getpid()


def say(event: Any, context: Any) -> Any:
    print("printed: Zoë")
    print("to stderr", file=sys.stderr)
    log.warning("logged")


def repeat(event: Any, context: Any) -> Any:
    return "x" * event["length"]


def measure(event: Any, context: Any) -> Any:
    return len(event)


def misbehave(event: Any, context: Any) -> Any:
    match event["by"]:
        case "a result that is not JSON":
            return {1, 2}
        case "hanging":
            time.sleep(60)
        case "exiting":
            os._exit(event["code"])


def beat_on() -> None:
    while True:
        beats.append(time.time())
        time.sleep(0.001)


async def beat_on_in_a_task() -> None:
    while True:
        beats.append(time.time())
        await asyncio.sleep(0.001)


def leave_behind(event: Any, context: Any) -> Any:
    """Start something that never ends, and return its times once there is a new one."""
    known = len(beats)
    if not known and event["a"] == "thread":
        threading.Thread(target=beat_on, daemon=True).start()
    if not known and event["a"] == "task":
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(beat_on_in_a_task(), loop)
    while len(beats) == known:
        time.sleep(0.001)
    return {"process": os.getpid(), "beats": beats[:]}


def leave_unawaited(event: Any, context: Any) -> Any:
    """Start a task on a loop that runs for the handler alone, as a hurried `asyncio.run` would."""
    before = len(beats)
    if not before:
        tasks.append(loop.create_task(beat_on_in_a_task()))
    loop.run_until_complete(asyncio.sleep(0.01))
    return {"before": before, "after": len(beats)}


def write(event: Any, context: Any) -> Any:
    Path(event["file"]).write_text(event["text"])
