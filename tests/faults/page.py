"""
The tables of docs/reliability.md: faults that do the same in a place are one row.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import ROOT

from . import expected, expected_replies
from .expected import Cell, Column
from .observing import AWS, GOES_ON, HANGS, OURS
from .replies import CALLS, REPLIES
from .strikes import FAULTS

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- tables: python -m tests.faults -->\n", "<!-- end of the tables -->\n"

PLACES = {
    "handler": "In a handler",
    "async_handler": "In an asynchronous handler",
    "asyncio_task": "In a task that an asynchronous handler awaits",
    "thread": "In a thread that a handler waits for",
    "stream_begin": "Before the first piece of a streamed response",
    "stream": "After the first piece of a streamed response",
    "async_stream": "After the first piece of a response that is streamed asynchronously",
    "before_hook": "In a `before_invoke` hook",
    "after_hook": "In an `after_invoke` hook",
    "async_after_hook": "In an asynchronous `after_invoke` hook",
    "freeze_hook": "In a `before_freeze` hook",
    "rest": "In the rest of an `@after_response` handler",
    "async_rest": "In the rest of an asynchronous `@after_response` handler",
    "function_task": "In a function handed to `wait_until`",
    "coroutine_task": "In a coroutine handed to `wait_until`",
    "startup_hook": "In an `on_startup` hook",
    "importing": "While the module is imported",
}
INIT_PLACES = ("startup_hook", "importing")


def with_tables(text: str) -> str:
    """Return the text of the page with the tables as the expectations are."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


def tables() -> str:
    """Return a table for each place."""
    faults = {name: fault.title for name, fault in FAULTS.items()}
    replies = {name: fault.title for name, fault in REPLIES.items()}
    calls = {name: f"The Runtime API, at {call.title}" for name, call in CALLS.items()}
    return _tables(PLACES, expected.EXPECTED, faults) + _tables(calls, expected_replies.EXPECTED, replies)


def _tables(places: Mapping[str, str], table: Mapping[str, Mapping[str, Column]], faults: Mapping[str, str]) -> str:
    alike: list[tuple[list[str], list[Column]]] = []
    for place, title in places.items():
        columns = [table[runtime][place] for runtime in (OURS, AWS) if place in table[runtime]]
        same = [titles for titles, others in alike if _told(others) == _told(columns)]
        if same:
            same[0].append(title)
        else:
            alike.append(([title], columns))
    return "".join(_table(titles, columns, faults) for titles, columns in alike)


def _told(columns: list[Column]) -> list[dict[str, str]]:
    return [{name: _outcome(cell) for name, cell in column.items()} for column in columns]


def _table(titles: list[str], columns: list[Column], faults: Mapping[str, str]) -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, title in faults.items():
        rows.setdefault(tuple(_outcome(column[name]) for column in columns), []).append(title)
    head = ["fault", OURS, AWS][: len(columns) + 1]
    lines = [head, ["---"] * len(head)]
    lines += [["; ".join(titles), *outcome] for outcome, titles in rows.items()]
    also = "".join(f", {title[0].lower()}{title[1:]}" for title in titles[1:])
    heading = f"\n### {titles[0]}\n\n" + (f"And{also[1:]}.\n\n" if also else "")
    return heading + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _outcome(cell: Cell) -> str:
    """Return what a reader wants to know: not the class of each error, nor the code of each exit."""
    end = cell.end if cell.end in (GOES_ON, HANGS) else "the process ends"
    return f"{', then '.join(map(_answer, cell.caller.split(', then ')))}, {end}"


def _answer(told: str) -> str:
    what, _, error = told.rpartition(" ")
    if what not in ("error", "init error", "response broken off by"):
        return told
    if "." in error:  # the runtime's own
        return f"{what} `{error}`"
    return f"{what.removesuffix('init error').removesuffix('error')} its error".strip()
