"""A few of the runs of `python -m tests.benchmarks.overruns`, which has two hundred."""

from __future__ import annotations

from tests.benchmarks.overruns import SINKS, play

RUNS = 3 * len(SINKS)


def test_nothing_accepted_is_called_lost_and_nothing_lost_is_called_accepted() -> None:
    """Of more tasks than can be sent in time, to sinks of every kind."""
    result = play(RUNS, seed=17)

    assert result.violations == []
    assert result.figures["runs"] == RUNS
    assert all(sum(result.figures[f"{sink}: {end}"] for sink in SINKS) for end in ("overflowed", "unconfirmed"))
