"""
The first screen of the README: what somebody does who has it and Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lambda_ric.packaging.new_project import create
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT
from tests.support.projects import make_wheel

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the commands of the first screen."""
    shown = re.search(r"^```shell\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown is not None
    return [line for line in shown[1].splitlines() if line]


def test_function_of_the_readme_is_the_one_that_new_writes(tmp_path: Path) -> None:
    """So what is read is what is run."""
    create(tmp_path / "shop", "fastapi")
    shown = re.search(r"^```python\n# app.py\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    assert shown is not None
    assert (tmp_path / "shop" / "app.py").read_text().partition("\n\n")[2] == shown[1]


def test_function_is_run_tested_and_zipped_in_eight_commands(tmp_path: Path, offline: Path) -> None:
    """They are run as they stand, after the two that install, for which this environment and an empty wheel stand."""
    make_wheel(offline, "fastapi", "1.0", {"fastapi/__init__.py": ""})
    make, install, *rest = commands()
    assert len(commands()) <= 8
    assert (make, install) == (
        "python3 -m venv .venv && . .venv/bin/activate",
        "pip install '.[build]' fastapi pytest",
    )

    done = subprocess.run(
        ["/bin/sh", "-ec", "\n".join(rest)],
        cwd=tmp_path,
        env={**os.environ, **CLEAN_ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert '{\\"accepted\\":\\"o-17\\"}' in done.stdout
    assert done.stderr.index("  response delivered") < done.stderr.index("  task POST /orders/o-17")
    assert "1 passed" in done.stdout
    assert (tmp_path / "shop" / "dist" / "function.zip").exists()
