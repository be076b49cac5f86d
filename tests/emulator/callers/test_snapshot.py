"""
What the page has of one invocation.
"""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from lambda_ric.emulator.callers.snapshot import MAX_PREVIEW, MAX_SPANS, snapshot
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.span import Span


def invocation(event: bytes = b"{}", **fields: Any) -> Invocation:
    return Invocation(event=event, function_arn="arn", requested_at=1000.0, **fields)


def test_stages_of_an_invocation() -> None:
    """
    A time is there once it was reached, in milliseconds, and the outcome once the caller has it.
    """
    made = invocation(b'{"n": 1}', source="event", attempt=2, environment=3)
    seen: list[tuple[Any, ...]] = []

    def look() -> None:
        shown = snapshot(made)
        seen.append((shown["stage"], shown["outcome"], {name for name, time in shown["times"].items() if time}))

    look()
    made.init_started_at = 1000.5
    look()
    made.init_ended_at = 1001.0
    made.start(1001.0, timeout=3)
    look()
    made.delivery.respond(1001.25, b"17", "application/json")
    look()
    made.ended_at = made.frozen_at = 1003.0
    made.finish()
    look()

    assert seen == [
        ("waiting", None, {"requested"}),
        ("init", None, {"requested", "init_started"}),
        ("running", None, {"requested", "init_started", "init_ended", "started", "deadline"}),
        ("answered", "success", seen[2][2] | {"first_byte", "answered"}),
        ("ended", "success", seen[3][2] | {"ended", "frozen"}),
    ]
    shown = snapshot(made)
    assert (shown["source"], shown["attempt"], shown["environment"]) == ("event", 2, 3)
    assert (shown["times"]["answered"], shown["billed_ms"]) == (1001250.0, 2500)
    assert shown["event"] == {"text": '{"n": 1}', "size": 8, "truncated": False}
    assert shown["response"]["text"] == "17"


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure("Sandbox.Timedout", "Task timed out after 3.00 seconds"), "timeout"),
        (Failure("Runtime.ExitError", "Runtime exited"), "error"),
    ],
)
def test_end_by_the_platform_after_a_good_answer(failure: Failure, outcome: str) -> None:
    """
    The caller had no error, and yet the invocation failed, and says why.
    """
    made = invocation()
    made.start(1000.0, timeout=3)
    made.delivery.respond(1000.1, b"{}", "application/json")
    made.fail(1003.0, failure)
    made.finish()
    shown = snapshot(made)

    assert (shown["outcome"], shown["function_error"], shown["reset"]) == (outcome, None, True)
    assert shown["failure"] == {"type": failure.error_type, "message": failure.message}


def told(name: str, state: str, reason: str) -> dict[str, Any]:
    return {"kind": "task", "name": name, "state": state, "reason": reason}


def test_spans_are_told_with_their_states() -> None:
    """
    Why it failed, too; milliseconds since 1970, as every time; one that is still going on has no end.
    """
    made = invocation()
    made.add(
        Span("task", "send", "failed", 1000.0, 1001.5, "ValueError: no"),
        Span("task", "go", "running", 1000.0, float("nan")),
    )

    assert snapshot(made)["spans"] == [
        {**told("send", "failed", "ValueError: no"), "start": 1000000.0, "end": 1001500.0},
        {**told("go", "running", ""), "start": 1000000.0, "end": None},
    ]


def test_payloads_are_previewed() -> None:
    """
    Any bytes are an event; a long one is cut, and says so.
    """
    assert snapshot(invocation(b"\xff!"))["event"] == {"text": "\ufffd!", "size": 2, "truncated": False}

    cut = snapshot(invocation(b"x" * (MAX_PREVIEW + 1)))["event"]
    assert (len(cut["text"]), cut["size"], cut["truncated"]) == (MAX_PREVIEW, MAX_PREVIEW + 1, True)


def test_thousand_tasks_are_not_all_drawn() -> None:
    """
    What came to no good end is, at its place among the others; the rest is counted by its state.
    """
    made = invocation()
    states = ["succeeded"] * 2 * MAX_SPANS + ["failed"] + ["succeeded"] * MAX_SPANS
    made.add(*(Span("task", str(number), state, 1000.0, 1001.0) for number, state in enumerate(states)))
    shown = snapshot(made)

    assert len(shown["spans"]) == MAX_SPANS
    assert shown["spans"][-1]["state"] == "failed"
    assert shown["more_spans"] == {"succeeded": len(states) - MAX_SPANS}


# Why it failed...


def failed(document: bytes) -> Invocation:
    made = invocation()
    made.start(1000.0, timeout=3)
    made.delivery.respond(1000.1, document, "application/json", "Function.Unknown")
    return made


def test_failure_is_told_in_the_words_of_the_function() -> None:
    document = {"errorType": "LookupError", "errorMessage": "no such order", "stackTrace": []}

    assert snapshot(failed(json.dumps(document).encode()))["failure"] == {
        "type": "LookupError",
        "message": "no such order",
    }


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b"17", b"\xff", b"[" * 100_000])
def test_failure_without_a_document_is_told_in_those_of_the_platform(document: bytes) -> None:
    """
    A runtime may post anything as its error.
    """
    assert snapshot(failed(document))["failure"] == {
        "type": "Function.Unknown",
        "message": "the function answered with an error",
    }


# ...and what was streamed.


def test_streamed_response_is_shown_as_far_as_it_came() -> None:
    """
    Its caller has read it, and yet its beginning can be seen, while it goes on and afterwards.
    """
    seen = []

    async def stream() -> None:
        made = invocation(streaming=True, on_change=lambda it: seen.append(snapshot(it)["response"]))
        made.start(1000.0, timeout=3)
        made.delivery.begin(1000.1, "text/plain", streamed=True)
        for chunk in (b"be", b"gin", b"x" * MAX_PREVIEW):
            await made.delivery.send(chunk)
        made.delivery.end_stream(1000.2, None, b"")

    anyio.run(stream)

    assert [(each["text"][:5], each["size"], each["truncated"]) for each in seen[1:]] == [
        ("", 0, False),
        ("be", 2, False),
        ("begin", 5, False),
        ("begin", MAX_PREVIEW + 5, True),
        ("begin", MAX_PREVIEW + 5, True),
    ]
    assert len(seen[-1]["text"]) == MAX_PREVIEW


def test_stream_that_broke_off_has_its_reason_beside_what_was_sent() -> None:
    async def stream() -> dict[str, Any]:
        made = invocation(streaming=True)
        made.start(1000.0, timeout=3)
        made.delivery.begin(1000.1, "text/plain", streamed=True)
        await made.delivery.send(b"hello")
        made.delivery.end_stream(1000.2, "Function.Unknown", b'{"errorType": "ValueError", "errorMessage": "half-way"}')
        return snapshot(made)

    shown = anyio.run(stream)

    assert shown["response"]["text"] == "hello"
    assert shown["failure"] == {"type": "ValueError", "message": "half-way"}
