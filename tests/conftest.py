"""Fixtures: a function served by the real runtime, in its own process, against the scripted Runtime API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.tasks.policy import TASKS
from tests.support.fakes import FakeRuntimeAPI, Intercept, OnChunk, Request

ROOT = Path(__file__).parents[1]
CLEAN_ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "TZ": "UTC"}
PATIENCE = 240.0
"""Seconds after which a process, or an answer, that a test waits for is taken for hanging; less than the test's own."""


@dataclass
class Served:
    """How a run of the runtime went; *stdout* and *stderr* are decoded, `\\r` kept."""

    api: FakeRuntimeAPI
    exit_code: int
    stdout: str
    stderr: str

    @property
    def posts(self) -> list[Request]:
        return self.api.posts

    @property
    def answers(self) -> list[Any]:
        """The bodies posted, decoded."""
        return [post.json() for post in self.api.posts]

    @property
    def lines(self) -> list[str]:
        """The events on stdout."""
        return self.stdout.split("\n")[:-1]

    @property
    def summaries(self) -> list[str]:
        """The BACKGROUND lines."""
        return [line for line in self.lines if line.startswith("BACKGROUND")]

    @property
    def events(self) -> list[Any]:
        """The log, where the format is JSON."""
        return [json.loads(line) for line in self.lines]


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """
    Write *source* to app.py, serve *events* with its *handler* in a process of its own, and wait for its end.

    The runtime ends with exit code 1 when the script does: its poll for more is refused.
    """

    def serve(
        source: str,
        *events: Any,
        handler: str = "app.handler",
        env: dict[str, str] | None = None,
        intercept: Intercept | None = None,
        on_chunk: OnChunk | None = None,
        keep_chunks: bool = True,
        arguments: tuple[str, ...] = (),
        python: str = sys.executable,
        timeout: float = PATIENCE,
        pass_fds: tuple[int, ...] = (),
        runtime: str = "lambda_ric",
    ) -> Served:
        (tmp_path / "app.py").write_text(textwrap.dedent(source), encoding="utf-8")
        with FakeRuntimeAPI(*events, intercept=intercept, on_chunk=on_chunk, keep_chunks=keep_chunks) as api:
            environment = {
                **CLEAN_ENVIRONMENT,
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "LAMBDA_TASK_ROOT": str(tmp_path),
                "_HANDLER": handler,
                **(env or {}),
            }
            try:
                done = subprocess.run(
                    [python, "-m", runtime, *arguments],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    timeout=timeout,
                    pass_fds=pass_fds,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                seen = [f"{len(api.polls)} polls, {len(api.posts)} posts", error.stdout, error.stderr]
                pytest.fail(f"the process did not end in {timeout:.0f} s:\n" + "\n".join(map(str, seen)))
            return Served(api, done.returncode, done.stdout.decode(), done.stderr.decode())

    return serve


@pytest.fixture
def own_tasks() -> Iterator[None]:
    """Forget what a test has registered as a task."""
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: those who share the tests could not agree on them."""
    addressed = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if addressed:
        raise pytest.UsageError(f"parameters need ids=, for the address of an object is no name: {addressed}")
