"""Tasks that nobody awaits: named, adopted or cancelled."""

from __future__ import annotations

import pytest

from tests.conftest import Serve, Served
from tests.support.fakes import Event

ORPHANS = """
import asyncio
from lambda_ric import on_startup, wait_until

orphans = []

async def send_receipt():
    try:
        await asyncio.sleep(0.05)
        print("sent")
    finally:
        print("cleaned up")
"""


def warnings(served: Served) -> list[str]:
    return [line for line in served.lines if line.startswith("[WARNING]")]


def test_orphan_is_named_with_the_line_that_made_it(serve: Serve) -> None:
    """The silent crash of stock functions: here it is told where, and what to do."""
    served = serve(
        ORPHANS
        + """
async def handler(event, context):
    orphans.append(asyncio.create_task(send_receipt()))
""",
        None,
    )

    (warning,) = warnings(served)
    line = (ORPHANS + "\nasync def handler(event, context):\n").count("\n") + 1
    assert warning.split("\t")[2] == served.api.events[0].request_id
    assert "task send_receipt, created at" in warning
    assert f"app.py:{line}, was not awaited and stands still" in warning
    assert "wait_until(task)" in warning


@pytest.mark.parametrize(
    "create",
    [
        "asyncio.ensure_future(send_receipt())",
        "asyncio.get_event_loop().create_task(send_receipt())",
        "asyncio.gather(send_receipt())",
    ],
)
def test_orphan_is_found_however_it_was_made(serve: Serve, create: str) -> None:
    """asyncio's own frames are no answer to the question who made it."""
    served = serve(
        f"{ORPHANS}\nasync def handler(event, context):\n    orphans.append({create})\n",
        None,
    )

    (warning,) = warnings(served)
    assert "task send_receipt, created at" in warning
    assert "app.py:" in warning


def test_orphan_that_no_line_of_the_function_made_is_named_without_one(serve: Serve) -> None:
    """Better no line than one of asyncio's or the runtime's own."""
    served = serve(
        ORPHANS
        + """
class Later:
    def __await__(self):
        return send_receipt().__await__()

async def handler(event, context):
    orphans.append(asyncio.ensure_future(Later()))
""",
        None,
    )

    (warning,) = warnings(served)
    assert "created at an unknown line, was not awaited" in warning


def test_task_that_belongs_to_no_invocation_is_no_orphan(serve: Serve) -> None:
    """Made in an empty context, at import, or by a hook that runs before the first event: it is meant to stay."""
    served = serve(
        ORPHANS
        + """
from contextvars import Context

async def forever():
    await asyncio.Event().wait()

orphans.append(asyncio.new_event_loop())
asyncio.set_event_loop(orphans[0])
orphans.append(orphans[0].create_task(forever()))

@on_startup
async def connect():
    orphans.append(asyncio.create_task(forever()))

async def handler(event, context):
    orphans.append(Context().run(asyncio.create_task, forever()))
""",
        None,
        None,
    )

    assert warnings(served) == []


def test_orphan_of_background_work_is_named(serve: Serve) -> None:
    """A coroutine that was handed over may make one as well as the handler."""
    served = serve(
        ORPHANS
        + """
async def work():
    orphans.append(asyncio.create_task(send_receipt()))

def handler(event, context):
    wait_until(work)
""",
        None,
    )

    (warning,) = warnings(served)
    assert "task send_receipt, created at" in warning


def test_orphan_is_named_once(serve: Serve) -> None:
    """By the invocation that made it, and not by those that find it still there."""
    served = serve(
        ORPHANS
        + """
async def forever():
    await asyncio.Event().wait()

async def handler(event, context):
    if event:
        orphans.append(asyncio.create_task(forever()))
""",
        True,
        False,
        False,
    )

    assert [warning.split("\t")[2] for warning in warnings(served)] == [served.api.events[0].request_id]


def test_children_of_an_earlier_invocations_orphan_are_not_the_later_ones(serve: Serve) -> None:
    """A task belongs to the invocation in whose context it was made."""
    served = serve(
        ORPHANS
        + """
async def parent(next_event):
    await next_event.wait()
    orphans.append(asyncio.create_task(send_receipt()))

async def handler(event, context):
    if event == "start":
        handler.next_event = asyncio.Event()
        orphans.append(asyncio.create_task(parent(handler.next_event)))
    else:
        handler.next_event.set()
        await asyncio.sleep(0.01)
""",
        "start",
        "go on",
    )

    (warning,) = warnings(served)
    assert "task parent, created at" in warning


def test_orphan_of_an_attempt_is_not_another_attempts(serve: Serve) -> None:
    """Edge 7, platform edge 12: request ids repeat on retries, so state is keyed by the attempt."""
    served = serve(
        ORPHANS
        + """
async def forever():
    await asyncio.Event().wait()

async def handler(event, context):
    orphans.append(asyncio.create_task(forever()))
""",
        Event(None, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        Event(None, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
    )

    assert len(warnings(served)) == 2


@pytest.mark.parametrize("how", ["on_startup", "import"])
def test_task_of_the_start_is_no_orphan(serve: Serve, how: str) -> None:
    """What is made before any invocation is meant to outlive them."""
    starts = {
        "on_startup": """
@on_startup
async def start():
    orphans.append(asyncio.create_task(forever()))
""",
        "import": """
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
orphans.append(loop.create_task(forever()))
""",
    }
    served = serve(
        ORPHANS
        + """
async def forever():
    await asyncio.Event().wait()
"""
        + starts[how]
        + """
async def handler(event, context):
    await asyncio.sleep(0.01)
""",
        None,
        None,
    )

    assert warnings(served) == []
    assert served.summaries == []


@pytest.mark.parametrize("end", ["await orphan", "wait_until(orphan)", "orphan.cancel(); await asyncio.sleep(0)"])
def test_task_that_somebody_takes_care_of_is_no_orphan(serve: Serve, end: str) -> None:
    """Awaited, handed over, cancelled."""
    served = serve(
        f"""{ORPHANS}
async def handler(event, context):
    orphan = asyncio.create_task(send_receipt())
    orphans.append(orphan)
    {end}
""",
        None,
    )

    assert warnings(served) == []


@pytest.mark.parametrize("fate", ["warn", "cancel"])
def test_task_that_is_about_to_end_is_no_orphan(serve: Serve, fate: str) -> None:
    """It has a few turns of the loop, in which it may still hand work over."""
    served = serve(
        ORPHANS
        + """
async def end():
    for _ in range(4):
        await asyncio.sleep(0)
    wait_until(print, "handed over")

async def handler(event, context):
    orphans.append(asyncio.create_task(end()))
""",
        None,
        env={"LAMBDA_RIC_ORPHANS": fate},
    )

    assert warnings(served) == []
    assert "handed over" in served.lines


def test_orphan_that_blocks_the_loop_does_so_in_its_own_invocation_only(serve: Serve) -> None:
    """It is interrupted when the background work has to end, and holds up no later invocation."""
    served = serve(
        ORPHANS
        + """
import time

async def blocking():
    await asyncio.sleep(0)  # so far it comes while the loop ends the handler
    while True:
        time.sleep(0.01)

async def handler(event, context):
    if event:
        orphans.append(asyncio.create_task(blocking()))
""",
        Event(True, timeout=0.6),
        None,
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert [post.name for post in served.posts] == ["response"] * 2


def test_orphan_is_adopted_where_that_is_wanted(serve: Serve) -> None:
    """LAMBDA_RIC_ORPHANS=adopt: it is finished like work that was handed over, and so are its own orphans."""
    served = serve(
        ORPHANS
        + """
async def work():
    await asyncio.sleep(0.01)
    orphans.append(asyncio.create_task(send_receipt()))

async def handler(event, context):
    orphans.append(asyncio.create_task(work()))
    return "accepted"
""",
        None,
        env={"LAMBDA_RIC_ORPHANS": "adopt"},
    )

    assert served.answers == ["accepted"]
    assert "sent" in served.lines
    assert served.summaries[0].endswith("Tasks: 2\tSucceeded: 2")
    assert warnings(served) == []


def test_adopted_orphan_that_fails_is_logged_once(serve: Serve) -> None:
    """As any other piece of work; asyncio does not tell it once more."""
    served = serve(
        ORPHANS
        + """
async def failing():
    await asyncio.sleep(0)
    raise ValueError("no")

async def handler(event, context):
    asyncio.create_task(failing())
""",
        None,
        env={"LAMBDA_RIC_ORPHANS": "adopt"},
    )

    assert served.summaries[0].endswith("Failed: 1 (failing)")
    assert served.stdout.count("ValueError: no") == 1


def test_adopted_orphan_ends_in_time(serve: Serve) -> None:
    """The budget is the same; what is left is cancelled."""
    served = serve(
        ORPHANS
        + """
async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

async def handler(event, context):
    if event:
        orphans.append(asyncio.create_task(forever()))
""",
        Event(True, timeout=0.6),
        None,
        env={"LAMBDA_RIC_ORPHANS": "adopt"},
    )

    assert served.summaries[0].endswith("Tasks: 1\tSucceeded: 0\tCancelled: 1 (forever)")
    assert "cleaned up" in served.lines
    assert len(served.posts) == 2


def test_orphan_is_cancelled_where_that_is_wanted(serve: Serve) -> None:
    """LAMBDA_RIC_ORPHANS=cancel: its finally blocks run within its own invocation."""
    served = serve(
        ORPHANS
        + """
async def handler(event, context):
    orphans.append(asyncio.create_task(send_receipt()))
    await asyncio.sleep(0)
""",
        None,
        env={"LAMBDA_RIC_ORPHANS": "cancel"},
    )

    (warning,) = warnings(served)
    assert "task send_receipt, created at" in warning
    assert warning.endswith("was not awaited: cancelled")
    assert "sent" not in served.lines
    assert "cleaned up" in served.lines


def test_orphan_that_ignores_its_cancellation_does_not_hang_the_loop(serve: Serve) -> None:
    """It has a moment to react, not more."""
    served = serve(
        ORPHANS
        + """
async def ignoring():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def handler(event, context):
    orphans.append(asyncio.create_task(ignoring()))
    await asyncio.sleep(0)
""",
        None,
        None,
        env={"LAMBDA_RIC_ORPHANS": "cancel"},
    )

    assert len(served.posts) == 2
    assert served.api.polls[2].at - served.api.polls[0].at < 10
