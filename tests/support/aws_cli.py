"""
The AWS CLI, in a virtual environment of its own: it wants other versions of its libraries than the tests do.

`python -m tests.support.aws_cli` makes it once in .cache and prints its path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.46.3"
CACHE = Path(__file__).parents[2] / ".cache" / f"aws-cli-{VERSION}"


def path() -> Path:
    """
    Return the path of the command, after installing it if it is not there yet.

    Raises:
        RuntimeError: It cannot be installed.
    """
    command = CACHE / "bin" / "aws"
    if not command.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as directory:
            _install(Path(directory))
    return command


def _install(directory: Path) -> None:
    # A folder of packages and not a virtual environment, which could not be moved into its place in one step.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", str(directory / "cli")]
    done = subprocess.run([*pip, f"awscli=={VERSION}"], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"pip could not install the AWS CLI:\n{done.stdout}{done.stderr}")
    script = directory / "cli" / "bin" / "aws"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{CACHE}" exec "{sys.executable}" -W ignore -m awscli "$@"\n')
    script.chmod(0o755)
    os.replace(directory / "cli", CACHE)


if __name__ == "__main__":
    print(path())
