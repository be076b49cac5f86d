"""
The tables of docs/reliability.md: faults that do the same in a place are one row.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import ROOT

from . import expected, expected_queues, expected_replies
from .expected import Cell, Column
from .observing import AWS, GOES_ON, HANGS, OURS, REPLACED
from .queues import faults_of
from .replies import CALLS, REPLIES
from .strikes import FAULTS

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- tables: python -m tests.proofs.faults -->\n", "<!-- end of the tables -->\n"

PLACES = {
    "handler": "In a handler",
    "async_handler": "In an asynchronous handler",
    "asyncio_task": "In a task that an asynchronous handler awaits",
    "thread": "In a thread that a handler waits for",
    "stream_begin": "Before the first piece of a streamed response",
    "stream": "After the first piece of a streamed response",
    "async_stream": "After the first piece of a response that is streamed asynchronously",
    "thaw_hook": "In an `after_thaw` hook",
    "before_hook": "In a `before_invoke` hook",
    "after_hook": "In an `after_invoke` hook",
    "async_after_hook": "In an asynchronous `after_invoke` hook",
    "freeze_hook": "In a `before_freeze` hook",
    "rest": "In the rest of an `@after_response` handler",
    "async_rest": "In the rest of an asynchronous `@after_response` handler",
    "function_task": "In a function handed to `wait_until`",
    "coroutine_task": "In a coroutine handed to `wait_until`",
    "registered_function": "In a function with `@task`",
    "registered_coroutine": "In a coroutine function with `@task`",
    "consumer": "In a task that a message of a queue has brought",
    "startup_hook": "In an `on_startup` hook",
    "importing": "While the module is imported",
    "shutdown_hook": "In an `on_shutdown` hook",
}
SENDERS = {
    "overflow": ("The `overflow` of two tasks that do not fit", "the tasks"),
    "on_failure": ("The `on_failure` of a task that has failed", "its record"),
    "on_failure_of_a_message": ("The `on_failure` of a task that a message of a queue has brought", "its record"),
}
INIT_PLACES = ("startup_hook", "importing")
SHUTDOWN_PLACES = ("shutdown_hook",)


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
    return (
        _tables(PLACES, expected.EXPECTED, faults)
        + _tables(calls, expected_replies.EXPECTED, replies)
        + "".join(_queue_table(sender, *heading) for sender, heading in SENDERS.items())
    )


def _queue_table(sender: str, title: str, subject: str) -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, fault in faults_of(sender).items():
        cell = expected_queues.EXPECTED[sender][name]
        rows.setdefault((_answer(cell.caller), cell.tasks, _end(cell.end)), []).append(fault.title)
    lines = [["fault", "the caller saw", subject, "the process"], ["---"] * 4]
    lines += [["; ".join(titles), *outcome] for outcome, titles in rows.items()]
    return f"\n### {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


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
    return f"{', then '.join(map(_answer, cell.caller.split(', then ')))}, {_end(cell.end)}"


def _end(told: str) -> str:
    return told if told in (GOES_ON, HANGS, REPLACED) else "the process ends"


def _answer(told: str) -> str:
    what, _, error = told.rpartition(" ")
    if what not in ("error", "init error", "response broken off by"):
        return told
    if "." in error:  # the runtime's own
        return f"{what} `{error}`"
    return f"{what.removesuffix('init error').removesuffix('error')} its error".strip()
