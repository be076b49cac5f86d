"""
An invocation as a picture: one row for each thing that happened, bars to scale.
"""

from __future__ import annotations

from dataclasses import dataclass

from .invocation import Invocation
from .span import Span

_NAME_WIDTH = 28
_STATE_WIDTH = 9
_BAR_WIDTH = 34
# Seconds; every runtime takes a moment from its answer to its next poll.
_WORTH_A_ROW = 0.01

GLYPHS = "█◆✓✗…"
"""What a terminal must be able to show, or the picture is drawn in ASCII."""

_ASCII = str.maketrans({"█": "=", "◆": "^", "✓": "+", "✗": "x", "…": "~"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a bar from *start* to *end*, or a mark at *start*."""

    name: str
    start: float
    end: float | None = None
    state: str = ""


def timeline(invocation: Invocation, *, ascii_only: bool = False) -> str:
    """
    Draw what happened to *invocation*, which must have ended.

    Times are milliseconds since the start of its init, or since the event
    was sent. The lines have no more than 100 columns.
    """
    drawn = rows(invocation)
    origin = min(row.start for row in drawn)
    length = max(row.end or row.start for row in drawn) - origin
    head = f"{f'TIMELINE {invocation.request_id}':<{_NAME_WIDTH + 22}}  0 to {length * 1000:.1f} ms"
    text = "\n".join([head, *(_draw(row, origin, length) for row in drawn)])
    return text.translate(_ASCII) if ascii_only else text


def rows(invocation: Invocation) -> list[Row]:
    """Return the rows of the picture of *invocation*, by the time when they start."""
    first, last = invocation.started_at, invocation.ended_at
    found = [
        Row(_name(span), _between(first, span.start, last), _between(first, span.end, last), span.state)
        for span in invocation.spans
    ]
    found += _unreported(invocation)
    if invocation.init_started_at is not None:
        found.append(Row("init", invocation.init_started_at, invocation.init_ended_at))
    if invocation.answered_at is not None:
        found.append(Row("response delivered", invocation.answered_at))
    if invocation.failure is not None and invocation.reset:
        found.append(Row(f"ended: {invocation.failure.error_type}", invocation.ended_at))
    if invocation.frozen_at is not None:
        found.append(Row("frozen", invocation.frozen_at))
    return sorted(found, key=lambda row: (row.start, row.end is not None))


def _unreported(invocation: Invocation) -> list[Row]:
    """Fill in what the runtime did not tell: another one than ours, or one that was killed."""
    answered_at, ended_at = invocation.answered_at or invocation.ended_at, invocation.ended_at
    missing = []
    if not any(span.kind == "handler" for span in invocation.spans) and answered_at > invocation.started_at:
        well = invocation.answer is not None and invocation.answer.function_error is None
        missing.append(Row("handler", invocation.started_at, answered_at, "succeeded" if well else "failed"))
    if not any(span.kind != "handler" for span in invocation.spans) and ended_at - answered_at >= _WORTH_A_ROW:
        missing.append(Row("after the response", answered_at, ended_at))
    return missing


def _name(span: Span) -> str:
    return span.name or span.kind if span.kind == "handler" else f"{span.kind} {span.name}"


def _between(first: float, time: float, last: float) -> float:
    return min(max(first, time), last)


def _clip(text: str, width: int) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _draw(row: Row, origin: float, length: float) -> str:
    scale = (_BAR_WIDTH - 1) / length if length else 0
    first = round((row.start - origin) * scale)
    name = _clip(row.name, _NAME_WIDTH)
    begin = f"{(row.start - origin) * 1000:.1f}"
    if row.end is None:
        bar, duration = "◆", ""
    else:
        last = round((row.end - origin) * scale)
        bar, duration = "█" * max(1, last - first + 1), f"{(row.end - row.start) * 1000:.1f}"
    mark = {"": "", "succeeded": "✓"}.get(row.state, f"✗ {_clip(row.state, _STATE_WIDTH)}")
    picture = f"{' ' * first}{bar:<{_BAR_WIDTH - first}}"
    return f"  {name:<{_NAME_WIDTH}}{begin:>10}{duration:>10}  {picture}  {mark}".rstrip()
