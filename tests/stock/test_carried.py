"""A few of the runs of `python -m tests.benchmarks.stock`, which has a thousand."""

from __future__ import annotations

from tests.benchmarks.stock import KINDS, play


def test_work_is_never_lost_nor_waited_for_whatever_the_handlers_do() -> None:
    """They return, fail, hang, or fork; in environments that freeze, and that end after a handler that hangs."""
    result = play(30, seed=13, work_seconds=0.4, timeout=2.0)

    assert result.violations == []
    assert set(result.figures) == set(KINDS)
