"""Threads of the function's: each belongs to the invocation that started it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.fakes import Event


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


def test_excepthook_of_the_function_belongs_to_the_invocation_of_the_thread(serve: Serve) -> None:
    """Its records have the request id of the invocation that started the thread, not of the one being served."""
    served = serve(
        """
        import logging, threading

        next_event = threading.Event()
        threading.excepthook = lambda args: logging.error("hooked %s", args.exc_type.__name__)

        def work():
            next_event.wait(20)
            raise ValueError("no")

        def handler(event, context):
            if event == "start":
                handler.thread = threading.Thread(target=work)
                handler.thread.start()
            else:
                next_event.set()
                handler.thread.join()
        """,
        "start",
        "join",
    )

    assert ids(served, "hooked ValueError") == [served.api.events[0].request_id]


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


KINDS_OF_THREADS = [
    "threading.Thread(target=note)",
    "threading.Timer(0, note)",
    "Derived()",
    "Overriding()",
    "assigned()",
    "started_in_vain()",
    "threading.Thread(target=threading.Thread(target=note).run)",
]


@pytest.mark.parametrize("thread", KINDS_OF_THREADS)
def test_thread_belongs_to_the_invocation_and_has_its_own_variables(serve: Serve, thread: str) -> None:
    """Whatever kind of thread it is: work can be handed over from it, and it shares no value with its starter."""
    served = serve(
        f"""
        import logging, threading
        from contextvars import ContextVar
        from lambda_ric import wait_until

        variable = ContextVar("variable", default="unset")
        seen = []

        def note():
            logging.error("noted")
            wait_until(print, "handed over")
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
            thread = {thread}
            thread.start()
            thread.join()
            return [*seen, variable.get()]
        """,
        "set",
    )

    assert served.answers == [["unset", "set"]]
    assert ids(served, "noted") == [served.api.events[0].request_id]
    assert "handed over" in served.lines


ELSEWHERE = {
    "thread": "in_thread(threading.Thread(target=note))",
    "timer": "in_thread(threading.Timer(0, note))",
    "pool": "pool.submit(note).result()",
    "map of a pool": "list(pool.map(lambda _: note(), [1]))",
    "executor of the loop": "run(loop().run_in_executor(None, note))",
    "executor given to the loop": "run(loop().run_in_executor(pool, note))",
    "pool of multiprocessing": "multiprocessing.pool.ThreadPool(1).apply(note)",
    "module _thread": "with_thread_module()",
    "work after the response": "wait_until(note)",
    "asynchronous work after the response": "wait_until(note_async)",
    "coroutine after the response": "wait_until(note_async())",
    "task after the response": "wait_until(registered)",
}


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
def test_decimal_context_is_changed_for_nobody_else(serve: Serve, elsewhere: str) -> None:
    """Python's documentation of decimal, *Working with threads*: each thread has its own."""
    served = serve(
        f"""
        import _thread, asyncio, multiprocessing.pool, threading
        from concurrent.futures import ThreadPoolExecutor
        from decimal import Decimal, getcontext
        from lambda_ric import task, wait_until

        Decimal(1) / 3  # most modules do something of the kind at import: now there is a context to share
        pool = ThreadPoolExecutor(1)
        loop = asyncio.get_event_loop

        def note():
            getcontext().prec = 3

        async def note_async():
            note()

        @task
        def registered():
            note()

        def in_thread(thread):
            thread.start()
            thread.join()

        def run(future):
            loop().run_until_complete(future)

        def with_thread_module():
            done = threading.Event()
            _thread.start_new_thread(lambda: (note(), done.set()), ())
            done.wait()

        def digits():
            return len(str(Decimal(1) / 7)) - 2

        def handler(event, context):
            before = digits()
            {elsewhere}
            wait_until(lambda: print("digits", digits()))
            return [before, digits()]
        """,
        None,
        None,
    )

    assert served.answers == [[28, 28]] * 2
    assert [line for line in served.lines if "digits" in line] == ["digits 28"] * 2


def test_work_keeps_the_decimal_context_of_the_hand_over(serve: Serve) -> None:
    """Like every other variable: a copy of what it was at that moment."""
    served = serve(
        """
        from decimal import Decimal, getcontext, localcontext
        from lambda_ric import wait_until

        def work():
            print("work", Decimal(1) / 7)

        async def work_async():
            work()

        def handler(event, context):
            with localcontext() as rounding:
                rounding.prec = 5
                wait_until(work)
                wait_until(work_async)
                rounding.prec = 9
        """,
        None,
    )

    assert [line for line in served.lines if "work" in line][:2] == ["work 0.14286"] * 2


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ThreadPool"])
def test_what_the_initializer_of_a_pool_sets_is_there_for_its_work(serve: Serve, pool: str) -> None:
    """A connection for each thread is made in this way; and what one piece of work sets, the next one finds."""
    served = serve(
        f"""
        import logging
        from concurrent.futures import ThreadPoolExecutor
        from contextvars import ContextVar
        from multiprocessing.pool import ThreadPool

        session = ContextVar("session")
        counted = ContextVar("counted", default=0)
        pools = []

        def work():
            counted.set(counted.get() + 1)
            return [session.get(), counted.get()]

        def handler(event, context):
            if not pools:
                pools.append({pool}(1, initializer=session.set, initargs=("connected",)))
            return pools[0].submit(work).result() if {pool!r} == "ThreadPoolExecutor" else pools[0].apply(work)
        """,
        None,
        None,
    )

    assert served.answers == [["connected", 1], ["connected", 2]]


def test_thread_started_before_any_invocation_works_for_the_one_that_is_served(serve: Serve) -> None:
    """What was started at import belongs to none itself."""
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

    assert ids(served, "standing by") == [served.api.events[0].request_id]


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
