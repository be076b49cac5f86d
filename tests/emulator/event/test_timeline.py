"""
The timeline as it is drawn.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_ric.emulator import Invocation, Span, timeline
from lambda_ric.emulator.event.failure import Failure


def ended(*spans: Span, init: bool = True) -> Invocation:
    """Return an invocation of 0.1 s until the answer, and 0.9 s after it."""
    invocation = Invocation(event=b"{}", function_arn="arn", requested_at=1000.0, request_id="the-id")
    if init:
        invocation.init_started_at, invocation.init_ended_at = 999.0, 1000.0
    invocation.start(1000.0, timeout=3)
    invocation.delivery.respond(1000.1, b"{}", "application/json")
    invocation.ended_at, invocation.frozen_at = 1001.0, 1001.0
    invocation.add(*spans)
    return invocation


HANDLER = Span("handler", "app.handler", "succeeded", 1000.0, 1000.1)
TASKS = [
    Span("task", "send_receipt", "succeeded", 1000.1, 1000.6),
    Span("task", "a_task_with_quite_a_long_name_indeed", "failed", 1000.1, 1001.0),
]


def test_timeline_shows_each_piece_to_scale() -> None:
    """
    Offsets and durations in milliseconds, a bar or a mark for each thing that happened, in order.
    """
    assert timeline(ended(HANDLER, *TASKS)).splitlines() == [
        "TIMELINE the-id                                     0 to 2000.0 ms",
        "  init                               0.0    1000.0  █████████████████",
        "  app.handler                     1000.0     100.0                  ███                 ✓",
        "  response delivered              1100.0                              ◆",
        "  task send_receipt               1100.0     500.0                    █████████         ✓",
        "  task a_task_with_quite_a_lo…    1100.0     900.0                    ████████████████  ✗ failed",
        "  frozen                          2000.0                                             ◆",
    ]


def test_timeline_in_ascii_has_the_same_shape() -> None:
    """
    A terminal that cannot show the glyphs loses nothing but their looks.
    """
    invocation = ended(HANDLER, *TASKS)
    plain = timeline(invocation, ascii_only=True)

    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in timeline(invocation).splitlines()]


def test_runtime_that_reports_no_spans_still_has_a_timeline() -> None:
    """
    What is known from outside is drawn for any runtime.
    """
    names = [line[2:30].strip() for line in timeline(ended(init=False)).splitlines()[1:]]

    assert names == ["handler", "response delivered", "after the response", "frozen"]


def test_handler_whose_name_the_runtime_does_not_know_is_called_so() -> None:
    """Where a command names it, and not the environment."""
    nameless = Span("handler", "", "succeeded", 1000.0, 1000.1)

    assert timeline(ended(nameless)).splitlines()[2].startswith("  handler  ")


def test_end_by_the_platform_is_named() -> None:
    """
    A runtime that was killed was not frozen.
    """
    invocation = ended(HANDLER)
    invocation.frozen_at = None
    invocation.fail(1001.0, Failure("Sandbox.Timedout", "Task timed out"))

    assert timeline(invocation).splitlines()[-1].split()[:3] == ["ended:", "Sandbox.Timedout", "2000.0"]


@given(
    name=st.text(max_size=60),
    start=st.floats(allow_nan=False, allow_infinity=False),
    end=st.floats(allow_nan=False, allow_infinity=False),
    state=st.text(max_size=20),
)
@settings(max_examples=50)
def test_timeline_fits_the_terminal_whatever_the_runtime_says(name: str, start: float, end: float, state: str) -> None:
    """
    Odd names and times cannot break the picture: one line for each row, at most 100 columns.
    """
    span = Span("task", name, state, start, end)
    lines = timeline(ended(HANDLER, span)).split("\n")

    assert len(lines) == 6
    assert all(line.isprintable() and len(line) <= 100 for line in lines)
