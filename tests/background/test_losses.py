"""Lost work is told: one error for each piece that its time has cut off or dropped, with the reason and the remedy."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_ric import after_response, task, wait_until
from lambda_ric.hooks import Hooks
from lambda_ric.testing import Invoked, invoke

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = [pytest.mark.timeout(method="thread"), pytest.mark.usefixtures("own_tasks")]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What the threads of a test wait for, which are let go at its end."""
    event = threading.Event()
    yield event
    event.set()


def run(
    handler: Callable[[Any, Any], Any], hooks: Hooks | None = None, timeout: float = 0.5, **environ: str
) -> Invoked:
    return invoke(handler, timeout=timeout, hooks=hooks or Hooks(), environ=environ)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def forever() -> None:
    await asyncio.sleep(60)


def test_function_that_outlives_the_time_is_told_with_its_name_the_reason_and_the_remedy(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """As a coroutine is; a thread goes on, which is said as well."""

    def send_report() -> None:
        release.wait(60)

    run(lambda event, context: (wait_until(send_report), wait_until(forever))[:0])

    report, coroutine = errors(caplog)
    assert report.startswith("background task ")
    assert "send_report was cut off: the function's timeout of 0.5 s left it 0." in report
    assert "; raise the timeout, or give it overflow=; its thread cannot be stopped" in report
    assert "forever was cut off: the function's timeout of 0.5 s left it 0." in coroutine
    assert coroutine.endswith("; raise the timeout, or give it overflow=")


def test_work_that_never_began_is_told(release: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """It waited for a thread."""

    def first() -> None:
        release.wait(60)

    def second() -> None: ...

    run(lambda event, context: (wait_until(first), wait_until(second))[:0], LAMBDA_RIC_MAX_THREADS="1")

    (told,) = [line for line in errors(caplog) if line.startswith("background task ") and "second was dropped" in line]
    assert told.endswith(": the function's timeout of 0.5 s left it no time; raise the timeout, or give it overflow=")


def test_coroutine_that_swallows_its_cancellation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is abandoned."""

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    invoked = run(lambda event, context: (wait_until(stubborn),)[:0])

    assert [each.state for each in invoked.tasks] == ["abandoned"]
    (told,) = errors(caplog)
    assert "stubborn was cut off: " in told
    assert told.endswith("; it was cancelled, and went on all the same")


async def swallow() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        pass
    return "done"


async def swallow_in_the_middle() -> str:
    try:
        while True:
            time.sleep(0.001)  # noqa: ASYNC251  # which no cancellation ends
    except BaseException:
        return "done"


HANDED_OVER: dict[str, Callable[[], Any]] = {
    "a coroutine": swallow,
    "a task": lambda: asyncio.ensure_future(swallow()),
    "a function of a coroutine": lambda: swallow,
    "a coroutine that blocks the loop": swallow_in_the_middle,
}


@pytest.mark.parametrize("make", HANDED_OVER.values(), ids=HANDED_OVER)
def test_coroutine_that_returns_when_it_is_cut_off_did_not_succeed(
    make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A swallowed interruption is never a success."""

    async def handler(event: Any, context: Any) -> None:
        wait_until(make())

    invoked = run(handler)

    assert [each.state for each in invoked.tasks] == ["cancelled"]
    (told,) = errors(caplog)
    assert "was cut off: the function's timeout of 0.5 s left it" in told


@pytest.mark.parametrize("asynchronous", [False, True])
def test_rest_of_a_handler_and_hooks_that_are_cut_off_or_dropped_are_told(
    asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The first takes all the time, and none is left for the second."""

    @after_response
    def handler(event: Any, context: Any) -> Any:
        yield None
        time.sleep(60)

    @after_response
    async def handler_async(event: Any, context: Any) -> Any:
        yield None
        await asyncio.sleep(60)

    hooks = Hooks()
    hooks.after.append(lambda outcome: None)
    run(handler_async if asynchronous else handler, hooks)

    name = "handler_async" if asynchronous else "handler"
    rest, hook = errors(caplog)
    assert f"background continuation {name} was cut off: the function's timeout of 0.5 s left it 0." in rest
    assert rest.endswith("; raise the timeout")
    assert hook == (
        "background hook <lambda> was dropped: the function's timeout of 0.5 s left it no time; raise the timeout"
    )


def test_limit_of_the_user_is_named_as_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Another timeout would not help."""
    run(lambda event, context: (wait_until(forever),)[:0], timeout=20, LAMBDA_RIC_BACKGROUND_LIMIT_MS="100")

    (told,) = errors(caplog)
    assert "forever was cut off: LAMBDA_RIC_BACKGROUND_LIMIT_MS=100 left it 0." in told
    assert told.endswith("; raise that, or give it overflow=")


def test_work_that_its_queue_has_taken_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    """It ran out of time here, and runs there."""

    class Queue:
        def check(self, envelope: Any) -> None: ...

        def send(self, envelopes: Any, within: float) -> list[Any]:
            return []

    @task(name="index", overflow=Queue())
    async def index() -> None:
        await asyncio.sleep(60)

    invoked = run(lambda event, context: (wait_until(index),)[:0])

    assert [each.state for each in invoked.tasks] == ["overflowed"]
    assert errors(caplog) == []


def test_work_that_the_function_cancels_itself_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    """That was wanted."""
    invoked = run(lambda event, context: (wait_until(forever).cancel(),)[:0])

    assert [each.state for each in invoked.tasks] == ["cancelled"]
    assert errors(caplog) == []
