"""The benchmarks run and report in the shape that readers expect; the figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import hand_over, observability
from tests.benchmarks.cases import CASES
from tests.benchmarks.runtimes import EARLIER, OURS, ROOT, RUNTIMES

HOT_TARGETS = 3
STARTS_TARGETS = 1


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
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


def test_other_checkout_is_measured_beside_this_one(tmp_path: Path) -> None:
    """
    So that a change can be held against the commit before it, in one run.
    """
    figures = tmp_path / "figures.json"

    run = benchmarks(
        *("--rounds=1", "--invocations=2", "--starts=1", "--case=empty", "--runtime=lambda_ric"),
        *("--checkout", str(ROOT), "--json", str(figures)),
    )

    assert run.returncode == 0, run.stderr
    report = json.loads(figures.read_text())
    assert set(report["invocations"]["empty"]) == set(report["starts"]) == {OURS.name, EARLIER}
    assert [target["what"].endswith("beside earlier") for target in report["targets"]] == [True] * 3


def test_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    """
    Python would find the installed package instead, and compare it with itself.
    """
    run = benchmarks("--checkout", str(tmp_path))

    assert run.returncode == 2
    assert "is no checkout: it has no lambda_ric/__init__.py" in run.stderr


def test_unknown_case_is_refused_before_anything_is_measured() -> None:
    """
    A mistyped name costs no minute.
    """
    run = benchmarks("--case=emtpy")

    assert run.returncode == 2
    assert "invalid choice: 'emtpy'" in run.stderr
    assert not run.stdout


def test_first_hand_over_is_measured_beside_that_of_the_libraries() -> None:
    """
    Both really send their message, over TLS.
    """
    with hand_over.server() as (url, bundle):
        measured = [hand_over.measure(source, url, bundle) for source in (hand_over.BOTOCORE_AND_HTTPX, hand_over.OURS)]

    assert [sorted(figures) for figures in measured] == [["cpu_ms", "memory_mb"]] * 2


def test_web_applications_are_measured_beside_mangum_the_bare_application_and_another_checkout() -> None:
    """
    One table for each kind of application and body, the first row of which is that of reference.
    """
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.web", "--rounds=1", "--invocations=1"),
            *("--checkout", str(ROOT), "--only", "Starlette, 100 kB", "--only", "streamed"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    for title, rows in {"Starlette, 100 kB": 5, "FastAPI, a streamed response": 2}.items():
        table = run.stdout.partition(f"\n{title}\n\n")[2].partition("\n\n")[0].strip().splitlines()
        assert len(table) == 2 + rows
        assert table[2].count("(1.00)") == 3


def test_watched_functions_are_measured_beside_awss_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    """Two rows a library; nothing that was to be reported is lost in the freeze, on either."""
    assert observability.main(["--invocations=1", "--seconds=0"]) == 0

    rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["Sentry"] * 2 + ["OpenTelemetry"] * 2
    assert [row.split(" | ")[-1] for row in rows] == ["0 of 1 |"] * 4
