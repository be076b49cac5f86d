"""The hooks around a freeze, and what is left running when one comes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lambda_ric import wait_until
from lambda_ric.emulator import Emulator, in_thread
from lambda_ric.hooks import Hooks
from lambda_ric.testing import invoke
from tests.conftest import ROOT, Serve, Served
from tests.support.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

KINDS = pytest.mark.parametrize("kind", ["def", "async def"])


def printed(served: Served) -> list[str]:
    """Return what the function printed."""
    return [line for line in served.lines if not line.startswith(("[", "BACKGROUND"))]


def warnings(served: Served) -> list[str]:
    """Return the texts of the warnings."""
    return [line.split("\t", 3)[3] for line in served.lines if line.startswith("[WARNING]")]


# before_freeze...


@KINDS
def test_before_freeze_runs_last_and_before_every_poll(serve: Serve, kind: str) -> None:
    """After the hooks and the background work of the invocation, whose request id it logs under."""
    served = serve(
        f"""
        import logging
        from lambda_ric import after_invoke, before_freeze, wait_until

        @before_freeze
        {kind} rest(): logging.error("hook before the freeze")

        @after_invoke
        def after(outcome): print("hook after")

        def handler(event, context): wait_until(print, "work")
        """,
        None,
        None,
    )

    lines = [line.split("\t")[-1] for line in served.lines]
    assert lines[:3] == lines[4:7] == ["hook after", "work", "hook before the freeze"]
    assert [line.split("\t")[2] for line in served.lines if "freeze" in line] == [
        event.request_id for event in served.api.events
    ]
    assert [request.name for request in served.api.requests] == ["next", "response"] * 2 + ["next"]


def test_before_freeze_runs_where_nothing_else_ran_after_the_response() -> None:
    """It is for every invocation, also one that failed."""
    hooks, calls = Hooks(), []
    hooks.freeze.append(lambda: calls.append("rest"))

    def failing(event: Any, context: Any) -> None:
        raise ValueError(event)

    (task,) = invoke(lambda event, context: None, hooks=hooks).tasks
    invoke(failing, hooks=hooks)

    assert (task.kind, task.state) == ("hook", "succeeded")
    assert calls == ["rest", "rest"]


def test_failing_before_freeze_is_logged_and_the_next_one_runs(serve: Serve) -> None:
    """SystemExit included: the caller has had the answer."""
    served = serve(
        """
        from lambda_ric import before_freeze

        @before_freeze
        def failing(): raise SystemExit(3)

        @before_freeze
        def rest(): print("resting")

        def handler(event, context): ...
        """,
        None,
        None,
    )

    assert printed(served) == ["resting", "resting"]
    assert [post.name for post in served.posts] == ["response", "response"]
    assert all("Tasks: 2\tSucceeded: 1\tFailed: 1 (failing)" in line for line in served.summaries)


@pytest.mark.parametrize("hang", ["def rest(): time.sleep(60)", "async def rest(): await asyncio.sleep(60)"])
def test_hanging_before_freeze_is_stopped_before_the_deadline(serve: Serve, hang: str) -> None:
    """Like an after_invoke hook, time and again."""
    served = serve(
        f"""
        import asyncio, time
        from lambda_ric import before_freeze

        @before_freeze
        {hang}

        def handler(event, context): ...
        """,
        Event(timeout=0.6),
        Event(timeout=0.6),
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert [post.name for post in served.posts] == ["response", "response"]
    assert all("Cancelled: 1 (rest)" in line for line in served.summaries)
    assert len(served.api.polls) == 3


def test_before_freeze_has_its_turn_when_the_work_took_all_the_time(serve: Serve) -> None:
    """A part of the margin is its own."""
    served = serve(
        """
        import asyncio
        from lambda_ric import before_freeze, wait_until

        @before_freeze
        def rest(): print("resting")

        def handler(event, context): wait_until(asyncio.sleep, 60)
        """,
        Event(timeout=0.6),
    )

    assert printed(served) == ["resting"]
    assert "Succeeded: 1\tCancelled: 1 (sleep)" in served.summaries[0]


def test_before_freeze_cannot_hand_work_over() -> None:
    """Nobody would wait for it: that is told where the mistake was made."""
    hooks = Hooks()
    hooks.freeze.append(lambda: wait_until(print))

    (task,) = invoke(lambda event, context: None, hooks=hooks).tasks

    assert task.state == "failed"
    assert "after the background work" in str(task.exception())


# ...after_thaw...


@KINDS
def test_after_thaw_runs_first_in_every_invocation_but_the_first(serve: Serve, kind: str) -> None:
    """With the seconds since the poll, before the before_invoke hooks, in their context."""
    served = serve(
        f"""
        from contextvars import ContextVar
        from lambda_ric import after_thaw, before_invoke

        rested = ContextVar("rested", default=None)

        @after_thaw
        {kind} thaw(seconds): rested.set(seconds)

        @before_invoke
        {kind} before(event, context): print(type(rested.get()).__name__)

        {kind} handler(event, context): return rested.get()
        """,
        None,
        None,
        None,
    )

    assert printed(served) == ["NoneType", "float", "float"]
    assert served.answers[0] is None
    assert all(0 <= seconds < 20 for seconds in served.answers[1:])


@pytest.mark.parametrize("error", ["ValueError('no')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_failing_after_thaw_is_logged_and_fails_nothing(serve: Serve, error: str) -> None:
    """The next hook and the handler are called all the same."""
    served = serve(
        f"""
        from lambda_ric import after_thaw

        @after_thaw
        def failing(seconds): raise {error}

        @after_thaw
        def thaw(seconds): print("thawed")

        def handler(event, context): return event
        """,
        1,
        2,
    )

    assert served.answers == [1, 2]
    assert printed(served) == ["thawed"]
    assert "after_thaw hook failing failed" in served.stdout


def test_hanging_after_thaw_is_a_timeout_of_the_handler(serve: Serve) -> None:
    """It has the handler's time, and has taken all of it."""
    served = serve(
        """
        import time
        from lambda_ric import after_thaw

        @after_thaw
        def thaw(seconds): time.sleep(60)

        def handler(event, context): return event
        """,
        1,
        Event(2, timeout=0.8),
    )

    assert [post.name for post in served.posts] == ["response", "error"]
    assert served.answers[1]["errorType"] == "Function.Timeout"


def test_after_thaw_hears_how_long_the_environment_was_frozen(task: Path) -> None:
    """On the emulator, which freezes as Lambda does."""
    (task / "app.py").write_text(
        """
from lambda_ric import after_thaw

rested = []

@after_thaw
def thaw(seconds): rested.append(seconds)

def handler(event, context): return rested
"""
    )

    (_, rested), pause = frozen(task)

    assert len(rested) == 1
    assert pause <= rested[0] < pause + 20


# ...and what a freeze does to timers.


def test_overdue_timers_do_not_fire_once_for_every_period_missed(task: Path) -> None:
    """A task that sleeps and repeats goes on where it was: once, not fifty times."""
    (task / "app.py").write_text(
        """
import asyncio

ticks = []

async def tick():
    while True:
        await asyncio.sleep(0.005)
        ticks.append(1)

async def handler(event, context):
    if event == 0:
        handler.ticking = asyncio.create_task(tick())
    else:
        before = len(ticks)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(ticks) - before
"""
    )

    (_, ticks), _ = frozen(task)

    assert ticks <= 1


def test_overdue_timers_fire_at_the_thaw_each_once(task: Path) -> None:
    """All in the first turn of the event loop, as asyncio does it: that is how clients notice idle connections."""
    (task / "app.py").write_text(
        """
import asyncio

fired = []

async def handler(event, context):
    if event == 0:
        for number in range(3):
            asyncio.get_running_loop().call_later(0.1 - number / 1000, fired.append, number)
    else:
        first = list(fired)
        await asyncio.sleep(0)
        return [first, fired]
"""
    )

    (_, seen), _ = frozen(task)

    assert seen == [[], [2, 1, 0]]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The function's directory."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def frozen(task: Path) -> tuple[list[Any], float]:
    """Invoke the function twice, with a freeze of some time between; return the answers, and how long it was."""
    with in_thread(Emulator("app.handler", task_root=task)) as emulator:
        first = emulator.invoke(0)
        frozen_at = emulator.finished(first).frozen_at
        time.sleep(0.25)  # the freeze itself, which nobody announces
        second = emulator.invoke(1)
        started_at = emulator.finished(second).started_at
    assert frozen_at is not None
    assert started_at is not None
    return [json.loads(answer.payload) for answer in (first, second)], started_at - frozen_at


# Child processes...


def test_child_process_left_running_is_named_once(serve: Serve) -> None:
    """With its id and what it runs, under the request that left it behind; it is not touched."""
    served = serve(
        """
        import subprocess
        children = []

        def handler(event, context):
            if not children:
                children.append(subprocess.Popen(["sleep", "60"]))
                return children[0].pid
            if event == "end":
                children[0].kill()  # it was there
                return children[0].wait()
        """,
        None,
        None,
        "end",
    )

    (warning,) = warnings(served)
    assert warning.startswith(f"child process {served.answers[0]} still runs")
    assert warning.endswith("It is: sleep 60")
    assert served.api.events[0].request_id in next(line for line in served.lines if "child process" in line)
    assert served.answers[2] == -signal.SIGKILL


@pytest.mark.parametrize(("method", "name"), [("fork", "ForkProcess-1"), ("spawn", "SpawnProcess-1")])
def test_multiprocessing_child_is_named_by_its_name(serve: Serve, method: str, name: str) -> None:
    """The command line of a fork is that of the runtime; Python's own helper processes are not mentioned."""
    served = serve(
        f"""
        import multiprocessing, time

        def handler(event, context):
            global process
            if event == "end":
                process.kill()
                return process.join()
            process = multiprocessing.get_context({method!r}).Process(target=time.sleep, args=(60,))
            process.start()
        """,
        None,
        "end",
    )

    (warning,) = warnings(served)
    assert warning.endswith(f"It is: {name}")


def test_bare_fork_is_found(serve: Serve) -> None:
    """Neither subprocess nor multiprocessing has to do with it."""
    served = serve(
        """
        import os, sys, time

        def handler(event, context):
            global child
            if event == "end":
                os.kill(child, 9)
                os.waitpid(child, 0)
                return sorted({"subprocess", "multiprocessing"} & set(sys.modules))
            child = os.fork()
            if child == 0:
                time.sleep(60)
        """,
        None,
        "end",
    )

    assert len(warnings(served)) == 1
    assert served.answers[1] == []


def test_child_that_has_ended_is_not_mentioned(serve: Serve) -> None:
    """Whether or not anybody has asked for its exit status; and that is left for who asks."""
    served = serve(
        """
        import os, subprocess

        def handler(event, context):
            global child
            subprocess.run(["true"])
            if event == "wait":
                return child.wait()
            child = subprocess.Popen(["sh", "-c", "exit 7"])
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        """,
        None,
        "wait",
    )

    assert warnings(served) == []
    assert served.answers[1] == 7


def test_child_of_the_init_is_the_functions_own_design(serve: Serve) -> None:
    """A helper that is started with the environment is to stay as long."""
    served = serve(
        """
        import subprocess
        helper = subprocess.Popen(["sleep", "60"])

        def handler(event, context):
            if event == "end":
                helper.kill()
                helper.wait()
        """,
        None,
        "end",
    )

    assert warnings(served) == []


@pytest.mark.parametrize("ignores", [False, True])
def test_child_is_terminated_where_that_is_wanted(serve: Serve, ignores: bool) -> None:
    """By SIGTERM, and when that does not help by SIGKILL; its exit status is left for who asks."""
    trap = "trap '' TERM; " if ignores else ""
    served = serve(
        f"""
        import subprocess

        def handler(event, context):
            global child
            if event == "status":
                return child.wait()
            child = subprocess.Popen(["sh", "-c", "{trap}echo; exec sleep 30"], stdout=subprocess.PIPE)
            child.stdout.readline()
            return child.pid
        """,
        None,
        "status",
        env={"LAMBDA_RIC_CHILDREN": "terminate"},
    )

    (warning,) = warnings(served)
    assert warning.startswith(f"child process {served.answers[0]} still ran: terminated. It was: ")
    assert served.answers[1] == (-signal.SIGKILL if ignores else -signal.SIGTERM)


def test_children_are_ignored_where_that_is_wanted(serve: Serve) -> None:
    """A pool that the function has made for many invocations, say."""
    served = serve(
        """
        import subprocess

        def handler(event, context):
            global child
            if event == "end":
                child.kill()
                return child.wait()
            child = subprocess.Popen(["sleep", "60"])
        """,
        None,
        "end",
        env={"LAMBDA_RIC_CHILDREN": "ignore"},
    )

    assert warnings(served) == []
    assert served.answers[1] == -signal.SIGKILL


def test_children_of_a_test_are_its_own_business(caplog: pytest.LogCaptureFixture) -> None:
    """It may have started servers, and its function has not."""
    with subprocess.Popen(["sleep", "60"]) as server:
        invoke(lambda event, context: None)
        server.kill()

    assert caplog.records == []


def test_function_without_children_loads_nothing_for_them(serve: Serve) -> None:
    """Most have none."""
    served = serve("import sys\ndef handler(event, context): return 'lambda_ric.children' in sys.modules", 1, 2)

    assert served.answers == [False, False]


# ...and coroutines that nobody awaits.


@KINDS
def test_coroutine_that_nobody_awaits_is_in_the_log_with_the_line_that_made_it(serve: Serve, kind: str) -> None:
    """Python warns where it was let go, which may be anywhere: the line that called is told too."""
    served = serve(
        f"""
        async def send_receipt(): ...

        {kind} handler(event, context):
            receipt = send_receipt()
        """,
        None,
    )

    assert "RuntimeWarning: coroutine 'send_receipt' was never awaited" in served.stderr
    assert 'app.py", line 5, in handler\n' in served.stderr
