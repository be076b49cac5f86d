"""The loop, seen from outside: what Lambda is asked and told, and in which order."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import Event, FakeRuntimeAPI, Request, reply


def calls(api: FakeRuntimeAPI) -> list[str]:
    """Return what was asked and told, in order."""
    return [request.name for request in api.requests]


def test_handlers_result_is_posted_for_the_request_that_it_answers(serve: Serve) -> None:
    """The loop: next, invoke, response, next."""
    served = serve("def handler(event, context): return {'got': event}", {"n": 1}, {"n": 2})

    assert [post.path.split("/", 3)[3] for post in served.posts] == [
        f"invocation/{event.request_id}/response" for event in served.api.events
    ]
    assert served.answers == [{"got": {"n": 1}}, {"got": {"n": 2}}]


def test_handler_is_called_on_the_main_thread_while_no_event_loop_runs(serve: Serve) -> None:
    """Parity 113: signals, Mangum and Powertools work there only."""
    served = serve(
        """
        import asyncio, threading

        def handler(event, context):
            return [threading.current_thread() is threading.main_thread(), asyncio._get_running_loop() is None]
        """,
        None,
    )

    assert served.answers == [[True, True]]


# After the response...


def test_work_handed_over_runs_after_the_response_and_before_the_next_poll(serve: Serve) -> None:
    """
    The promise of this package (Parity 116, platform edge 6).

    The caller has its answer at once; the next event is not polled for before the work is over; and the work's log
    lines carry the id of its own invocation.
    """
    served = serve(
        """
        import logging, time
        from lambda_ric import wait_until

        def work(seconds):
            logging.warning("before")
            time.sleep(seconds)
            logging.warning("after")

        def handler(seconds, context):
            wait_until(time.sleep, seconds)
            wait_until(work, seconds)
        """,
        2,
        0.1,
    )

    first_poll, response, second_poll, second_response, third_poll = served.api.requests
    assert response.at - first_poll.at < 2  # of which the caller has waited for none
    assert second_poll.at - response.at >= 2
    assert third_poll.at - second_response.at >= 0.1
    first, second = [event.request_id for event in served.api.events]
    logged = [line.split("\t") for line in served.lines if line.startswith("[WARNING]")]
    assert [(fields[2], fields[3]) for fields in logged] == [
        (first, "before"), (first, "after"), (second, "before"), (second, "after"),
    ]  # fmt: skip
    summary = re.match(rf"BACKGROUND RequestId: {first}\tDuration: (\d+)", served.summaries[0])
    assert summary is not None
    assert int(summary[1]) >= 2000
    assert served.summaries[0].endswith("\tTasks: 2\tSucceeded: 2")


def test_work_starts_when_the_response_was_accepted_and_not_before(serve: Serve) -> None:
    """Edge 20: the answer is encoded and posted before any work can change it or take its time."""
    posted_at: list[float] = []

    def slow(request: Request) -> bytes | None:
        if request.name == "response":
            time.sleep(0.3)
            posted_at.append(time.time())
        return None

    served = serve(
        """
        import time
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(lambda: print(time.time()))
        """,
        None,
        intercept=slow,
    )

    assert float(served.lines[0]) >= posted_at[0]


@pytest.mark.parametrize(
    ("status", "source"),
    [
        (413, "yield 'large'"),
        (410, "yield 'too late'"),
        (403, "yield 'answered already'"),
        (400, "yield 'not waiting'"),
        (413, "raise ValueError('large'); yield"),
        (410, "raise ValueError('too late'); yield"),
    ],
)
def test_answer_that_is_refused_is_logged_and_the_loop_goes_on(serve: Serve, status: int, source: str) -> None:
    """Edges 1, 2, 3; platform edge 5: no error is posted after it, and background work is done all the same."""
    served = serve(
        f"""
        from lambda_ric import after_response, wait_until

        @after_response
        def handler(event, context):
            wait_until(print, "the work is done")
            {source}
        """,
        None,
        None,
        intercept=lambda request: reply(status, b'{"errorType":"Refused"}') if request.method == "POST" else None,
    )

    kind = "response" if source.startswith("yield '") else "error"
    assert calls(served.api) == ["next", kind, "next", kind, "next"]
    assert served.stdout.count("the work is done") == 2
    assert served.stdout.count(f"posting the {kind} failed: the Runtime API said {status}") == 2


def test_answer_that_arrived_unacknowledged_is_a_success(serve: Serve) -> None:
    """What follows a failure only, does not follow it: the caller has the answer."""
    refused = reply(403, b'{"errorType":"InvalidStateTransition"}')
    answers = iter([b""])
    served = serve(
        """
        from lambda_ric import task, wait_until

        @task(on="error")
        def refund(): print("refunded")

        @task(on="success")
        def send_receipt(): print("receipt sent")

        def handler(event, context):
            wait_until(refund)
            wait_until(send_receipt)
            return "paid"
        """,
        None,
        intercept=lambda request: next(answers, refused) if request.name == "response" else None,
    )

    assert ("refunded" in served.lines, "receipt sent" in served.lines) == (False, True)


def test_event_that_cannot_be_read_fails_its_invocation_only(serve: Serve) -> None:
    """The first event of an environment may be broken as well as any other."""
    served = serve("def handler(event, context): return event", b"{", "good", b"[1,")

    assert [post.name for post in served.posts] == ["error", "response", "error"]
    assert served.answers[0]["errorType"] == "Runtime.UnmarshalError"
    assert "Traceback" not in served.stderr


def test_context_that_cannot_be_read_fails_its_invocation_only(serve: Serve) -> None:
    """The hooks run without a context then."""
    served = serve(
        """
        from lambda_ric import after_invoke
        after_invoke(lambda outcome: print("context:", outcome.context))

        def handler(event, context): return event
        """,
        Event("bad", headers={"Lambda-Runtime-Client-Context": "{"}),
        "good",
    )

    assert [post.name for post in served.posts] == ["error", "response"]
    assert "context: None" in served.lines


def test_error_is_posted_before_the_work_begins(serve: Serve, tmp_path: Path) -> None:
    """Edge 4: the caller of a failed invocation does not wait either. The work waits for the error to come."""
    come = tmp_path / "the error has come"
    served = serve(
        """
        import os, time
        from lambda_ric import wait_until

        def work(come):
            while not os.path.exists(come):
                time.sleep(0.01)
            print("the work is done")

        def handler(event, context):
            wait_until(work, event)
            raise ValueError("no")
        """,
        str(come),
        intercept=lambda request: come.touch() if request.name == "error" else None,
    )

    assert [request.name for request in served.api.requests] == ["next", "error", "next"]
    assert "the work is done" in served.lines


@pytest.mark.parametrize(
    ("statement", "exit_code"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("raise KeyboardInterrupt", 130)]
)
def test_handler_that_ends_the_process_does_so_after_its_background_work(
    serve: Serve, statement: str, exit_code: int
) -> None:
    """The caller is told, the work is done, and no other event is taken."""
    served = serve(
        f"""
        import sys
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(print, "the work is done")
            {statement}
        """,
        None,
        None,
    )

    assert calls(served.api) == ["next", "error"]
    assert served.exit_code == exit_code
    assert "the work is done" in served.lines


def test_context_variables_do_not_reach_the_next_invocation(serve: Serve) -> None:
    """Edge 14: per-invocation state dies with the invocation, the function's included."""
    served = serve(
        """
        from contextvars import ContextVar

        user = ContextVar("user", default="nobody")

        def handler(event, context):
            before = user.get()
            user.set(event)
            return before
        """,
        "a",
        "b",
    )

    assert served.answers == ["nobody", "nobody"]


def test_repeated_request_id_is_an_invocation_of_its_own(serve: Serve) -> None:
    """Edge 7, platform edge 12: ids repeat on asynchronous retries; each attempt has its own registry."""
    request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    served = serve(
        """
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(print, "attempt", event)
        """,
        Event(1, request_id=request_id),
        Event(2, request_id=request_id),
    )

    assert [line for line in served.lines if line.startswith("attempt")] == ["attempt 1", "attempt 2"]
    assert len(served.summaries) == 2


def test_what_the_work_prints_is_written_before_the_next_poll(serve: Serve) -> None:
    """Edge 26, platform edge 15: a line without an end would come out in the next invocation."""
    seen: list[bytes] = []
    near, far = socket.socketpair()
    far.setblocking(False)

    def look(request: Request) -> bytes | None:
        if request.name == "next":
            try:
                seen.append(far.recv(10_000))
            except BlockingIOError:
                seen.append(b"")
        return None

    with near, far:
        serve(
            f"""
            import os, sys
            from lambda_ric import wait_until

            os.dup2({near.fileno()}, 1)

            def handler(event, context):
                wait_until(print, "no end", end="")
            """,
            None,
            intercept=look,
            pass_fds=(near.fileno(),),
        )

    assert seen[0] == b""
    assert b"no end" in seen[1]


# Signals...


@pytest.mark.parametrize(
    ("signum", "phase"), [("SIGTERM", "idle"), ("SIGINT", "idle"), ("SIGTERM", "draining"), ("SIGTERM", "on the loop")]
)
def test_signal_handlers_of_the_function_run_whatever_the_loop_waits_for(
    tmp_path: Path, signum: str, phase: str
) -> None:
    """Parity 118, 119, edge 22: the wait for the next event, and that for background work, are interruptible."""
    work = {
        "idle": "pass",
        "draining": "wait_until(threading.Event().wait)",
        "on the loop": "wait_until(asyncio.sleep, 60)",
    }
    (tmp_path / "app.py").write_text(
        f"""
import asyncio, signal, sys, threading
from lambda_ric import wait_until

def stop(number, frame):
    print("stopping", flush=True)
    sys.exit(9)

signal.signal(signal.{signum}, stop)

def handler(event, context):
    {work[phase]}
"""
    )

    posted = threading.Event()

    def hold(request: Request) -> bytes | None:
        if request.method == "POST":
            posted.set()
        elif posted.is_set():
            time.sleep(20)  # the second poll is not answered: the runtime waits for an event
        return None

    with FakeRuntimeAPI(None, intercept=hold) as api:
        environment = {**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address, "LAMBDA_TASK_ROOT": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-m", "lambda_ric", "app.handler"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert posted.wait(20)
                time.sleep(0.2)  # for the runtime to be waiting: it may get the signal at any time, but this shows most
                process.send_signal(getattr(signal, signum))
                stdout, _ = process.communicate(timeout=15)
            finally:
                process.kill()
    assert "stopping" in stdout
    assert process.returncode == 9


def test_process_without_signal_handlers_dies_of_sigterm(tmp_path: Path) -> None:
    """Parity 118: the runtime installs none."""
    (tmp_path / "app.py").write_text("def handler(event, context): ...")
    posted = threading.Event()

    def hold(request: Request) -> None:
        if request.method == "POST":
            posted.set()
        elif posted.is_set():
            time.sleep(20)

    with FakeRuntimeAPI(None, intercept=hold) as api:
        environment = {**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address, "LAMBDA_TASK_ROOT": str(tmp_path)}
        command = [sys.executable, "-m", "lambda_ric", "app.handler"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
            try:
                assert posted.wait(20)
                process.terminate()
                assert process.wait(15) == -signal.SIGTERM
            finally:
                process.kill()


def test_threads_of_one_invocation_do_not_pile_up(serve: Serve) -> None:
    """Parity 120: no thread is made for each invocation, and background threads end with their work."""
    served = serve(
        """
        import threading
        from lambda_ric import wait_until

        def handler(event, context):
            if event == "work":
                for _ in range(5):
                    wait_until(str)
            else:
                for thread in threading.enumerate():
                    if thread.name == "lambda_ric.background":
                        thread.join(10)
            return threading.active_count()
        """,
        "idle",
        "work",
        "idle",
    )

    assert (served.answers[0], served.answers[2]) == (1, 1)


def test_spans_of_an_invocation_are_written_before_the_next_poll(serve: Serve) -> None:
    """One line for each piece: its kind, its name, its end, its times."""
    read_end, write_end = os.pipe()
    try:
        served = serve(
            """
            from lambda_ric import after_response, wait_until

            def work(): pass
            async def failing(): raise ValueError("no")
            def hook(outcome): pass

            @after_response(hook)
            @after_response
            def handler(event, context):
                wait_until(work)
                wait_until(failing)
                wait_until(work).cancel()
                yield
            """,
            None,
            env={"LAMBDA_RIC_SPANS_FD": str(write_end)},
            pass_fds=(write_end,),
        )
        spans: list[dict[str, Any]] = [json.loads(line) for line in os.read(read_end, 1 << 16).splitlines()]
    finally:
        os.close(read_end)
        os.close(write_end)
    assert {span["request_id"] for span in spans} == {served.api.events[0].request_id}
    assert all(span["start"] <= span["end"] for span in spans if span["state"] != "running")
    assert sorted((span["kind"], span["name"], span["state"]) for span in spans if span["state"] != "running") == [
        ("continuation", "handler", "succeeded"),
        ("handler", "app.handler", "succeeded"),
        ("hook", "hook", "succeeded"),
        ("task", "failing", "failed"),
        ("task", "work", "cancelled"),
        ("task", "work", "succeeded"),
    ]


@pytest.mark.parametrize("when", ["at import", "in an on_startup hook", "in an asynchronous on_startup hook"])
def test_context_variable_that_is_set_before_the_first_event_is_there_for_every_invocation(
    serve: Serve, when: str
) -> None:
    """Frameworks keep clients in them; what a handler sets ends with its invocation."""
    served = serve(
        f"""
        from contextvars import ContextVar
        from lambda_ric import on_startup

        client = ContextVar("client", default=None)
        user = ContextVar("user", default=None)

        if {when!r} == "at import":
            client.set("connected")
        elif {when!r} == "in an on_startup hook":
            @on_startup
            def connect():
                client.set("connected")
        else:
            @on_startup
            async def connect():
                client.set("connected")

        def handler(event, context):
            before = user.get()
            user.set(event)
            return [client.get(), before]
        """,
        "alice",
        "bob",
    )

    assert served.answers == [["connected", None]] * 2
