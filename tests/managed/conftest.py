"""
The runtime as an environment of Lambda Managed Instances, in the package's own emulator.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator import Answer, Emulator, Invocation

Scenario = Callable[["Environment"], Awaitable[None]]
Run = Callable[..., None]


class Environment:
    """An environment that serves many events at once."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self.directory = directory

    def send(self, event: object) -> Invocation:
        """Send an event, and return at once."""
        invocation = self.emulator.invocation(json.dumps(event).encode())
        self.emulator.submit(invocation)
        return invocation

    async def answer(self, event: object) -> Any:
        """Send an event, and return what its caller gets."""
        (answer,) = await self.answers(event)
        return answer

    async def answers(self, *events: object) -> list[Any]:
        """Send events at once, and return what their callers get."""
        return [await self.answer_of(invocation) for invocation in [self.send(event) for event in events]]

    async def answer_of(self, invocation: Invocation) -> Any:
        """Return what the caller of *invocation* gets."""
        await invocation.finished()
        assert isinstance(invocation.answer, Answer), invocation.answer
        return json.loads(invocation.answer.payload)


def said(invocation: Invocation) -> list[Any]:
    """Return what the function and the runtime have logged for *invocation*."""
    return [json.loads(line.text) for line in invocation.logs if not line.platform]


async def finished(environment: Environment, *invocations: Invocation) -> None:
    """Wait until what follows the answers of *invocations*, which have some, has been summed up in their logs."""
    while not all(any(line.get("message") == "BACKGROUND" for line in said(one)) for one in invocations):
        await environment.answer({"name": "meanwhile"})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a scenario with an environment whose function is the *source*."""

    def run(
        source: str, scenario: Scenario, *, mode: str = "", slots: int = 3, env: Any = None, **options: Any
    ) -> None:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))

        async def main() -> None:
            async with Emulator(
                command=[sys.executable, "-m", "lambda_ric", "app.handler"],
                task_root=tmp_path,
                max_concurrency=slots,
                memory=1024,
                environment={**({"AWS_LAMBDA_CONCURRENCY_MODE": mode} if mode else {}), **(env or {})},
                **{"timeout": 20.0, **options},
            ) as emulator:
                await scenario(Environment(emulator, tmp_path))

        anyio.run(main)

    return run
