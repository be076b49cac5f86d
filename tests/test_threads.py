"""Threads of the function's: each belongs to the invocation that started it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Serve
from tests.fakes import Event


def ids(served: Any, text: str) -> list[str]:
    """Return the request ids of the log records that hold *text*."""
    return [line.split("\t")[2] for line in served.lines if text in line]


def test_records_of_a_thread_carry_the_id_of_the_invocation_that_started_it(serve: Serve) -> None:
    """Parity 117: also while another invocation is being served."""
    served = serve(
        """
        import logging, threading

        next_event = threading.Event()

        def work():
            logging.warning("early")
            next_event.wait(20)
            logging.warning("late")

        def handler(event, context):
            if event == "start":
                handler.thread = threading.Thread(target=work)
                handler.thread.start()
            else:
                next_event.set()
                handler.thread.join()
                logging.warning("own")
        """,
        "start",
        "join",
    )

    first, second = [event.request_id for event in served.api.events]
    assert (ids(served, "early"), ids(served, "late"), ids(served, "own")) == ([first], [first], [second])


@pytest.mark.parametrize("pool", ["concurrent.futures.ThreadPoolExecutor(1)", "Derived(1)"])
def test_work_in_a_pool_belongs_to_whoever_submitted_it(serve: Serve, pool: str) -> None:
    """A pool at module level has threads of the first invocation that work for the later ones (Parity 117)."""
    served = serve(
        f"""
        import concurrent.futures, logging

        class Derived(concurrent.futures.ThreadPoolExecutor):
            def submit(self, function, *args, **kwargs):
                return super().submit(function, *args, **kwargs)

        pool = {pool}

        def handler(event, context):
            pool.submit(logging.warning, "submitted").result()
            list(pool.map(logging.warning, ["mapped"]))
        """,
        None,
        None,
    )

    own = [event.request_id for event in served.api.events]
    assert ids(served, "submitted") == own
    assert ids(served, "mapped") == own


def test_work_in_the_loops_own_pool_belongs_to_whoever_submitted_it(serve: Serve) -> None:
    """asyncio.to_thread and run_in_executor."""
    served = serve(
        """
        import asyncio, logging

        async def handler(event, context):
            await asyncio.to_thread(logging.warning, "to_thread")
            await asyncio.get_running_loop().run_in_executor(None, logging.warning, "executor")
        """,
        None,
        None,
    )

    own = [event.request_id for event in served.api.events]
    assert ids(served, "to_thread") == own
    assert ids(served, "executor") == own


def test_arguments_and_results_of_pooled_work_are_untouched(serve: Serve) -> None:
    """submit and map work as ever, errors and keyword arguments included."""
    served = serve(
        """
        from concurrent.futures import ThreadPoolExecutor

        def work(a, /, function, *, self):
            return [a, function, self]

        def handler(event, context):
            with ThreadPoolExecutor() as pool:
                error = pool.submit(int, "no").exception()
                return [pool.submit(work, 1, function=2, self=3).result(), list(pool.map(str, [1, 2])), repr(error)]
        """,
        None,
    )

    assert served.answers[0][:2] == [[1, 2, 3], ["1", "2"]]
    assert served.answers[0][2].startswith("ValueError")


def test_exception_in_a_thread_is_logged_with_the_id_of_its_invocation(serve: Serve) -> None:
    """Parity 117: one event, with the function's own frames only; the process lives on."""
    served = serve(
        """
        import threading

        next_event = threading.Event()

        def work():
            next_event.wait(20)
            raise ValueError("no")

        def handler(event, context):
            if event == "start":
                handler.thread = threading.Thread(target=work, name="receipts")
                handler.thread.start()
            else:
                next_event.set()
                handler.thread.join()
        """,
        "start",
        "join",
    )

    assert ids(served, "exception in thread receipts") == [served.api.events[0].request_id]
    (line,) = [line for line in served.lines if "exception in thread" in line]
    assert line.endswith("ValueError: no")
    assert 'app.py", line 8, in work' in line
    assert "/lambda_ric/" not in line
    assert served.stderr == ""
    assert len(served.posts) == 2


def test_thread_that_exits_is_no_error(serve: Serve) -> None:
    """SystemExit ends a thread in silence, as always."""
    served = serve(
        """
        import sys, threading

        def handler(event, context):
            thread = threading.Thread(target=sys.exit)
            thread.start()
            thread.join()
        """,
        None,
    )

    assert "exception in thread" not in served.stdout
    assert len(served.posts) == 1


def test_excepthook_of_the_function_is_left_alone(serve: Serve) -> None:
    """Sentry installs one."""
    served = serve(
        """
        import threading

        def handler(event, context):
            threading.excepthook = lambda args: print("hooked", args.exc_type.__name__)
            thread = threading.Thread(target=int, args=["no"])
            thread.start()
            thread.join()
        """,
        None,
    )

    assert "hooked ValueError" in served.lines


@pytest.mark.parametrize(
    "started",
    [
        "threading.Thread(target=note)",
        "threading.Timer(0, note)",
        "Derived()",
        "Overriding()",
        "assigned()",
        "started_in_vain()",
        "threading.Thread(target=threading.Thread(target=note).run)",
    ],
)
def test_thread_starts_with_the_context_of_the_code_that_starts_it(serve: Serve, started: str) -> None:
    """As free-threaded 3.14 does by itself; whatever kind of thread it is."""
    served = serve(
        f"""
        import threading
        from contextvars import ContextVar

        variable = ContextVar("variable", default="unset")
        seen = []

        def note():
            seen.append(variable.get())
            variable.set("changed by the thread")

        class Derived(threading.Thread):
            def run(self):
                note()

        class Overriding(threading.Thread):
            def __init__(self):
                super().__init__(target=note)
            def start(self):
                return super().start()

        def assigned():
            thread = threading.Thread()
            thread.run = note
            return thread

        def started_in_vain():
            name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
            start = getattr(threading, name)
            setattr(threading, name, None)
            thread = threading.Thread(target=note)
            try:
                thread.start()
            except TypeError:
                pass
            setattr(threading, name, start)
            return thread

        def handler(event, context):
            variable.set(event)
            thread = {started}
            thread.start()
            thread.join()
            return [*seen, variable.get()]
        """,
        "set",
    )

    assert served.answers == [["set", "set"]]


def test_thread_started_before_any_invocation_belongs_to_none(serve: Serve) -> None:
    """What was started at import logs without a request id."""
    served = serve(
        """
        import logging, threading

        gate = threading.Event()
        done = threading.Event()

        def work():
            gate.wait(20)
            logging.warning("standing by")
            done.set()

        threading.Thread(target=work).start()

        def handler(event, context):
            gate.set()
            done.wait(20)
        """,
        None,
    )

    assert ids(served, "standing by") == [""]


def test_trace_id_of_the_environment_is_the_invocations_during_its_background_work(serve: Serve) -> None:
    """Parity 142, 143; edge 15, platform edge 13: the X-Ray SDK and Powertools read it there."""
    served = serve(
        """
        import os, time
        from lambda_ric import wait_until

        def work(n):
            time.sleep(0.02)
            print(n, os.environ.get("_X_AMZN_TRACE_ID"))

        def handler(event, context):
            wait_until(work, event)
            return os.environ.get("_X_AMZN_TRACE_ID")
        """,
        Event(1, headers={"Lambda-Runtime-Trace-Id": "Root=1-1;Sampled=1"}),
        Event(2),
        Event(3, headers={"Lambda-Runtime-Trace-Id": "Root=1-3;Sampled=1"}),
        env={"_X_AMZN_TRACE_ID": "Root=1-0"},
    )

    assert served.answers == ["Root=1-1;Sampled=1", None, "Root=1-3;Sampled=1"]
    printed = [line for line in served.lines if line[:1] in "123"]
    assert printed == ["1 Root=1-1;Sampled=1", "2 None", "3 Root=1-3;Sampled=1"]


# Threads that are left behind...

LEFT = "is still at work"


def test_thread_that_is_left_at_work_is_named_with_the_line_that_started_it(serve: Serve) -> None:
    """Once: it belongs to the invocation that started it."""
    served = serve(
        """
        import threading, time

        def handler(event, context):
            if event:
                threading.Thread(target=time.sleep, args=(30,), name="mailer", daemon=True).start()
        """,
        True,
        False,
    )

    (line,) = [line for line in served.lines if LEFT in line]
    assert "thread mailer, started at" in line
    assert "app.py:6" in line
    assert served.api.events[0].request_id in line


@pytest.mark.parametrize("work", ["wait_long", "time.sleep"])
def test_work_left_in_a_pool_is_named_too(serve: Serve, work: str) -> None:
    """By the line that made the pool's thread."""
    served = serve(
        f"""
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)

        def wait_long(seconds):
            time.sleep(seconds)

        def handler(event, context):
            future = pool.submit({work}, 1)
            while not future.running():
                time.sleep(0.001)
        """,
        None,
    )

    (line,) = [line for line in served.lines if LEFT in line]
    assert "app.py:10" in line


NOT_LEFT = {
    "idle pool": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        def handler(event, context): pool.submit(len, "").result()
        """,
    "idle pool of the event loop": """
        import asyncio
        async def handler(event, context): await asyncio.to_thread(len, "")
        """,
    "waits for work": """
        import queue, threading
        work = queue.Queue()
        def handler(event, context): threading.Thread(target=work.get, daemon=True).start()
        """,
    "of the module": """
        import threading, time
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        def handler(event, context): pass
        """,
    "has ended": """
        import threading
        def handler(event, context):
            thread = threading.Thread(target=len, args=("",))
            thread.start()
            thread.join()
        """,
}


@pytest.mark.parametrize("source", NOT_LEFT.values(), ids=NOT_LEFT)
def test_thread_that_waits_for_work_or_is_no_invocations_is_not_named(serve: Serve, source: str) -> None:
    """Every environment has some."""
    assert LEFT not in serve(source, None, None).stdout
