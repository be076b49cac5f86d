"""A few of the runs of `python -m tests.benchmarks.terminations`, which has five hundred."""

from __future__ import annotations

from tests.benchmarks.terminations import TASKS, play

RUNS = 15


def test_every_pending_task_is_in_its_queue_or_has_run_when_an_environment_is_told_to_end() -> None:
    """Whatever stage it is in, and however cold the client; how long that takes is measured by the command."""
    result = play(RUNS, seed=17, grace=None)

    assert result.violations == []
    assert result.figures["ran"] + result.figures["in the queue"] >= result.figures["answered"] * TASKS > 0
    assert result.figures["goodbyes"] == RUNS
