"""
Managed instances, with AWS's own runtime: several worker processes serve the events of one environment at once.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator import Answer, Emulator, Invocation, ThrottledError

CONCURRENCY = 3

SOURCE = """
    import json, os, pathlib, time

    def handler(event, context):
        here = pathlib.Path(event["meet"])
        (here / str(os.getpid())).touch()
        while len(list(here.iterdir())) < event["together"]:
            time.sleep(0.005)
        # Not by print, which awslambdaric has write the line break separately, and so maybe behind another's line.
        os.write(1, json.dumps({"requestId": context.aws_request_id, "message": event["name"]}).encode() + b"\\n")
        if event["name"] == "bad":
            raise ValueError("no")
        if event["name"] == "slow":
            time.sleep(60)
        if event["name"] == "last":
            os._exit(3)
        return {"name": event["name"], "pid": os.getpid(), "concurrency": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]}
    """

Scenario = Callable[[Emulator], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Run a scenario with an emulator whose function is `SOURCE`."""
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))
    (tmp_path / "meet").mkdir()

    def run(scenario: Scenario, **options: Any) -> None:
        async def main() -> None:
            async with Emulator(
                command=[sys.executable, "-m", "awslambdaric", "app.handler"],
                task_root=tmp_path,
                max_concurrency=CONCURRENCY,
                memory=1024,
                environment={"AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}"},
                **{"timeout": 20.0, **options},
            ) as emulator:
                await scenario(emulator)

        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            anyio.run(main)
        finally:
            os.chdir(here)

    return run


async def ended(emulator: Emulator, *names: str, together: int = 1) -> list[Invocation]:
    """Send an event for each of *names* at once, whose handlers wait for each other; return what became of them."""
    invocations = [
        emulator.invocation(json.dumps({"name": name, "meet": "meet", "together": together}).encode()) for name in names
    ]
    for invocation in invocations:
        emulator.submit(invocation)
    for invocation in invocations:
        await invocation.finished()
    return invocations


def answer(invocation: Invocation) -> Any:
    assert isinstance(invocation.answer, Answer)
    return json.loads(invocation.answer.payload)


def test_one_environment_serves_so_many_events_at_once(run: Callable[..., None]) -> None:
    """
    Each handler waits until all of them run; the answers come from as many processes.
    """

    async def scenario(emulator: Emulator) -> None:
        invocations = await ended(emulator, "a", "b", "c", together=CONCURRENCY)

        answers = [answer(invocation) for invocation in invocations]
        assert [found["name"] for found in answers] == ["a", "b", "c"]
        assert len({found["pid"] for found in answers}) == CONCURRENCY
        assert {found["concurrency"] for found in answers} == {str(CONCURRENCY)}
        assert {invocation.environment for invocation in invocations} == {1}

    run(scenario)


def test_one_event_too_many_is_throttled(run: Callable[..., None]) -> None:
    """
    The slots of one environment are all there is with a concurrency of one.
    """

    async def scenario(emulator: Emulator) -> None:
        for _ in range(CONCURRENCY):
            emulator.submit(emulator.invocation(b"{}"))
        with pytest.raises(ThrottledError):
            emulator.submit(emulator.invocation(b"{}"))

    run(scenario)


def test_error_and_timeout_of_one_event_leave_the_others_alone(run: Callable[..., None]) -> None:
    """
    Nothing is reset, and nothing is frozen.
    """

    async def scenario(emulator: Emulator) -> None:
        good, bad, slow = await ended(emulator, "good", "bad", "slow", together=CONCURRENCY)
        (after,) = await ended(emulator, "after")

        assert [invocation.status for invocation in (good, bad, slow, after)] == [
            "success",
            "error",
            "timeout",
            "success",
        ]
        assert answer(bad)["errorType"] == "ValueError"
        assert {invocation.environment for invocation in (good, bad, slow, after)} == {1}
        assert not any(invocation.reset or invocation.frozen_at for invocation in (good, bad, slow, after))

    run(scenario, timeout=2.0)


def test_line_belongs_to_the_invocation_that_it_names(run: Callable[..., None]) -> None:
    """
    The log of an environment is that of several events, mixed.
    """

    async def scenario(emulator: Emulator) -> None:
        invocations = await ended(emulator, "a", "b", "c", together=CONCURRENCY)

        for invocation in invocations:
            said = [json.loads(line.text)["message"] for line in invocation.logs if not line.platform]
            assert said == [answer(invocation)["name"]]
            kinds = [json.loads(line.text)["type"] for line in invocation.logs if line.platform]
            assert kinds == ["platform.start", "platform.report"]

    run(scenario)
