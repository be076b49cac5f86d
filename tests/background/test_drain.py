"""The drain: isolation, the budget of time, the summary, and races."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import json
import logging
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_ric import BackgroundTask, wait_until
from lambda_ric.background.work import ENDS
from lambda_ric.hooks import Hooks
from lambda_ric.testing import Invoked, invoke
from tests.conftest import Serve, Served
from tests.support.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


def run(handler: Callable[[Any, Any], Any], event: Any = None, **options: Any) -> Invoked:
    return invoke(handler, event, hooks=Hooks(), **options)


def states(tasks: list[BackgroundTask]) -> dict[str, str]:
    return {task.name: task.state for task in tasks}


# Isolation...


RAISING = r"""
import asyncio
from lambda_ric import after_invoke, after_response, wait_until

class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text either")

def recurse():
    return recurse()

def failing_work(kind, *_):
    if kind == "RecursionError":
        recurse()
    raise {
        "ValueError": ValueError("no"),
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "GeneratorExit": GeneratorExit(),
        "CancelledError": asyncio.CancelledError(),
        "Unprintable": Unprintable(),
        "ExceptionGroup": ExceptionGroup("two", [ValueError("one"), TypeError("other")]),
    }[kind]

async def failing_later(kind, *_):
    await asyncio.sleep(0)
    failing_work(kind)

async def failing_in_a_child(kind):
    await asyncio.create_task(failing_later(kind))

async def sibling_on_loop():
    await asyncio.sleep(0.01)
    print("the sibling on the loop has ended\n", end="")  # print writes the end of a line by itself

def sibling_in_thread():
    print("the sibling in a thread has ended\n", end="")
"""
KINDS = [
    "ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "RecursionError", "Unprintable",
    "ExceptionGroup",
]  # fmt: skip
HANDLERS = {
    "function": (
        "task failing_work",
        """
        def handler(kind, context):
            wait_until(failing_work, kind)
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "coroutine": (
        "task failing_later",
        """
        def handler(kind, context):
            wait_until(failing_later(kind))
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "function that returns a coroutine": (
        "task <lambda>",
        """
        def handler(kind, context):
            wait_until(lambda: failing_later(kind))
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "running task": (
        "task failing_later",
        """
        async def handler(kind, context):
            wait_until(asyncio.create_task(failing_later(kind)))
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "child of a coroutine": (
        "task failing_in_a_child",
        """
        def handler(kind, context):
            wait_until(failing_in_a_child(kind))
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "rest of a generator": (
        "continuation handler",
        """
        @after_response
        def handler(kind, context):
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
            yield
            failing_work(kind)
        """,
    ),
    "rest of an async generator": (
        "continuation handler",
        """
        @after_response
        async def handler(kind, context):
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
            yield
            await failing_later(kind)
        """,
    ),
    "named hook": (
        "hook failing_hook",
        """
        def failing_hook(outcome):
            failing_work(outcome.event)

        @after_response(failing_hook)
        def handler(kind, context):
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
    "async hook of the process": (
        "hook failing_hook",
        """
        @after_invoke
        async def failing_hook(outcome):
            await failing_later(outcome.event)

        def handler(kind, context):
            wait_until(sibling_in_thread)
            wait_until(sibling_on_loop)
        """,
    ),
}


@pytest.mark.parametrize("kind_of_work", HANDLERS)
def test_whatever_work_raises_is_logged_once_and_stops_nothing(serve: Serve, kind_of_work: str) -> None:
    """
    Isolation: one failing piece of work stops no other, nor the loop (edges 1, 6, 17, 19; platform edges 7, 24).

    It is logged with its name, its request id, and a traceback of the function's own frames.
    """
    name, source = HANDLERS[kind_of_work]
    # A task that raises CancelledError is cancelled: asyncio knows no difference.
    kinds = [kind for kind in KINDS if (kind_of_work, kind) != ("running task", "CancelledError")]
    served = serve(RAISING + textwrapped(source), *kinds, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})

    assert served.stderr == ""
    assert [post.name for post in served.posts] == ["response"] * len(kinds)
    siblings = [line for line in served.lines if line.startswith("the sibling")]
    assert len(siblings) == 2 * len(kinds)
    errors = [event for event in logged(served) if event["level"] == "ERROR"]
    assert [(event["message"], event["requestId"]) for event in errors] == [
        (f"background {name} failed", event.request_id) for event in served.api.events
    ]
    assert [event["errorType"] for event in errors] == kinds
    assert not [frame for event in errors for frame in event["stackTrace"] if "/lambda_ric/" in frame]
    assert all("failing_work" in "".join(event["stackTrace"]) for event in errors)
    summaries = [event["background"] for event in logged(served) if event["message"] == "BACKGROUND"]
    assert [(summary["tasks"], summary["succeeded"], summary["failed"]) for summary in summaries] == [(3, 2, 1)] * len(
        kinds
    )


def textwrapped(source: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in source.split("\n"))


def lines(served: Served) -> list[str]:
    """Return the events on stdout, without the last: that the script has ended."""
    return [line for line in served.lines if "end of the test" not in line]


def logged(served: Served) -> list[Any]:
    """Return the JSON events on stdout; what is printed stands between them."""
    return [json.loads(line) for line in lines(served) if line.startswith("{")]


def test_system_exit_of_a_task_that_was_not_handed_over_is_logged(serve: Serve) -> None:
    """It goes through the event loop, and neither ends the drain nor the process."""
    served = serve(
        """
        import asyncio, sys
        from lambda_ric import wait_until

        async def exiting():
            sys.exit(3)

        async def work():
            task = asyncio.create_task(exiting())
            await asyncio.sleep(0.05)
            print("the work has ended")

        def handler(event, context):
            wait_until(work)
        """,
        None,
        None,
    )

    assert served.stdout.count("the work has ended") == 2
    assert served.stdout.count("a task on the event loop raised") == 2
    assert "Succeeded: 1" in served.summaries[1]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_exit_of_the_process_in_background_work_cannot_be_caught(serve: Serve, kind: str) -> None:
    """
    Platform edge 7: os._exit ends the environment there and then.

    The caller has the answer by then; nothing more is logged, and no next event is asked for.
    """
    served = serve(
        f"""
        import os
        from lambda_ric import wait_until

        {kind} work():
            os._exit(3)

        def handler(event, context):
            wait_until(work)
        """,
        None,
        None,
    )

    assert served.exit_code == 3
    assert [request.name for request in served.api.requests] == ["next", "response"]
    assert served.stdout == ""


def test_logging_handler_that_raises_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The function's own handlers and filters may be broken: the task ends, and its error is on stderr."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the log server is down")

    def failing() -> None:
        raise ValueError("the cause")

    async def failing_later() -> None:
        raise ValueError("the cause")

    def handler(event: Any, context: Any) -> None:
        for work in (failing, failing_later) * 2:
            wait_until(work)

    broken = Broken()
    logging.getLogger("lambda_ric").addHandler(broken)
    try:
        invoked = run(handler)
    finally:
        logging.getLogger("lambda_ric").removeHandler(broken)
    assert [task.state for task in invoked.tasks] == ["failed"] * 4
    told = capsys.readouterr().err
    assert told.count("background task failing failed") == told.count("background task failing_later failed") == 2
    assert told.count("ValueError: the cause") == 4


def test_log_handler_may_hand_work_over() -> None:
    """A handler that ships records in the background: no lock of ours is held while something is logged."""
    shipped: list[str] = []

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            wait_until(shipped.append, record.getMessage())

    def failing() -> None:
        raise ValueError("no")

    def failed() -> concurrent.futures.Future[None]:
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        future.set_exception(ValueError("no"))
        return future

    def handler(event: Any, context: Any) -> None:
        for _ in range(50):
            wait_until(failing)
            wait_until(lambda: bool(wait_until(failed())))

    shipping = Shipping()
    logging.getLogger("lambda_ric").addHandler(shipping)
    try:
        invoked = run(handler, timeout=20)
    finally:
        logging.getLogger("lambda_ric").removeHandler(shipping)
    assert len(shipped) == 100
    assert {task.state for task in invoked.tasks} == {"succeeded", "failed"}


def test_code_that_cancels_every_task_cancels_work_and_not_the_drain() -> None:
    """`for task in asyncio.all_tasks(): task.cancel()` is common in cleanup code; what has not begun does not warn."""

    async def sleeping() -> None:
        await asyncio.sleep(60)

    async def cancelling() -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    def later() -> None:
        threading.Event().wait(0.1)
        wait_until(asyncio.sleep, 0)

    def handler(event: Any, context: Any) -> None:
        for work in (sleeping(), cancelling(), sleeping(), later):
            wait_until(work)

    assert [task.state for task in run(handler, timeout=20).tasks] == ["cancelled"] * 3 + ["succeeded"] * 2


def test_code_that_stops_the_loop_does_not_stop_the_drain() -> None:
    """`loop.stop()` ends one run of the loop; the work goes on in the next."""

    async def stopping() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return "done"

    def handler(event: Any, context: Any) -> None:
        wait_until(stopping)
        wait_until(stopping)

    assert [task.result() for task in run(handler, timeout=20).tasks] == ["done", "done"]


def test_loop_that_cannot_be_run_fails_its_work_and_not_the_drain(serve: Serve) -> None:
    """The function runs the environment's loop in a thread of its own: that is told, without an endless loop."""
    served = serve(
        """
        import asyncio, threading
        from lambda_ric import wait_until

        async def work():
            pass

        def handler(event, context):
            loop = asyncio.get_event_loop()
            started = threading.Event()
            loop.call_soon(started.set)
            threading.Thread(target=loop.run_forever, daemon=True).start()
            started.wait(20)
            wait_until(work())
            wait_until(lambda: None)
        """,
        Event(None, timeout=3),
    )

    assert "This event loop is already running" in served.stdout
    assert len(lines(served)) < 10
    assert "Tasks: 2\tSucceeded: 1\tFailed: 1 (work)" in served.summaries[0]


# The budget of time...


SLOW = """
import asyncio, os, threading, time
from lambda_ric import after_response, wait_until

async def sleeping():
    try:
        await asyncio.sleep(60)
    finally:
        print("sleeping was cleaned up")

async def ignoring():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def blocking():
    try:
        time.sleep(60)
    finally:
        print("blocking was cleaned up")

def hanging():
    time.sleep(60)

def who(event, context):
    return os.getpid()
"""


@pytest.mark.parametrize(
    ("work", "summary"),
    [
        ("sleeping()", "Tasks: 1\tSucceeded: 0\tCancelled: 1 (sleeping)"),
        ("asyncio.get_event_loop().create_task(sleeping())", "Tasks: 1\tSucceeded: 0\tCancelled: 1 (sleeping)"),
        ("lambda: sleeping()", "Tasks: 1\tSucceeded: 0\tCancelled: 1 (<lambda>)"),
        ("ignoring()", "Tasks: 1\tSucceeded: 0\tAbandoned: 1 (ignoring)"),
        ("asyncio.get_event_loop().create_task(ignoring())", "Tasks: 1\tSucceeded: 0\tAbandoned: 1 (ignoring)"),
        ("blocking()", "Tasks: 1\tSucceeded: 0\tCancelled: 1 (blocking)"),
        ("hanging", "Tasks: 1\tSucceeded: 0\tAbandoned: 1 (hanging)"),
    ],
)
def test_work_that_is_not_done_in_time_ends_and_the_environment_lives_on(serve: Serve, work: str, summary: str) -> None:
    """
    The budget: background work ends before the deadline, and each piece is named (edges 8, 9, 10; platform edge 8).

    The same process serves the next event, and ends without waiting.
    """
    served = serve(
        SLOW + f"def handler(event, context):\n    if event: wait_until({work})\n    return os.getpid()\n",
        Event(True, timeout=0.8),
        # A thread is waited for once more, and has to be left alone in the end. A coroutine is not.
        Event(None, timeout=0.8 if work == "hanging" else 30),
        # What blocks the loop is interrupted: by default the process is replaced then.
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep" if work == "blocking()" else "replace"},
    )

    assert served.stderr == ""
    assert summary in served.summaries[0]
    assert "was not awaited" not in served.stdout
    assert served.answers[0] == served.answers[1]
    first, second, third = served.api.polls
    assert 0.55 < second.at - first.at < 10
    assert third.at - second.at < 10


def test_coroutines_end_in_time_also_where_nothing_can_be_interrupted(serve: Serve) -> None:
    """The function blocks SIGALRM: a coroutine that awaits needs no signal to be cancelled."""
    served = serve(
        SLOW
        + """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])

def handler(event, context):
    wait_until(sleeping)
    wait_until(hanging)
""",
        Event(None, timeout=0.6),
    )

    assert served.summaries[0].endswith("Cancelled: 1 (sleeping)\tAbandoned: 1 (hanging)")


def test_all_kinds_of_slow_work_end_together(serve: Serve) -> None:
    """One that blocks the loop does not keep the others from being cleaned up, nor the threads from being named."""
    served = serve(
        SLOW
        + """
def handler(event, context):
    for work in (sleeping, blocking, ignoring, sleeping, blocking, hanging) if event else ():
        wait_until(work)
    return os.getpid()
""",
        Event(True, timeout=0.8),
        Event(None, timeout=0.8),
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert served.stderr == ""
    assert served.summaries[0].endswith(
        "Tasks: 6\tSucceeded: 0\tCancelled: 4 (sleeping, blocking, sleeping, blocking)"
        "\tAbandoned: 2 (ignoring, hanging)"
    )
    assert served.stdout.count("sleeping was cleaned up") == served.stdout.count("blocking was cleaned up") == 2
    assert served.answers[0] == served.answers[1]


def test_margin_is_kept_before_the_deadline(serve: Serve) -> None:
    """LAMBDA_RIC_DEADLINE_MARGIN_MS: work ends that long before the deadline."""
    served = serve(
        SLOW + "def handler(event, context): wait_until(sleeping)",
        Event(None, timeout=30),
        env={"LAMBDA_RIC_DEADLINE_MARGIN_MS": "28500"},
    )

    first, second = served.api.polls
    assert 1.4 < second.at - first.at < 28


def test_margin_may_be_zero() -> None:
    """Then work ends at the deadline itself, and it ends all the same."""
    done: list[str] = []

    async def cleaning_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            done.append("cleaned up")

    environ = {"LAMBDA_RIC_DEADLINE_MARGIN_MS": "0"}
    tasks = run(lambda event, context: wait_until(cleaning_up).name, timeout=0.2, environ=environ).tasks
    assert [task.state for task in tasks] == ["cancelled"]
    assert done == ["cleaned up"]


def test_continuation_and_hooks_end_in_time_and_what_follows_is_dropped(serve: Serve) -> None:
    """On the main thread, synchronous code is interrupted; what has not been started is named as dropped."""
    served = serve(
        SLOW
        + """
def hook(outcome):
    print("the hook must not run")

@after_response(hook)
@after_response
def handler(event, context):
    wait_until(hanging)
    yield
    try:
        if event:
            time.sleep(60)
    finally:
        print("cleaned up")
""",
        Event(True, timeout=0.8),
    )

    assert served.summaries[0].endswith("Tasks: 3\tSucceeded: 0\tCancelled: 1 (handler)\tDropped: 2 (hanging, hook)")
    assert "cleaned up" in served.lines
    assert "the hook must not run" not in served.lines


@pytest.mark.parametrize("kind", ["async def hook(outcome): await asyncio.sleep(60)", "def hook(outcome): hanging()"])
def test_slow_hook_ends_in_time(serve: Serve, kind: str) -> None:
    """A hook has the same budget as the rest, and its successors are dropped."""
    served = serve(
        f"{SLOW}\n{kind}\n@after_response(hook, print)\ndef handler(event, context): pass", Event(None, timeout=0.8)
    )

    assert served.summaries[0].endswith("Tasks: 2\tSucceeded: 0\tCancelled: 1 (hook)\tDropped: 1 (print)")


def test_hook_that_swallows_its_cancellation_is_cancelled_again(serve: Serve) -> None:
    """And within its own invocation: what is left of it must not stand still until the next one."""
    served = serve(
        """
        import asyncio
        from lambda_ric import after_invoke

        @after_invoke
        async def hook(outcome):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
            try:
                await asyncio.sleep(60)
            finally:
                print("cleaned up")

        def handler(event, context):
            pass
        """,
        Event(None, timeout=0.6),
    )

    assert lines(served)[0] == "cleaned up"
    assert served.summaries[0].endswith("Cancelled: 1 (hook)")


def test_thread_that_becomes_free_too_late_takes_nothing() -> None:
    """Also while the main thread is still busy with a coroutine that blocks."""
    started: list[str] = []
    release = threading.Event()

    async def blocking() -> None:
        try:
            threading.Event().wait(60)
        finally:
            release.set()
            wait_for_threads()

    def handler(event: Any, context: Any) -> None:
        wait_until(release.wait, 20)
        wait_until(started.append, "too late")
        wait_until(blocking)

    tasks = run(handler, timeout=0.4, environ={"LAMBDA_RIC_MAX_THREADS": "1"}).tasks
    assert [task.state for task in tasks] == ["succeeded", "dropped", "cancelled"]
    assert started == []


def test_work_for_which_there_is_no_thread_in_time_is_dropped() -> None:
    """It never began: that is another end than being abandoned."""
    release = threading.Event()
    started: list[str] = []

    def handler(event: Any, context: Any) -> None:
        wait_until(release.wait, 20)
        wait_until(started.append, "too late")

    tasks = run(handler, timeout=0.4, environ={"LAMBDA_RIC_MAX_THREADS": "1"}).tasks
    assert [task.state for task in tasks] == ["abandoned", "dropped"]
    release.set()
    wait_for_threads()
    assert started == []


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "lambda_ric.background":
            thread.join(20)


def too_long() -> None:
    """Leave no time of the 0.4 seconds for background work."""
    time.sleep(0.31)


def test_coroutine_that_is_dropped_does_not_warn() -> None:
    """It is closed: nobody will await it."""

    async def work() -> None: ...

    def handler(event: Any, context: Any) -> None:
        wait_until(work())
        too_long()

    tasks = run(handler, timeout=0.4, environ={"LAMBDA_RIC_SOFT_DEADLINE_MS": "0"}).tasks
    assert [task.state for task in tasks] == ["dropped"]


def test_running_task_is_cancelled_when_there_is_no_time_for_it() -> None:
    """It runs whether or not it is awaited: left alone, it would go on inside another invocation."""
    cleaned_up = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(True)

    async def handler(event: Any, context: Any) -> None:
        wait_until(asyncio.create_task(work()))
        await asyncio.sleep(0)
        too_long()

    tasks = run(handler, timeout=0.4, environ={"LAMBDA_RIC_SOFT_DEADLINE_MS": "0"}).tasks
    assert [task.state for task in tasks] == ["cancelled"]
    assert cleaned_up == [True]


def test_work_that_a_cancelled_coroutine_hands_over_is_dropped() -> None:
    """A finally block may hand work over: too late to run, but no error."""

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            wait_until(print, "too late")

    tasks = run(lambda event, context: wait_until(work).name, timeout=0.4).tasks
    assert states(tasks) == {"work": "cancelled", "print": "dropped"}


def test_thread_that_comes_back_with_a_coroutine_too_late_closes_it() -> None:
    """Its end is told as that of any abandoned thread, and the coroutine does not warn."""
    release = threading.Event()

    async def rest() -> None: ...

    def work() -> Any:
        release.wait(20)
        return rest()

    (task,) = run(lambda event, context: wait_until(work).name, timeout=0.4).tasks
    release.set()
    wait_for_threads()
    assert task.state == "abandoned"


def test_coroutine_that_a_thread_returned_and_the_loop_had_no_time_for_is_cancelled() -> None:
    """It is closed, and does not warn."""
    release = threading.Event()

    async def rest() -> None: ...

    def work() -> Any:
        release.wait(20)
        return rest()

    async def blocking() -> None:
        try:
            threading.Event().wait(60)
        finally:
            release.set()
            wait_for_threads()

    def handler(event: Any, context: Any) -> None:
        wait_until(work)
        wait_until(blocking)

    assert [task.state for task in run(handler, timeout=0.4).tasks] == ["cancelled", "cancelled"]


def test_work_that_hands_itself_over_again_and_again_ends_in_time() -> None:
    """Edge 16: an endless chain runs to the end of the budget, not to the deadline."""

    def polling() -> None:
        threading.Event().wait(0.01)
        wait_until(polling)

    tasks = run(lambda event, context: wait_until(polling).name, timeout=0.4).tasks
    assert len(tasks) > 2
    assert {task.state for task in tasks[:-2]} == {"succeeded"}
    assert tasks[-1].state in ("dropped", "abandoned")


def test_abandoned_thread_is_waited_for_at_the_next_drain_and_logs_as_of_its_own_invocation(serve: Serve) -> None:
    """Edge 10: what a thread of an earlier invocation does is told as that invocation's."""
    served = serve(
        """
        import threading
        from lambda_ric import wait_until

        gate = threading.Event()

        def work():
            gate.wait(60)

        def handler(event, context):
            if event:
                wait_until(work)
            else:
                threading.Timer(0.3, gate.set).start()
        """,
        Event(True, timeout=0.8),
        None,
    )

    first, second = served.api.events
    assert f"BACKGROUND RequestId: {first.request_id}" in served.summaries[0]
    assert "Abandoned: 1 (work)" in served.summaries[0]
    assert len(served.summaries) == 1
    (line,) = [line for line in served.lines if "abandoned before, has ended: it succeeded" in line]
    assert line.split("\t")[2] == first.request_id != second.request_id
    assert served.api.polls[2].at - served.api.polls[1].at >= 0.3


def test_thread_that_hangs_is_waited_for_once_only(serve: Serve) -> None:
    """It must not cost every later invocation its whole time, nor keep the process from ending."""
    served = serve(
        SLOW + "def handler(event, context):\n    if event: wait_until(hanging)\n",
        Event(True, timeout=0.6),
        Event(None, timeout=0.6),
        Event(None, timeout=20),
    )

    assert served.stdout.count("background task hanging is still running in its thread: no longer waited for") == 1
    assert served.api.polls[2].at - served.api.polls[1].at > 0.4
    assert served.api.polls[3].at - served.api.polls[2].at < 10


def test_future_that_does_not_end_in_time_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """A thread pool's work cannot be stopped either; that it has ended after all is told."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()

    (task,) = run(lambda event, context: wait_until(future).name, timeout=0.4).tasks
    assert task.state == "abandoned"
    assert "has ended" not in caplog.text
    future.set_result(None)
    assert "abandoned before, has ended: it succeeded" in caplog.text


def test_unknown_deadline_ends_no_work(serve: Serve) -> None:
    """Emulators that send no deadline, or one of 1970: there is no budget then (edge 29)."""
    served = serve(
        """
        import asyncio
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(asyncio.sleep, 0.1)
            wait_until(print, "printed")
        """,
        Event(None, headers={"Lambda-Runtime-Deadline-Ms": ""}),
        Event(None, headers={"Lambda-Runtime-Deadline-Ms": "600000"}),
    )

    assert served.stdout.count("printed") == 2
    assert all("Tasks: 2\tSucceeded: 2" in summary for summary in served.summaries)


# The summary...


def test_summary_is_one_line_of_text(serve: Serve) -> None:
    """The manner of Lambda's own REPORT line; what did not succeed is named."""
    served = serve(
        """
        from lambda_ric import wait_until

        def send_receipt():
            raise ValueError("no")

        def handler(event, context):
            wait_until(send_receipt)
            wait_until(print)
            wait_until(print).cancel()
        """,
        None,
    )

    (summary,) = served.summaries
    assert re.fullmatch(
        rf"BACKGROUND RequestId: {served.api.events[0].request_id}\tDuration: \d+\.\d\d ms\tTasks: 3"
        r"\tSucceeded: 1\tFailed: 1 \(send_receipt\)\tCancelled: 1 \(print\)",
        summary,
    )
    assert lines(served)[-1] == summary


def test_summary_is_one_event_of_json(serve: Serve) -> None:
    """A warning when something did not succeed, else information."""
    served = serve(
        """
        from lambda_ric import wait_until

        def send_receipt():
            raise ValueError("no")

        def handler(event, context):
            wait_until(len, "")
            if event:
                wait_until(send_receipt)
        """,
        True,
        False,
        env={"AWS_LAMBDA_LOG_FORMAT": "JSON"},
    )

    failed, succeeded = [event for event in served.events if event["message"] == "BACKGROUND"]
    assert (failed["level"], succeeded["level"]) == ("WARNING", "INFO")
    assert failed["requestId"] == served.api.events[0].request_id
    assert failed["background"].pop("durationMs") > 0
    assert failed["background"] == {
        "tasks": 2, "succeeded": 1, "overflowed": 0, "unconfirmed": 0, "failed": 1, "cancelled": 0, "abandoned": 0,
        "dropped": 0,
        "names": {"failed": ["send_receipt"]},
    }  # fmt: skip
    assert succeeded["background"]["names"] == {}


def test_invocation_without_background_work_has_no_summary(serve: Serve) -> None:
    """Nothing to say, nothing said."""
    served = serve("def handler(event, context): pass", None)

    assert lines(served) == []


def test_summary_names_the_first_twenty_only(serve: Serve) -> None:
    """A thousand failures must not make a line that Lambda cuts."""
    served = serve(
        """
        from lambda_ric import wait_until

        def handler(event, context):
            for _ in range(25):
                wait_until(int, "no number")
        """,
        None,
    )

    assert f"Failed: 25 ({'int, ' * 20}and 5 more)" in served.summaries[0]


# Any mix of it...


work_trees = st.recursive(
    st.sampled_from([("call", "ok"), ("call", "fail"), ("coroutine", "ok"), ("coroutine", "fail")]).map(
        lambda pair: (*pair, ())
    ),
    lambda children: st.tuples(
        st.sampled_from(["call", "coroutine", "call then coroutine"]),
        st.sampled_from(["ok", "fail"]),
        st.lists(children, max_size=4).map(tuple),
    ),
    max_leaves=20,
)


def start(tree: Any) -> BackgroundTask:
    kind, end, children = tree

    def work() -> None:
        for child in children:
            start(child)
        if end == "fail":
            raise ValueError("no")

    async def work_on_loop() -> None:
        for child in children:
            start(child)
            await asyncio.sleep(0)
        if end == "fail":
            raise ValueError("no")

    if kind == "call":
        return wait_until(work)
    return wait_until(work_on_loop() if kind == "coroutine" else lambda: work_on_loop())


def ends(tree: Any) -> Iterator[str]:
    yield {"ok": "succeeded", "fail": "failed"}[tree[1]]
    for child in tree[2]:
        yield from ends(child)


@given(trees=st.lists(work_trees, min_size=1, max_size=4), threads=st.sampled_from(["1", "2", "16"]))
@settings(max_examples=40, deadline=None)
def test_every_piece_of_any_mix_of_work_ends_as_it_should(trees: list[Any], threads: str) -> None:
    """Whatever hands over whatever: all of it runs, once, and is counted."""

    def handler(event: Any, context: Any) -> None:
        for tree in trees:
            start(tree)

    expected = Counter(end for tree in trees for end in ends(tree))
    assert Counter(task.state for task in run(handler, environ={"LAMBDA_RIC_MAX_THREADS": threads}).tasks) == expected


@given(kinds=st.lists(st.sampled_from(["ok", "fail", "hang", "sleep", "ignore", "block", "future"]), max_size=6))
@settings(max_examples=12, deadline=None)
def test_counts_of_the_summary_add_up_when_the_time_is_up(kinds: list[str]) -> None:
    """tasks = succeeded + failed + cancelled + abandoned + dropped, whatever is still running."""
    release = threading.Event()
    futures: list[concurrent.futures.Future[None]] = []

    async def sleep() -> None:
        await asyncio.sleep(60)

    async def ignore() -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass

    async def block() -> None:
        hang()

    def hang() -> None:
        release.wait(60)

    def fail() -> None:
        raise ValueError("no")

    def future() -> concurrent.futures.Future[None]:
        futures.append(concurrent.futures.Future())
        return futures[-1]

    work: dict[str, Any] = {"ok": str, "fail": fail, "hang": hang, "sleep": sleep, "ignore": ignore, "block": block}

    def handler(event: Any, context: Any) -> None:
        for kind in kinds:
            wait_until(work[kind] if kind in work else future())

    invoked = run(handler, timeout=0.2, environ={"LAMBDA_RIC_MAX_THREADS": "2"})
    counts = Counter(task.state for task in invoked.tasks)
    assert sum(counts[end] for end in ENDS) == len(kinds)
    release.set()
    for unfinished in futures:
        unfinished.cancel()


# Races...


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Python switches between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("impatient_threads")
def test_no_hand_over_is_lost_between_threads_and_the_loop() -> None:
    """The main thread waits for threads, or runs the loop: whoever hands over in between wakes it up."""
    done = []

    def in_thread(left: int) -> None:
        done.append(left)
        if left:
            wait_until(on_loop, left - 1)

    async def on_loop(left: int) -> None:
        done.append(left)
        if left:
            wait_until(in_thread, left - 1)

    def handler(event: Any, context: Any) -> None:
        for _ in range(5):
            wait_until(in_thread, 100)

    invoked = run(handler, timeout=30)
    assert len(done) == 505
    assert {task.state for task in invoked.tasks} == {"succeeded"}


@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_work_is_either_cancelled_or_run(asynchronous: bool) -> None:
    """cancel() races with the start: what it answers is true."""
    ran = set()
    answers: dict[int, bool] = {}

    async def on_loop(number: int) -> None:
        ran.add(number)

    def handler(event: Any, context: Any) -> None:
        def cancel_all() -> None:
            for number, handle in reversed(list(enumerate(handles))):
                answers[number] = handle.cancel()

        wait_until(cancel_all)
        handles = [wait_until(on_loop(n)) if asynchronous else wait_until(ran.add, n) for n in range(300)]

    tasks = run(handler, timeout=30).tasks[1:]
    cancelled = {number for number, task in enumerate(tasks) if task.state == "cancelled"}
    assert cancelled | ran == set(range(300))
    assert not cancelled & ran
    if not asynchronous:
        assert cancelled == {number for number, answer in answers.items() if answer}


@pytest.mark.usefixtures("impatient_threads")
def test_hand_over_at_the_very_end_is_run_or_refused() -> None:
    """A thread of the function's hands over while the drain closes: never is its work lost in silence."""
    for _ in range(100):
        hand_over_at_the_end()


def hand_over_at_the_end() -> None:
    ran: list[int] = []
    accepted: list[int] = []
    refused: list[int] = []
    go = threading.Event()

    def leak() -> None:
        go.wait(20)
        for number in range(5):
            try:
                wait_until(ran.append, number)
            except RuntimeError:
                refused.append(number)
            else:
                accepted.append(number)

    threads = []

    def handler(event: Any, context: Any) -> None:
        threads.append(threading.Thread(target=leak))
        threads[0].start()
        wait_until(go.set)

    run(handler, timeout=30)
    threads[0].join()
    assert sorted(ran) == accepted
    assert accepted + refused == [0, 1, 2, 3, 4]


def test_what_background_work_leaves_is_freed_without_the_garbage_collector() -> None:
    """What holds itself in a circle keeps memory until the collector comes, in the handler's time of a later caller."""

    def handler(event: Any, context: Any) -> None:
        wait_until(len, "work")

    run(handler)  # what is loaded and made once
    gc.collect()
    gc.disable()
    try:
        run(handler)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [thing for thing in gc.garbage if type(thing).__module__.startswith("lambda_ric")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert left == []
