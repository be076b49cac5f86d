"""
What is logged and printed by many invocations at once, line by line.

`python -m tests.benchmarks.managed` does the same with 100,000 lines.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lambda_ric.context import InvocationScope, current_invocation
from lambda_ric.managed.lines import AttributedLines
from tests.benchmarks.managed import MODES, Mode, count_mistakes


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.name))
def test_no_line_names_another_invocation(mode: Mode, tmp_path: Path) -> None:
    """Records, and lines that are printed in parts while others print."""
    assert asyncio.run(count_mistakes(mode, 8, 400, tmp_path)) == {"lines": 400, "mistakes": 0}


class Scope(InvocationScope):
    """An invocation as its log knows it."""

    __slots__ = ()

    def __init__(self, request_id: str, tenant_id: str | None = None) -> None:
        self.request_id = request_id
        self.tenant_id = tenant_id
        self.trace_id = None
        self._values = None


def test_line_becomes_an_event_that_names_its_invocation_and_json_stays_as_it_is(tmp_path: Path) -> None:
    """Half a line is held back until the invocation ends."""
    one, other = Scope("id-1", "blue"), Scope("id-2")
    with (tmp_path / "log").open("w") as file:
        lines = AttributedLines(file, None)
        lines.write("before\n")
        for scope, text in ((one, "half of "), (other, "whole\nhalf"), (one, 'one\n{"own": 1}\n'), (one, "rest")):
            token = current_invocation.set(scope)
            lines.write(text)
            lines.flush()
            current_invocation.reset(token)
        lines.end_lines_of(other)
        lines.end_lines_of(one)
        del lines  # it closes what it writes to

    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [{key: value for key, value in event.items() if key not in ("timestamp", "level")} for event in events]
    assert told == [
        {"message": "before"},
        {"message": "whole", "requestId": "id-2"},
        {"message": "half of one", "requestId": "id-1", "tenantId": "blue"},
        {"own": 1},
        {"message": "half", "requestId": "id-2"},
        {"message": "rest", "requestId": "id-1", "tenantId": "blue"},
    ]
    assert all(event.get("level", "INFO") == "INFO" for event in events)


def test_line_that_only_looks_like_json_is_no_event_of_its_own(tmp_path: Path) -> None:
    """The platform would take it for text."""
    with (tmp_path / "log").open("w") as file:
        AttributedLines(file, None).write("{no json}\n")

    assert json.loads((tmp_path / "log").read_text())["message"] == "{no json}"
