"""Fixtures: a function in an environment that freezes, and what collects its traces and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from lambda_ric.emulator import BlockingEmulator, Emulator, Invocation, in_thread
from tests.conftest import CLEAN_ENVIRONMENT
from tests.support.collector import Collector


class Function:
    """A function whose environment is frozen after every invocation; *log* has the lines of it."""

    def __init__(self, emulator: BlockingEmulator, collector: Collector, log: list[str]) -> None:
        self._emulator = emulator
        self._collector = collector
        self.log = log

    def invoke(self, event: Any) -> Invocation:
        """Have *event* answered, though the collector does not reply, and return when the environment is frozen."""
        self._collector.be_busy()
        answer = self._emulator.invoke(event)
        self._collector.be_idle()
        return self._emulator.finished(answer)


Deploy = Callable[..., Function]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """What everything is sent to."""
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def deploy(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Start a function of some *source*, with the files and variables that are named."""
    with ExitStack() as stack:

        def start(source: str, files: dict[str, str] | None = None, **options: Any) -> Function:
            directory: Path = tmp_path_factory.mktemp("function")
            for name, text in {"app.py": source, **(files or {})}.items():
                (directory / name).write_text(dedent(text), encoding="utf-8")
                (directory / name).chmod(0o755)
            log: list[str] = []
            environment = {
                "PATH": CLEAN_ENVIRONMENT["PATH"],
                "PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"],
                "SENTRY_DSN": collector.dsn,
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                **options.pop("environment", {}),
            }
            emulator = Emulator(
                options.pop("handler", "app.handler"),
                task_root=str(directory),
                timeout=options.pop("timeout", 60),
                environment=environment,
                on_log=lambda line: log.append(line.text),
                **options,
            )
            return Function(stack.enter_context(in_thread(emulator)), collector, log)

        yield start
