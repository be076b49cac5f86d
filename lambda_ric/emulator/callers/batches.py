"""
What all event source mappings do: batches become events, and functions report which of their records failed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_EVENT

from .backoff import FIRST_BACKOFF
from .local_service import LocalServiceError
from .notes import Note

MAX_BATCH_SIZE = 10_000
MAX_BATCHING_WINDOW = 300.0
"""In seconds."""
LONGEST_BACKOFF = 10.0
"""Seconds between tries, when the server does not answer or there is no environment; here nothing else is waiting."""

T = TypeVar("T")

_EVENT = b'{"Records":[%b]}'


def check_batch(size: int, window: float, most: int) -> None:
    """
    Check the settings of batches of *size* records, gathered in *window* seconds.

    Raises:
        ConfigurationError: There would be more than *most* in one, or the window is longer than Lambda's may be.
    """
    if not 1 <= size <= most:
        raise ConfigurationError(f"the batch size must be 1 to {most}, not {size}")
    if not 0 <= window <= MAX_BATCHING_WINDOW:
        raise ConfigurationError(f"the batching window must be 0 to {MAX_BATCHING_WINDOW:g} seconds, not {window:g}")


async def persistently(call: Callable[[], Awaitable[T]], *, note: Note, sleep: Callable[[float], Awaitable[None]]) -> T:
    """Make *call* until the server does what it is asked for; it may be started after the emulator."""
    backoff = FIRST_BACKOFF
    while True:
        try:
            return await call()
        except LocalServiceError as exc:
            if backoff == FIRST_BACKOFF:  # told once for each time that it is away
                note("retry", f"{exc}; it is tried again until the server answers", None)
            await sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)


def events_of(batch: Sequence[tuple[T, Mapping[str, Any]]]) -> Iterator[tuple[bytes, list[T]]]:
    """
    Yield the events for *batch*, of pairs of something and the record that the function gets of it.

    Each comes with its somethings. It is one event, unless that would be larger than an event may be.
    """
    records: list[bytes] = []
    part: list[T] = []
    size = 0
    for one, shown in batch:
        record = json.dumps(shown, separators=(",", ":")).encode()
        if part and size + len(record) > MAX_EVENT - len(_EVENT % b""):
            yield _EVENT % b",".join(records), part
            records, part, size = [], [], 0
        records.append(record)
        part.append(one)
        size += len(record) + 1
    if part:
        yield _EVENT % b",".join(records), part


def description(
    mapping: str, arn: str | None, function: Function, size: int, window: float, reports_failures: bool
) -> dict[str, Any]:
    """
    Return what the Lambda API tells of the event source *mapping*.

    Its batches are of *size* records at most, gathered in *window* seconds.
    """
    return {
        "UUID": mapping,
        **({} if arn is None else {"EventSourceArn": arn}),
        "FunctionArn": function.arn,
        "BatchSize": size,
        "MaximumBatchingWindowInSeconds": round(window),
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if reports_failures else [],
        "State": "Enabled",
        "StateTransitionReason": "USER_INITIATED",
    }


def reported_failures(payload: bytes, ids: set[str]) -> set[str]:
    """
    Return which of the *ids* a function's response reports as failed: all of them if the report makes no sense.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    try:
        document = json.loads(payload or b"null")
    except (ValueError, RecursionError):
        return ids
    failures = document.get("batchItemFailures") if isinstance(document, dict) else None
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return ids
    reported = set()
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in ids:
            return ids
        reported.add(identifier)
    return reported
