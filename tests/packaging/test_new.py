"""
`lambda-ric new`: projects that run, are tested and build.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lambda_ric.packaging.new_project import KINDS
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE
from tests.packaging.conftest import Run
from tests.support.projects import names_in


@pytest.mark.parametrize("kind", KINDS)
def test_new_project_passes_its_own_test(run: Run, tmp_path: Path, kind: str) -> None:
    """As it was written, with warnings as errors."""
    assert run("new", tmp_path / "shop", "--template", kind).exit_code == 0

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:ddtrace"],
        cwd=tmp_path / "shop",
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


def test_new_project_is_built_and_looked_at(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings name the handler; its tests and its notes stay at home."""
    run("new", tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")

    assert run("doctor").exit_code == 0
    assert run("build").exit_code == 0
    assert {"app.py", "bootstrap"} <= names_in(tmp_path / "shop" / "dist" / "function.zip")


def test_folder_with_files_is_left_alone(run: Run, tmp_path: Path) -> None:
    """Nothing of a project that is there is overwritten."""
    (tmp_path / "app.py").write_text("mine")

    ended = run("new", tmp_path)

    assert ended.exit_code == 1
    assert "holds something already" in ended.stderr
    assert (tmp_path / "app.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["-shop", "shop!", "ß"])
def test_name_that_is_none_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    """It becomes the project's name in pyproject.toml."""
    ended = run("new", tmp_path / name)

    assert ended.exit_code == 1
    assert f"{name!r} cannot be a project's name" in ended.stderr


def test_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    """In a line, as whatever else is wrong."""
    (tmp_path / "letter.txt").touch()

    ended = run("new", tmp_path / "letter.txt" / "shop")

    assert ended.exit_code == 1
    assert ended.stderr == f"lambda-ric new: {tmp_path / 'letter.txt' / 'shop'}: Not a directory\n"
