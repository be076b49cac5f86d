"""A few of the runs of `python -m tests.benchmarks.kills`, which has a thousand."""

from __future__ import annotations

from tests.benchmarks.kills import play

RUNS = 20


def test_no_task_is_lost_but_by_the_documented_window_when_environments_are_killed() -> None:
    """What the queue has accepted runs, and the counters that are left in the log are true."""
    result = play(RUNS, seed=17)

    assert result.violations == []
    assert result.figures["runs"] == RUNS
    assert result.figures["consumed"] > 0
    assert result.figures["ran here"] > 0
