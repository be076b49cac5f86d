"""
AWS's own runtime, awslambdaric, against the scripted Runtime API: what the function's callers are used to.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import CLEAN_ENVIRONMENT, Served
from tests.support.fakes import FakeRuntimeAPI, Intercept


def serve_on_awslambdaric(
    directory: Path,
    *events: Any,
    handler: str = "app.handler",
    env: dict[str, str] | None = None,
    intercept: Intercept | None = None,
) -> Served:
    """Serve *events* with the *handler* that is in *directory*, and wait for the end."""
    with FakeRuntimeAPI(*events, intercept=intercept) as api:
        done = subprocess.run(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=directory,
            env={
                **CLEAN_ENVIRONMENT,
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                **(env or {}),
            },
            capture_output=True,
            timeout=40,
            check=False,
        )
        return Served(api, done.returncode, done.stdout.decode(), done.stderr.decode())
