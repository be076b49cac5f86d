"""Fixtures: a function on AWS's own runtime, which polls as on its managed runtimes or as in images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from lambda_ric.emulator import BlockingEmulator, Emulator, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, Serve

POLLING = {"in a thread": {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}, "on the main thread": {}}
"""The variable by which AWS's runtime is told how to wait for an event."""

OnEmulator = Callable[..., Any]


@pytest.fixture
def serve(serve: Serve) -> Serve:
    """Serve as the fixture of the same name does, on AWS's runtime as it is managed."""

    def serve_by_stock_runtime(
        source: str, *events: Any, handler: str = "app.handler", env: dict[str, str] | None = None, **options: Any
    ) -> Any:
        environment = {**POLLING["in a thread"], **(env or {})}
        options = {"runtime": "awslambdaric", **options}
        return serve(source, *events, handler=handler, env=environment, arguments=(handler,), **options)

    return serve_by_stock_runtime


@pytest.fixture(params=POLLING)
def polling(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the environment for each way of polling."""
    return POLLING[request.param]


@pytest.fixture
def on_emulator(tmp_path: Path) -> OnEmulator:
    """Return an emulator, and the lines of its log, for a function on AWS's runtime, given its source."""

    @contextmanager
    def run(source: str, env: dict[str, str], **options: Any) -> Iterator[tuple[BlockingEmulator, list[str]]]:
        (tmp_path / "app.py").write_text(dedent(source))
        lines: list[str] = []
        emulator = Emulator(
            command=[sys.executable, "-m", "awslambdaric", "app.handler"],
            task_root=tmp_path,
            environment={"PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"], **env},
            on_log=lambda line: lines.append(line.text),
            **{"timeout": 20.0, **options},
        )
        with in_thread(emulator) as served:
            yield served, lines

    return run
