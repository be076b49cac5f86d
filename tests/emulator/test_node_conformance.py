"""
AWS's own runtime for Node.js on the emulator: nobody here has written it, and it speaks to the Runtime API in its way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator import Emulator, Invocation
from tests.support import node_ric

HERE = Path(__file__).parent / "runtimes"


@pytest.fixture(scope="module", autouse=True)
def runtime() -> list[str]:
    """Build it before the first test begins."""
    return node_ric.command()


def serve(handler: str, use: Callable[[Emulator], Awaitable[None]], **options: Any) -> None:
    """Give *use* an emulator in which Node.js serves *handler*."""

    async def main() -> None:
        where: dict[str, Any] = {"command": node_ric.command(), "task_root": HERE}
        async with Emulator(f"node.{handler}", **where, memory=1024, timeout=30, **options) as emulator:
            await use(emulator)

    anyio.run(main)


async def invoke(emulator: Emulator, event: Any, **details: Any) -> Invocation:
    invocation = emulator.invocation(json.dumps(event).encode(), **details)
    emulator.submit(invocation)
    await invocation.finished()
    return invocation


def document(invocation: Invocation) -> Any:
    assert invocation.answer is not None
    return json.loads(invocation.answer.payload)


def test_events_are_answered_one_after_the_other_by_one_process() -> None:
    """
    With the context of the function, and the log of each invocation.
    """

    async def use(emulator: Emulator) -> None:
        first, second = [await invoke(emulator, {"name": name}) for name in ("Zoë", "🦀")]

        for invocation, name in ((first, "Zoë"), (second, "🦀")):
            assert document(invocation) == {"event": {"name": name}, "name": "function", "left": True}
            assert invocation.status == "success"
            (line,) = [line.text for line in invocation.logs if not line.platform]
            assert f"got {invocation.request_id}" in line
            assert invocation.frozen_at is not None
        assert second.init_started_at is None

    serve("echo", use)


def test_failing_handler_fails_its_invocation_alone() -> None:
    """
    The error document is the runtime's own, with its trace; the process goes on.
    """

    async def use(emulator: Emulator) -> None:
        for _ in range(2):
            invocation = await invoke(emulator, {})
            failed = document(invocation)

            assert (failed["errorType"], failed["errorMessage"]) == ("TypeError", "no such order")
            assert failed["trace"][0] == "TypeError: no such order"
            assert invocation.status == "error"

    serve("fail", use)


def test_stream_reaches_a_caller_that_reads_it_as_it_comes() -> None:
    """
    Whoever does not gets it in one piece.
    """

    async def use(emulator: Emulator) -> None:
        reads = emulator.invocation(b"{}", streaming=True)
        emulator.submit(reads)
        assert b"".join([chunk async for chunk in reads.chunks()]) == b"begin"
        await reads.finished()
        assert reads.status == "success"

        collects = await invoke(emulator, {})
        assert collects.answer is not None
        assert collects.answer.payload == b"begin"

    serve("stream", use)


def test_many_events_are_served_at_once_where_instances_are_managed(tmp_path: Path) -> None:
    """
    Each of the two ends only when it has met the other, which a worker of the same process serves.
    """

    async def use(emulator: Emulator) -> None:
        done: list[Any] = []

        async def call(own: str, other: str) -> None:
            event = {"own": own, "other": other, "directory": str(tmp_path)}
            done.append(document(await invoke(emulator, event)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "one", "two")
            tasks.start_soon(call, "two", "one")

        assert sorted(done) == ["one", "two"]

    # Each worker blocks a thread of a pool of four while it polls, which files need as well.
    serve("meet", use, max_concurrency=2, environment={"AWS_LAMBDA_NODEJS_WORKER_COUNT": "2"})
