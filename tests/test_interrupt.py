"""The soft deadline: a handler that runs too long is interrupted, told to its caller, and the environment lives on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
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

from lambda_ric import after_response, wait_until
from lambda_ric.errors import HandlerTimeoutError
from lambda_ric.hooks import Hooks
from lambda_ric.interrupt import Interrupt, TimeUp
from lambda_ric.testing import Invoked, invoke
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


def run(handler: Callable[[Any, Any], Any], *, timeout: float = 2.0, **environ: str) -> Invoked:
    """Call *handler*, which is interrupted when half of the time has gone; what follows has the other half."""
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
        from lambda_ric import after_response, wait_until

        {kind} handler(event, context):
            wait_until(print, "handed over")
            if event:
                time.sleep(60)
            return os.getpid()
        """,
        False,
        Event(True, timeout=8),  # of which half is left for a new start
        False,
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "6000"},
    )

    assert [post.name for post in served.posts] == ["response", "error", "response"]
    assert served.answers[0] == served.answers[2]
    assert served.posts[1].headers["lambda-runtime-function-error-type"] == "Function.Timeout"
    assert served.posts[1].at < served.api.polls[1].at + 8
    assert served.stdout.count("handed over") == 3
    assert "[ERROR] Function.Timeout: Task timed out after" in served.stdout


def test_soft_deadline_is_the_settings(serve: Serve) -> None:
    """LAMBDA_RIC_SOFT_DEADLINE_MS before the deadline, and the log says which setting did it."""
    served = serve(
        "def handler(event, context): import time; time.sleep(60)",
        Event(None, timeout=30),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "28000"},
    )

    assert 1.9 < served.posts[0].at - served.api.polls[0].at < 28
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


def test_deadline_that_is_over_when_the_event_comes_is_none() -> None:
    """It is a clock that is wrong: the event is served, and so is its background work."""
    done: list[str] = []

    def handler(event: Any, context: Any) -> str:
        wait_until(done.append, "background work")
        return "served"

    assert run(handler, timeout=-0.005).response == "served"
    assert done == ["background work"]


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


def swallow(event: Any, context: Any) -> str:
    """Do what a vendor's wrapper does that looks at every BaseException, and raises none."""
    try:
        time.sleep(60)
    except BaseException:
        return "swallowed"
    return "done"


def suppress_everything(event: Any, context: Any) -> str:
    with contextlib.suppress(BaseException):
        time.sleep(60)
    return "swallowed"


def try_again(event: Any, context: Any) -> str:
    try:
        time.sleep(60)
    except BaseException:
        time.sleep(0.001)
    return "done"


def raise_another(event: Any, context: Any) -> None:
    try:
        time.sleep(60)
    finally:
        raise ValueError("no")


def exit_instead(event: Any, context: Any) -> None:
    try:
        time.sleep(60)
    finally:
        raise SystemExit(3)


def test_coroutine_that_goes_on_after_its_cancellation_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Its caller has the timeout; what goes on beside later invocations is found by its name."""
    stubborn = True

    async def handler(event: Any, context: Any) -> None:
        while stubborn:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    invoked = invoke(handler, timeout=0.6, hooks=Hooks(), environ={"LAMBDA_RIC_SOFT_DEADLINE_MS": "300"})
    stubborn = False

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told.startswith("handler has swallowed its cancellation, and goes on whenever the event loop runs")


async def swallow_cancellation(event: Any, context: Any) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "partial"
    return "whole"


async def raise_another_at_cancellation(event: Any, context: Any) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("no")


async def swallow_while_blocked(event: Any, context: Any) -> str:
    try:
        time.sleep(60)  # noqa: ASYNC251
    except BaseException:
        return "swallowed"
    return "done"


@after_response
def swallow_before_the_answer(event: Any, context: Any) -> Any:
    try:
        time.sleep(60)
    except BaseException:
        pass
    yield "swallowed"


@pytest.mark.parametrize(
    "handler",
    [
        swallow,
        suppress_everything,
        try_again,
        raise_another,
        exit_instead,
        swallow_cancellation,
        raise_another_at_cancellation,
        swallow_while_blocked,
        swallow_before_the_answer,
    ],
)
def test_handler_that_was_interrupted_has_timed_out_whatever_it_makes_of_that(
    handler: Callable[[Any, Any], Any],
) -> None:
    """Lambda would have killed it there: what it returned or raised then is no answer."""
    invoked = run(handler)

    assert timed_out(invoked)
    frames = "".join(json.loads(invoked.payload)["stackTrace"])
    assert "sleep(60)" in frames


def test_what_was_raised_instead_is_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """As the cause: an error of the clean-up is not lost."""
    run(raise_another)
    run(raise_another_at_cancellation)

    assert capsys.readouterr().out.count("Caused by ValueError: no") == 2


def test_stream_whose_interruption_was_swallowed_is_told_as_broken() -> None:
    """Its caller has the pieces, and the error in the trailers."""

    def handler(event: Any, context: Any) -> Any:
        yield "begin"
        try:
            time.sleep(60)
        except BaseException:
            yield "end"

    invoked = run(handler)

    assert invoked.streamed
    assert timed_out(invoked)


def test_messages_of_a_queue_come_back_when_the_interruption_was_swallowed() -> None:
    """A result would have had them deleted."""
    event = {"Records": [{"messageId": "m-1", "eventSource": "aws:sqs", "body": "order"}]}
    settings = {"LAMBDA_RIC_SOFT_DEADLINE_MS": "60000"}

    assert timed_out(invoke(swallow, event, hooks=Hooks(), timeout=0.6, environ=settings))


def test_encoding_of_the_result_is_interrupted_too() -> None:
    """It is the last part of the handler's time."""

    class Slow:
        def __str__(self) -> str:
            time.sleep(60)
            return "slow"

    class Result(dict[str, Any]):
        def items(self) -> Any:
            return [("slow", str(Slow()))]

    assert timed_out(run(lambda event, context: Result(slow=1)))


def never_cleans_up(event: Any, context: Any) -> None:
    try:
        time.sleep(60)
    finally:
        time.sleep(61)


async def never_cleans_up_async(event: Any, context: Any) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(61)


async def blocks_in_clean_up(event: Any, context: Any) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        time.sleep(61)  # noqa: ASYNC251


async def tries_again(event: Any, context: Any) -> None:
    for _ in range(3):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(60)


@pytest.mark.parametrize("handler", [never_cleans_up, never_cleans_up_async, blocks_in_clean_up, tries_again])
def test_error_names_the_line_that_ran_too_long_not_its_clean_up(handler: Callable[[Any, Any], Any]) -> None:
    """Clean-up that does not end is interrupted anew, if it has to be in the middle of the event loop."""
    frames = json.loads(run(handler).payload)["stackTrace"]

    assert f"in {handler.__name__}\n" in frames[0]
    assert "sleep(60)" in frames[0]
    assert not any("sleep(61)" in frame or "selectors" in frame for frame in frames)


def test_clean_up_has_its_time_from_the_moment_at_which_it_begins() -> None:
    """A coroutine hears of the end of its time late when it has blocked the loop: that is not taken off."""
    cleaned_up: list[str] = []

    async def handler(event: Any, context: Any) -> None:
        time.sleep(0.38)  # noqa: ASYNC251  # 0.08 s more than there is, and 0.14 s are what clean-up has
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            cleaned_up.append("done")

    assert timed_out(run(handler))
    assert cleaned_up == ["done"]


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
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert [post.name for post in served.posts] == ["error", "response"]
    assert served.answers[1] == "served"
    assert served.stderr == ""


# ...and what is left alone.


BORROWED = {
    "installs a handler, and sets no timer": "signal.signal(signal.SIGALRM, on_alarm)",
    "installs the default": "signal.signal(signal.SIGALRM, signal.SIG_DFL)",
    "ignores it": "signal.signal(signal.SIGALRM, signal.SIG_IGN)",
    "limits a query, and keeps the handler": "at_most(60)",
    "limits a query, and gives the handler back": "signal.signal(signal.SIGALRM, at_most(60))",
    "limits a query that takes too long": "too_long()",
    "clears a timer that it has not set": "signal.alarm(0); signal.setitimer(signal.ITIMER_REAL, 0)",
    "asks": "assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL; assert signal.alarm(0) == 0",
    "wants what is not possible": "refused(signal.setitimer, 0, -1); refused(signal.setitimer, 0, 'soon')",
    "lends it to asyncio and takes it back": "through_the_loop()",
}
BORROWING = """
import asyncio, signal, time
from lambda_ric import after_response, before_invoke, wait_until

def on_alarm(signum, frame):
    raise TimeoutError("an alarm of the function's")

def at_most(seconds):
    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    assert signal.alarm(0) == seconds
    return before

def too_long():
    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        time.sleep(20)
    except TimeoutError:
        pass
    signal.signal(signal.SIGALRM, before)

def refused(call, *arguments):
    try:
        call(*arguments)
    except (ValueError, TypeError, OSError):
        return
    raise AssertionError(f"{arguments} were taken")

def through_the_loop():
    loop = asyncio.get_event_loop()
    loop.add_signal_handler(signal.SIGALRM, print, "never")
    loop.remove_signal_handler(signal.SIGALRM)
"""


@pytest.mark.parametrize("where", ["def", "async def", "hook", "rest"])
@pytest.mark.parametrize("borrow", BORROWED.values(), ids=BORROWED)
def test_alarm_that_the_function_borrows_is_there_again(serve: Serve, borrow: str, where: str) -> None:
    """Its own handler is never called for our time, and later events are interrupted at theirs."""
    parts = {
        "def": f"def handler(event, context):\n    if event == 'borrow': {borrow}\n    return work(event)",
        "async def": f"async def handler(event, context):\n    if event == 'borrow': {borrow}\n    return work(event)",
        "hook": f"""
@before_invoke
def first(event, context):
    if event == "borrow": {borrow}
def handler(event, context):
    return work(event)
""",
        "rest": f"""
@after_response
def handler(event, context):
    yield work(event)
    if event == "borrow": {borrow}
""",
    }
    served = serve(
        BORROWING
        + """
def work(event):
    time.sleep({"borrow": 0, "work": 0.05, "hang": 60}[event])
    return event
"""
        + parts[where],
        Event("borrow", timeout=1),
        Event("work", timeout=20),
        Event("hang", timeout=0.6),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "300", "LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert [post.name for post in served.posts] == ["response", "response", "error"], served
    assert served.answers[:2] == ["borrow", "work"]
    assert served.answers[2]["errorType"] == "Function.Timeout"
    assert "SIGALRM" not in served.stdout


def test_block_of_the_functions_own_that_runs_over_is_ended_by_its_own_alarm(serve: Serve) -> None:
    """Before the soft deadline, and at it: whichever comes first."""
    served = serve(
        BORROWING
        + """
def handler(event, context):
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, event)
    time.sleep(60)
""",
        Event(0.05, timeout=20),
        Event(50, timeout=0.6),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "300", "LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert [answer["errorType"] for answer in served.answers] == ["TimeoutError", "Function.Timeout"]


@pytest.mark.parametrize("repeated", [True, False])
def test_timer_that_was_set_at_import_goes_on_through_all_invocations(serve: Serve, repeated: bool) -> None:
    """With its own handler: inside of blocks that we limit, and between them."""
    served = serve(
        f"""
        import signal, time

        alarms = []
        signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.02, {0.02 if repeated else 0})

        def handler(event, context):
            before = len(alarms) if {repeated} else 0  # the one may have come before the first event
            until = time.monotonic() + 20
            while len(alarms) < before + (3 if {repeated} else 1) and time.monotonic() < until:
                time.sleep(0.001)
            remaining, interval = signal.getitimer(signal.ITIMER_REAL)
            return [len(alarms) - before, 0 < remaining <= 0.02, interval]
        """,
        1,
        2,
    )

    if repeated:
        assert [answer[1:] for answer in served.answers] == [[True, 0.02]] * 2
        assert min(answer[0] for answer in served.answers) >= 3
    else:
        assert served.answers == [[1, False, 0.0]] * 2


@pytest.mark.parametrize("repeated", [True, False])
def test_alarm_that_is_due_while_a_block_is_interrupted_is_not_lost(serve: Serve, repeated: bool) -> None:
    """Both have their call."""
    served = serve(
        f"""
        import signal, time

        alarms = []
        signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))

        def handler(event, context):
            if event == "look":
                return bool(alarms)
            signal.setitimer(signal.ITIMER_REAL, 0.3, {0.3 if repeated else 0})
            until = time.monotonic() + 60
            while time.monotonic() < until:
                pass
        """,
        Event("overrun", timeout=0.6),
        Event("look", timeout=20),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "300", "LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert served.answers[0]["errorType"] == "Function.Timeout"
    assert served.answers[1] is True


def test_signal_that_somebody_sends_goes_to_the_functions_handler(serve: Serve) -> None:
    """It was no timer of ours."""
    served = serve(
        """
        import os, signal

        alarms = []
        signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))

        def handler(event, context):
            os.kill(os.getpid(), signal.SIGALRM)
            signal.raise_signal(signal.SIGALRM)
            return len(alarms)
        """,
        None,
        None,
    )

    assert served.answers == [2, 4]


def test_alarm_without_a_handler_ends_the_process_as_ever(serve: Serve) -> None:
    """The default of the signal is the function's, too."""
    served = serve(
        """
        import signal, time

        def handler(event, context):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            time.sleep(60)
        """,
        Event(None, timeout=30),
    )

    assert served.exit_code == -signal.SIGALRM
    assert served.posts == []


KEPT = {
    "by asyncio": "asyncio.get_event_loop().add_signal_handler(signal.SIGALRM, print, 'heard by the loop')",
    "by a mask": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])",
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_soft_deadline_that_is_gone_is_told_once_with_the_remedy(serve: Serve, keep: str) -> None:
    """Then nothing of ours goes off, into whoever has the signal."""
    served = serve(
        f"""
        import asyncio, signal

        async def handler(event, context):
            if event == "keep":
                {keep}
            await asyncio.sleep(0.05)
            return event
        """,
        "keep",
        "work",
        "work",
    )

    assert served.answers == ["keep", "work", "work"]
    (told,) = [line for line in served.lines if "SIGALRM" in line]
    assert "signal.setitimer" in told
    assert "heard" not in served.stdout


@pytest.mark.parametrize("wait", ["time.sleep(60)", "gevent.spawn(time.sleep, 60).join()"])
def test_function_with_gevent_is_interrupted_too(serve: Serve, wait: str) -> None:
    """It has the threads' numbers tell greenlets apart, and waits in a loop of its own."""
    served = serve(
        f"""
        from gevent import monkey
        monkey.patch_all()
        import gevent, time
        from lambda_ric import wait_until

        def work():
            gevent.sleep(0.001)
            print("work is done")

        def handler(event, context):
            wait_until(work)
            {wait}
        """,
        Event(None, timeout=3),
        env={"LAMBDA_RIC_SOFT_DEADLINE_MS": "2500"},
    )

    assert served.posts[0].json()["errorType"] == "Function.Timeout"
    assert "work is done" in served.stdout


def test_child_process_has_no_timer_of_ours(serve: Serve) -> None:
    """The system gives it none, and what it sets itself is its own."""
    served = serve(
        """
        import os, signal, time

        def handler(event, context):
            signal.signal(signal.SIGALRM, lambda *_: os._exit(17))
            child = os.fork()
            if child == 0:
                assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                time.sleep(60)
                os._exit(1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        """,
        None,
    )

    assert served.answers == [17]


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
        from lambda_ric import after_response, wait_until

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
        *[Event("work", timeout=0.2), Event("check")] * 20,
        env={"LAMBDA_RIC_DEADLINE_MARGIN_MS": "5", "LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert "Exception ignored" not in served.stderr
    assert served.answers[1::2] == [[True, True]] * 20
    assert [answer for answer in served.answers[::2] if answer["errorType"] != "Function.Timeout"] == []


def lock_of_a_handler() -> tuple[Any, Callable[[], object]]:
    handler = logging.StreamHandler(io.StringIO())
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "a record", (), None)
    return handler.lock, lambda: handler.handle(record)


def lock_of_a_condition() -> tuple[Any, Callable[[], object]]:
    lock = threading.RLock()
    condition = threading.Condition(lock)

    def notify() -> None:
        with condition:
            condition.notify_all()

    return lock, notify


@pytest.mark.parametrize("make", [lock_of_a_handler, lock_of_a_condition])
def test_lock_that_was_waited_for_when_the_time_was_up_is_left_to_others(
    make: Callable[[], tuple[Any, Callable[[], object]]], interrupt: Interrupt
) -> None:
    """The alarm may come just when the wait is over, and the code that is to let go of it does not know of it yet."""
    lock, use = make()
    chance = random.Random(17)
    is_over = threading.Event()

    def hold() -> None:
        while not is_over.is_set():
            with lock:
                time.sleep(chance.uniform(0.005, 0.006))
            time.sleep(0)  # so that it is the other's turn

    holder = threading.Thread(target=hold)
    holder.start()
    left_behind = 0
    for _ in range(100):
        with contextlib.suppress(TimeUp), interrupt.at(time.time() + chance.uniform(0.0005, 0.006), again=0.02):
            while True:
                use()
        while lock._is_owned():
            left_behind += 1
            lock.release()
    is_over.set()
    holder.join()

    assert left_behind == 0


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


def test_block_that_is_held_is_interrupted_at_the_time_that_it_is_put_off_to(interrupt: Interrupt) -> None:
    """Not at the time that it had before, even when that comes while it is held."""
    asked: list[float] = []
    interrupt.ask_first(lambda: asked.append(time.time()))
    interrupt_at = time.time() + 0.05

    def block() -> None:
        assert interrupt.hold()
        while time.time() < interrupt_at + 0.01:
            pass
        interrupt.put_off(interrupt_at + 0.2)
        time.sleep(20)

    with pytest.raises(TimeUp), interrupt.at(interrupt_at, again=20):
        block()

    assert 0.19 < time.time() - interrupt_at < 10
    assert asked == []


def test_block_that_was_asked_to_stop_cannot_be_held(interrupt: Interrupt) -> None:
    """Nor can one that was interrupted, or has no time: the code in it may be half-way out."""
    asked: list[bool] = []
    interrupt.ask_first(lambda: asked.append(interrupt.hold()))
    with pytest.raises(TimeUp), interrupt.at(time.time() + 0.05, again=0.05):
        time.sleep(20)
    with interrupt.at(float("inf"), again=1):
        asked.append(interrupt.hold())

    assert asked == [False, False]


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


def test_alarm_that_was_set_before_the_first_block_is_kept() -> None:
    """By whoever has loaded the package into a process of its own: pytest-timeout limits tests in this way."""
    code = """
import signal, time
rings = []
signal.signal(signal.SIGALRM, lambda *_: rings.append(time.monotonic()))
signal.setitimer(signal.ITIMER_REAL, 0.2, 50)
started_at = time.monotonic()
from lambda_ric.interrupt import Interrupt, TimeUp
try:
    with Interrupt().at(time.time() + 0.05, again=1):
        time.sleep(20)
except TimeUp:
    pass
while not rings:
    time.sleep(0.001)
assert rings[0] - started_at > 0.19, rings
assert signal.getitimer(signal.ITIMER_REAL)[1] == 50
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=20, env=CLEAN_ENVIRONMENT)


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
