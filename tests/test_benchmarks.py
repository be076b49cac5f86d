"""The benchmarks run and report in the shape that readers expect; the figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.cases import CASES
from tests.benchmarks.runtimes import OURS, ROOT, RUNTIMES

HOT_TARGETS = 3
STARTS_TARGETS = 1


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_tiny_run_reports_every_case_runtime_and_target(tmp_path: Path) -> None:
    """
    A run measures each case on each runtime that can take it, and says of each target whether it was met.
    """
    figures = tmp_path / "figures.json"

    run = benchmarks("--rounds=1", "--invocations=2", "--starts=1", "--soak=20", "--json", str(figures))

    assert run.returncode == 0, run.stderr
    report = json.loads(figures.read_text())
    shared = [case for case in CASES.values() if not case.ours_alone]
    assert {case: set(by_runtime) for case, by_runtime in report["invocations"].items()} == {
        case.name: {OURS.name} if case.ours_alone else set(RUNTIMES) for case in CASES.values()
    }
    assert set(report["starts"]) == set(RUNTIMES)
    assert report["soak"]["end"]["threads"] >= 1
    assert report["soak"]["ran"] == report["soak"]["expected"]
    assert len(report["targets"]) == HOT_TARGETS * len(shared) + STARTS_TARGETS
    assert run.stdout.count("\n* ") == len(report["targets"])


def test_unknown_case_is_refused_before_anything_is_measured() -> None:
    """
    A mistyped name costs no minute.
    """
    run = benchmarks("--case=emtpy")

    assert run.returncode == 2
    assert "invalid choice: 'emtpy'" in run.stderr
    assert not run.stdout
