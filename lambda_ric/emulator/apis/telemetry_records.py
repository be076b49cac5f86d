"""
What the platform reports of an environment: the records of the Telemetry API, each with its type.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.function.function import Function

from .extension import Extension

Record = tuple[str, dict[str, Any]]
"""A type, and what belongs to it."""

ON_DEMAND = "on-demand"


# Init, which has the phase "invoke" when it is made up for inside an invocation...


def init_start(
    function: Function, instance: str, *, initialization_type: str = ON_DEMAND, phase: str = "init"
) -> Record:
    """Return the start of an init in the environment called *instance*."""
    record = {"initializationType": initialization_type, "phase": phase, **_place(function, instance)}
    return "platform.initStart", record


def init_runtime_done(
    failure: Failure | None = None, *, initialization_type: str = ON_DEMAND, phase: str = "init"
) -> Record:
    """Return the end of the runtime's own part of an init: its first poll, or why that did not come."""
    record = {"initializationType": initialization_type, "phase": phase, **_status(failure)}
    return "platform.initRuntimeDone", record


def init_report(
    duration: float, failure: Failure | None = None, *, initialization_type: str = ON_DEMAND, phase: str = "init"
) -> Record:
    """Return the end of an init that took *duration* seconds, extensions included."""
    metrics = {"durationMs": _ms(duration)}
    record = {"initializationType": initialization_type, "phase": phase, **_status(failure), "metrics": metrics}
    return "platform.initReport", record


def extension(extension: Extension) -> Record:
    """Return how *extension* came out of the init."""
    record = {"name": extension.name, "state": extension.state.value, "events": list(extension.events)}
    if extension.error_type:
        record["errorType"] = extension.error_type
    return "platform.extension", record


# ...a restore from a snapshot...


def restore_start(function: Function, instance: str) -> Record:
    """Return the start of a restore in the environment called *instance*."""
    return "platform.restoreStart", _place(function, instance)


def restore_runtime_done(failure: Failure | None = None) -> Record:
    """Return the end of the runtime's own part of a restore."""
    return "platform.restoreRuntimeDone", _status(failure)


def restore_report(duration: float, failure: Failure | None = None) -> Record:
    """Return the end of a restore that took *duration* seconds."""
    return "platform.restoreReport", {**_status(failure), "metrics": {"durationMs": _ms(duration)}}


# ...and an invocation.


def start(invocation: Invocation) -> Record:
    """Return the start of *invocation*."""
    record = {"requestId": invocation.request_id, "version": "$LATEST", "tracing": _tracing(invocation)}
    return "platform.start", record


def runtime_done(invocation: Invocation, now: float, failure: Failure | None = None) -> Record:
    """
    Return that the runtime is done with *invocation*: it has polled again, or *failure* says why it never will.

    To be called before such a failure is the answer of the invocation, which is the runtime's answer here.
    """
    metrics: dict[str, Any] = {"durationMs": _ms(now - invocation.started_at)}
    if invocation.answer is not None and not invocation.response_streamed:
        metrics["producedBytes"] = len(invocation.answer.payload)
    record = {
        "requestId": invocation.request_id,
        **_status(failure or invocation.failure),
        "tracing": _tracing(invocation),
        "spans": _response_spans(invocation, now),
        "metrics": metrics,
    }
    return "platform.runtimeDone", record


def report(invocation: Invocation, memory: int, runtime_done_at: float | None = None) -> Record:
    """
    Return the sum of *invocation*, which has ended, in a function of *memory* MB.

    *runtime_done_at* says that there were extensions, which went on after that.
    """
    metrics = {
        "durationMs": _ms(invocation.duration),
        "billedDurationMs": invocation.billed_ms,
        "memorySizeMB": memory,
        "maxMemoryUsedMB": memory if invocation.max_memory is None else invocation.max_memory,
    }
    if invocation.init_duration is not None:
        metrics["initDurationMs"] = _ms(invocation.init_duration)
    record: dict[str, Any] = {
        "requestId": invocation.request_id,
        **_status(invocation.failure),
        "tracing": _tracing(invocation),
        "metrics": metrics,
    }
    if runtime_done_at is not None:
        record["spans"] = [_span("extensionOverhead", runtime_done_at, invocation.ended_at)]
    return "platform.report", record


# The delivery itself.


def telemetry_subscription(name: str, types: Sequence[str]) -> Record:
    """Return that the extension *name* has subscribed to *types*."""
    return "platform.telemetrySubscription", {"name": name, "state": "Subscribed", "types": list(types)}


def logs_dropped(records: int, size: int, reason: str) -> Record:
    """Return that so many records, of *size* bytes in all, were not delivered."""
    return "platform.logsDropped", {"droppedBytes": size, "droppedRecords": records, "reason": reason}


def encode(time: float, kind: str, record: Mapping[str, Any] | str) -> bytes:
    """Write *record*, or a line of a log, as a subscriber gets it."""
    event = {"time": timestamp(time), "type": kind, "record": record}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


def timestamp(time: float) -> str:
    """Write *time* as the platform does, in UTC and to the millisecond."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _place(function: Function, instance: str) -> dict[str, Any]:
    return {
        "functionName": function.name,
        "functionVersion": "$LATEST",
        "instanceId": instance,
        "instanceMaxMemory": function.memory,
    }


def _status(failure: Failure | None) -> dict[str, str]:
    if failure is None:
        return {"status": "success"}
    if failure.status == "timeout":
        return {"status": "timeout"}
    status = "failure" if failure.error_type.startswith("Sandbox.") else "error"
    return {"status": status, "errorType": failure.report_type or failure.error_type}


def _tracing(invocation: Invocation) -> dict[str, str]:
    return {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id}


def _response_spans(invocation: Invocation, now: float) -> list[dict[str, Any]]:
    begun, answered = invocation.first_byte_at, invocation.answered_at
    if begun is None or answered is None:
        return []
    return [
        _span("responseLatency", invocation.started_at, begun),
        _span("responseDuration", begun, answered),
        _span("runtimeOverhead", answered, now),
    ]


def _span(name: str, start: float, end: float) -> dict[str, Any]:
    return {"name": name, "start": timestamp(start), "durationMs": _ms(end - start)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
