"""
One invocation as the page has it: whatever is known of it, in a bounded size.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.span import Span

# Bytes of an event or a response, characters of a log line; the page is for looking, not for copying.
MAX_PREVIEW = 16 * 1024
# Pieces of one invocation that are drawn. A thousand tasks make a picture that nobody reads.
MAX_SPANS = 100


def snapshot(invocation: Invocation) -> dict[str, Any]:
    """Return what is known of *invocation*, at any stage, ready for JSON; times are milliseconds since 1970."""
    ended, answer = invocation.ended, invocation.answer
    spans, more_spans = _worth_drawing(invocation.spans)
    return {
        "key": invocation.nonce,
        "request_id": invocation.request_id,
        "trace_id": invocation.trace_id,
        "attempt": invocation.attempt,
        "source": invocation.source,
        "environment": invocation.environment,
        "stage": _stage(invocation),
        "outcome": _outcome(invocation),
        "times": {
            "requested": milliseconds(invocation.requested_at),
            "init_started": milliseconds(invocation.init_started_at),
            "init_ended": milliseconds(invocation.init_ended_at),
            "started": milliseconds(invocation.started_at),
            "first_byte": milliseconds(invocation.first_byte_at),
            "answered": milliseconds(invocation.answered_at),
            "ended": milliseconds(invocation.ended_at) if ended else None,
            "frozen": milliseconds(invocation.frozen_at),
            "deadline": milliseconds(invocation.deadline),
        },
        "spans": [
            {
                "kind": span.kind,
                "name": span.name,
                "state": span.state,
                "start": milliseconds(span.start),
                "end": milliseconds(span.end),
                "reason": span.reason,
            }
            for span in spans
        ],
        "more_spans": more_spans,
        "function_error": answer.function_error if answer else None,
        "failure": _failure(invocation),
        "reset": invocation.reset,
        "max_memory_mb": invocation.max_memory,
        "billed_ms": invocation.billed_ms if ended and not math.isnan(invocation.duration) else None,
        "event": _preview(invocation.event),
        "response": _response(invocation),
        "content_type": invocation.content_type_of_response if answer else None,
        "streamed": invocation.response_streamed,
    }


def _worth_drawing(spans: list[Span]) -> tuple[list[Span], dict[str, int]]:
    """Return the spans that are drawn, in their order, those that came to no good end first; and how many are not."""
    if len(spans) <= MAX_SPANS:
        return spans, {}
    order = sorted(range(len(spans)), key=lambda number: spans[number].state == "succeeded")
    drawn = sorted(order[:MAX_SPANS])
    return [spans[number] for number in drawn], Counter(spans[number].state for number in order[MAX_SPANS:])


def _stage(invocation: Invocation) -> str:
    if invocation.ended:
        return "ended"
    if invocation.answered_at is not None:
        return "answered"
    if not math.isnan(invocation.started_at):
        return "running"
    return "waiting" if invocation.init_started_at is None else "init"


def _outcome(invocation: Invocation) -> str | None:
    return invocation.status if invocation.answer or invocation.failure else None


def _failure(invocation: Invocation) -> dict[str, str] | None:
    """Return why the invocation failed: in the function's own words, unless the platform ended it."""
    failure, answer = invocation.failure, invocation.answer
    if failure is None:
        return None
    told = {"type": failure.error_type, "message": failure.message}
    if answer is None or invocation.reset:
        return told
    try:
        document = json.loads(answer.error_body)
        return {"type": str(document["errorType"]), "message": str(document["errorMessage"])[:MAX_PREVIEW]}
    except (ValueError, TypeError, KeyError, RecursionError):  # the runtime may post anything as its error
        return told


def milliseconds(seconds: float | None) -> float | None:
    """Return *seconds* as the page has them; None for a time that was never reached."""
    return round(seconds * 1000, 3) if seconds is not None and math.isfinite(seconds) else None


def holds_much(invocation: Invocation) -> bool:
    """Say whether the snapshot of *invocation* is smaller than itself."""
    response = invocation.delivery.response
    size = len(invocation.event) + (len(response.payload) if response else 0) + invocation.log_size
    return size > MAX_PREVIEW or len(invocation.spans) > MAX_SPANS


def _response(invocation: Invocation) -> dict[str, Any] | None:
    """Return what the caller was sent, so far if it is a stream; what broke that off is told apart."""
    if invocation.response_streamed:
        return _preview(invocation.stream_head, invocation.stream_size)
    return _preview(invocation.answer.payload) if invocation.answer else None


def _preview(data: bytes, size: int | None = None) -> dict[str, Any]:
    """Return the beginning of *data*, which itself may be the beginning of *size* bytes."""
    text = data[:MAX_PREVIEW].decode(errors="replace")
    size = len(data) if size is None else size
    return {"text": text, "size": size, "truncated": size > MAX_PREVIEW}
