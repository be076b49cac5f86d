"""The soft deadline: a handler that runs too long is interrupted, told to its caller, and the environment lives on."""

from __future__ import annotations

import asyncio
import json
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_ric import wait_until
from lambda_ric.errors import HandlerTimeoutError
from lambda_ric.hooks import Hooks
from lambda_ric.interrupt import Interrupt, TimeUp
from lambda_ric.testing import Invoked, invoke
from tests.conftest import Serve
from tests.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(60, method="thread")


def run(handler: Callable[[Any, Any], Any], *, timeout: float = 0.6, **environ: str) -> Invoked:
    """Call *handler*, which is interrupted when half of the time has gone."""
    settings = {"LAMBDA_RIC_SOFT_DEADLINE_MS": "60000", "LAMBDA_RIC_DEADLINE_MARGIN_MS": "20", **environ}
    return invoke(handler, hooks=Hooks(), timeout=timeout, environ=settings)


def timed_out(invoked: Invoked) -> bool:
    return isinstance(invoked.outcome.error, HandlerTimeoutError)


# What is interrupted, and how it is told...


def busy() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def wait_for_a_thread() -> None:
    threading.Event().wait(60)


def wait_for_a_queue() -> None:
    queue.Queue[int]().get()


def read_a_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.recv(1)


def read_a_socket_with_a_timeout() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(60)
        near.recv(1)


def wait_for_a_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        select.select([near], [], [])


def wait_for_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            process.wait()
        finally:
            process.kill()


async def sleep_on_the_loop() -> None:
    await asyncio.sleep(60)


async def block_the_loop() -> None:
    time.sleep(60)  # noqa: ASYNC251


async def block_the_loop_in_a_child() -> None:
    await asyncio.create_task(block_the_loop())


@pytest.mark.parametrize(
    "slow",
    [
        busy,
        sleep,
        wait_for_a_lock,
        wait_for_a_thread,
        wait_for_a_queue,
        read_a_socket,
        read_a_socket_with_a_timeout,
        wait_for_a_socket,
        wait_for_a_process,
        sleep_on_the_loop,
        block_the_loop,
        block_the_loop_in_a_child,
    ],
)
def test_handler_that_runs_too_long_is_interrupted_where_it_is(slow: Callable[[], Any]) -> None:
    """Function.Timeout; the stack trace shows the function's line that was interrupted, and no frame of ours."""

    def handler(event: Any, context: Any) -> Any:
        wait_until(str.upper, "handed over")
        return slow()

    invoked = run(handler)
    error = json.loads(invoked.payload)
    assert error["errorType"] == "Function.Timeout"
    assert error["errorMessage"].startswith("Task timed out after ")
    frames = "".join(error["stackTrace"])
    assert f"in {slow.__name__}\n" in frames
    assert "/lambda_ric/" not in frames
    assert [task.result() for task in invoked.tasks] == ["HANDED OVER"]


def test_interrupted_line_is_the_last_of_the_stack_trace() -> None:
    """Where the time went is what one wants to know."""

    def handler(event: Any, context: Any) -> None:
        time.sleep(60)

    *_, last = json.loads(run(handler).payload)["stackTrace"]
    assert last.endswith("in handler\n    time.sleep(60)\n")


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_next_event_is_served_by_the_same_process(serve: Serve, kind: str) -> None:
    """The environment is not reset: the next caller pays no cold start (edge 9)."""
    served = serve(
        f"""
        import os, time
        from lambda_ric import wait_until

        {kind} handler(event, context):
            wait_until(print, "handed over")
            if event:
                time.sleep(60)
            return os.getpid()
        """,
        False,
        Event(True, timeout=0.8),
        False,
    )

    assert [post.name for post in served.posts] == ["response", "error", "response"]
    assert served.answers[0] == served.answers[2]
    assert served.posts[1].headers["lambda-runtime-function-error-type"] == "Function.Timeout"
    assert served.posts[1].at < served.api.polls[1].at + 0.8
    assert served.stdout.count("handed over") == 3
    assert "[ERROR] Function.Timeout: Task timed out after" in served.stdout


def test_soft_deadline_is_the_settings(serve: Serve) -> None:
    """LAMBDA_RIC_SOFT_DEADLINE_MS before the deadline, and the log says which setting did it."""
    served = serve(
        "def handler(event, context): import time; time.sleep(60)",
        Event(None, timeout=2),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "800"},
    )

    assert 1.1 < served.posts[0].at - served.api.polls[0].at < 2
    assert "(LAMBDA_RIC_SOFT_DEADLINE_MS)" in served.answers[0]["errorMessage"]


def test_half_of_a_very_short_time_is_the_handlers() -> None:
    """A soft deadline longer than the timeout does not end the handler before it has begun."""

    def handler(event: Any, context: Any) -> str:
        time.sleep(0.05)
        return "done"

    assert run(handler, timeout=1, LAMBDA_RIC_SOFT_DEADLINE_MS="60000").response == "done"


def test_handler_is_not_interrupted_where_that_is_off() -> None:
    """LAMBDA_RIC_SOFT_DEADLINE_MS=off."""

    def handler(event: Any, context: Any) -> str:
        time.sleep(0.3)
        return "done"

    assert run(handler, timeout=0.2, LAMBDA_RIC_SOFT_DEADLINE_MS="off").response == "done"


def test_hook_before_the_handler_is_interrupted_too() -> None:
    """Its time is the invocation's."""
    hooks = Hooks()
    hooks.before.append(lambda event, context: time.sleep(60))

    assert timed_out(invoke(lambda event, context: None, hooks=hooks, timeout=0.4))


def test_deadline_that_is_over_already_interrupts_at_once() -> None:
    """An event that comes too late is answered, not served."""
    assert timed_out(run(lambda event, context: time.sleep(60), timeout=-1))
    assert timed_out(run(sleep_on_the_loop_as_handler, timeout=-1))


async def sleep_on_the_loop_as_handler(event: Any, context: Any) -> None:
    await asyncio.sleep(60)


# ...what code may do about it...


def test_except_exception_does_not_swallow_the_interruption() -> None:
    """Retry loops and frameworks catch Exception everywhere."""

    def handler(event: Any, context: Any) -> None:
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass

    assert timed_out(run(handler))


@pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])
def test_code_that_swallows_the_interruption_is_interrupted_again(kind: str) -> None:
    """A bare except, or a finalizer in which Python ignores every exception, does not win."""
    swallowed = []

    def handler(event: Any, context: Any) -> None:
        try:
            time.sleep(60)
        except BaseException as interruption:
            swallowed.append(interruption)
        time.sleep(60)

    async def async_handler(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(60)
        except BaseException as interruption:
            swallowed.append(interruption)
        await asyncio.sleep(60)

    assert timed_out(run({"synchronous": handler, "asynchronous": async_handler}[kind]))
    assert len(swallowed) == 1


def test_finally_blocks_run() -> None:
    """The function can clean up: that is what the soft deadline is for (edge 9)."""
    cleaned_up = []

    def handler(event: Any, context: Any) -> None:
        try:
            time.sleep(60)
        finally:
            cleaned_up.append("synchronous")

    async def async_handler(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned_up.append("asynchronous")

    assert timed_out(run(handler))
    assert timed_out(run(async_handler))
    assert cleaned_up == ["synchronous", "asynchronous"]


def test_answer_of_a_handler_that_gives_up_in_time_is_delivered() -> None:
    """A coroutine that turns its cancellation into a result has one."""

    async def handler(event: Any, context: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "partial"
        return "whole"

    assert run(handler).response == "partial"


def test_error_that_cleaning_up_raises_is_the_invocations() -> None:
    """As everywhere in Python, the last exception wins."""

    def handler(event: Any, context: Any) -> None:
        try:
            time.sleep(60)
        finally:
            raise ValueError("no")

    assert isinstance(run(handler).outcome.error, ValueError)


def test_coroutine_that_was_given_up_does_not_go_on_for_ever(serve: Serve) -> None:
    """A handler that ignores its cancellation: the next event is served without it."""
    served = serve(
        """
        import asyncio

        async def handler(event, context):
            while event:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    print("ignored")
            return "served"
        """,
        Event(True, timeout=0.6),
        False,
    )

    assert [post.name for post in served.posts] == ["error", "response"]
    assert served.answers[1] == "served"
    assert served.stderr == ""


# ...and what is left alone.


def test_function_that_uses_the_signal_itself_keeps_it(serve: Serve) -> None:
    """SIGALRM belongs to whoever installed a handler for it first; then nothing is interrupted."""
    served = serve(
        """
        import signal, time

        alarms = []
        signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))

        def handler(event, context):
            if event == "alarm":
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                signal.pause()
            else:
                time.sleep(0.5)
            return len(alarms)
        """,
        "alarm",
        Event("sleep", timeout=0.6),
    )

    assert served.answers == [1, 1]


def test_timer_that_the_function_sets_on_the_way_is_left_to_it(serve: Serve) -> None:
    """It installs its own handler during an invocation: its timer outlives the response."""
    served = serve(
        """
        import signal
        from lambda_ric import wait_until, after_response

        alarms = []

        @after_response
        def handler(event, context):
            signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            yield len(alarms)
            signal.pause()
            print("alarms:", len(alarms))
        """,
        None,
    )

    assert served.answers == [0]
    assert "alarms: 1" in served.lines


def test_handler_that_returned_in_time_is_not_interrupted_any_more() -> None:
    """No stray alarm: not in the answer, not in the work after it, not in the next invocation."""
    chance = random.Random(17)
    ends = set()

    for _ in range(150):
        until = time.time() + chance.uniform(0.009, 0.011)

        def handler(event: Any, context: Any, until: float = until) -> None:
            while time.time() < until:
                pass

        # Half of it is the handler's: it ends just when it is interrupted, or just does not.
        ends.add(timed_out(run(handler, timeout=0.02)))
        deadline = time.monotonic() + 0.002
        while time.monotonic() < deadline:
            pass
    assert ends == {True, False}


def test_alarm_is_switched_off_after_the_invocation() -> None:
    """Nothing of ours is left ticking."""
    run(lambda event, context: None)

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


AT_WORK = {
    "logging": "logging.error('a %s', 'record')",
    "handing over": "wait_until(print).cancel()",
    "threads": "with condition: condition.notify_all()",
    "tasks": "asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))",
}


@pytest.mark.parametrize("at_work", AT_WORK)
def test_interruption_leaves_no_lock_behind(serve: Serve, at_work: str) -> None:
    """An alarm in the middle of Python's own locking code would block the other threads for good."""
    served = serve(
        f"""
        import asyncio, logging, os, threading
        from lambda_ric import wait_until

        logging.basicConfig(stream=open(os.devnull, "w"), force=True)
        condition = threading.Condition()
        locks = [logging.root.handlers[0].lock, condition]

        def handler(event, context):
            if event == "work":
                while True:
                    {AT_WORK[at_work]}
            taken = []
            def take(lock):
                taken.append(lock.acquire(timeout=5))
                lock.release()
            for lock in locks:
                thread = threading.Thread(target=take, args=[lock])
                thread.start()
                thread.join()
            return taken
        """,
        *[Event("work", timeout=0.04), Event("check")] * 20,
        env={"LAMBDA_RIC_DEADLINE_MARGIN_MS": "5"},
    )

    assert "Exception ignored" not in served.stderr
    assert served.answers[1::2] == [[True, True]] * 20
    assert [answer for answer in served.answers[::2] if answer["errorType"] != "Function.Timeout"] == []


# The alarm clock by itself...


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    yield Interrupt()
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_block_is_interrupted_at_its_time(interrupt: Interrupt) -> None:
    """Only inside the block, and not before the time."""
    started_at = time.time()
    with pytest.raises(TimeUp), interrupt.at(started_at + 0.1, again=1):
        time.sleep(20)

    assert 0.09 < time.time() - started_at < 10


def test_block_that_asks_first_is_asked_before_it_is_interrupted(interrupt: Interrupt) -> None:
    """The question comes at the time, the interruption *again* later."""
    asked: list[float] = []
    started_at = time.time()
    interrupt.ask_first(lambda: asked.append(time.time()))
    with pytest.raises(TimeUp), interrupt.at(started_at + 0.05, again=0.1):
        time.sleep(20)

    (asked_at,) = asked
    assert started_at + 0.04 < asked_at < time.time() - 0.09


def test_time_without_end_sets_no_alarm(interrupt: Interrupt) -> None:
    """No deadline is known: nothing is interrupted, and the timer of the system is not touched."""
    with interrupt.at(float("inf"), again=1):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_second_alarm_clock_of_a_process_takes_over(interrupt: Interrupt) -> None:
    """Each test of a function makes a runtime: the first one's handler is no foreign one."""
    with interrupt.at(time.time() + 60, again=1):
        pass
    with pytest.raises(TimeUp), Interrupt().at(time.time() + 0.05, again=1):
        time.sleep(20)


def test_other_threads_are_left_alone(interrupt: Interrupt) -> None:
    """Python runs signal handlers on the main thread only: there, some other code would be hit."""
    with interrupt.at(time.time() + 60, again=1):
        pass
    ends = []

    def work() -> None:
        with interrupt.at(time.time() + 0.05, again=1):
            time.sleep(0.1)
        ends.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ends == ["done"]


def test_interpreter_is_left_as_it_was_found() -> None:
    """Importing the package installs no signal handler: a function may be the first to want one."""
    code = "import lambda_ric, lambda_ric.entry, signal; assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
