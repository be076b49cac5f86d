"""What a function does to its process ends no process that could go on: descriptors, signals, threads that hang."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.fakes import Event, Request

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

WITHOUT_DESCRIPTORS = """
import os, resource
from lambda_ric import wait_until

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = []

def exhaust():
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass

class Awaitable:
    def __await__(self):
        return iter(())

def first_loop(event, context):
    import asyncio
    exhaust()
    return event

def first_coroutine(event, context):
    exhaust()
    wait_until(Awaitable())
    return event

def first_thread(event, context):
    exhaust()
    wait_until(print, "ran", event)
    return event

def close_all(event, context):
    os.closerange(3, 64)
    return event
"""


@pytest.mark.parametrize("handler", ["first_loop", "first_coroutine", "first_thread", "close_all"])
def test_process_without_descriptors_answers_and_serves_the_next_event(serve: Serve, handler: str) -> None:
    """What cannot be loaded or opened any more is told, if it was wanted."""
    served = serve(WITHOUT_DESCRIPTORS, 1, 2, handler=f"app.{handler}")

    assert served.answers == [1, 2]
    assert "asking for the next event failed" in served.lines[-1]  # as at the end of every test
    failed = [line for line in served.lines if "background task Awaitable failed" in line]
    assert all("OSError: [Errno 24] Too many open files" in line for line in failed)
    assert len(failed) == (2 if handler == "first_coroutine" else 0)


WITHOUT_ITS_LOOP = """
import asyncio, os
from lambda_ric import after_invoke, wait_until
from lambda_ric.asgi import ASGIHandler

if os.environ.get("HOOK"):
    @after_invoke
    async def hook(outcome):
        await asyncio.sleep(0)

def close_all(event):
    if event != "next":
        os.closerange(3, 64)

async def asynchronous(event, context):
    await asyncio.sleep(0)
    close_all(event)
    return event

def synchronous(event, context):
    asyncio.get_event_loop()
    close_all(event)
    return event

async def work(event):
    close_all(event)
    await asyncio.sleep(0)
    print("worked")

def background(event, context):
    asyncio.get_event_loop()
    wait_until(work(event))
    return event
"""


@pytest.mark.parametrize("handler", ["asynchronous", "synchronous", "background"])
def test_event_loop_whose_descriptors_are_closed_costs_no_answer_and_no_later_event(serve: Serve, handler: str) -> None:
    """A new one takes its place, and one line says so; what was at work on it fails."""
    served = serve(WITHOUT_ITS_LOOP, "close", "next", "next", handler=f"app.{handler}", env={"HOOK": "1"})

    assert served.answers == ["close", "next", "next"]
    assert served.stdout.count("the event loop cannot be run any more, and what belonged to it is lost") == 1
    if handler == "background":
        assert served.stdout.count("worked") == 2
        assert served.stdout.count("background task work failed") == 1
    assert "Exception ignored" not in served.stderr


INTERRUPTED = """
import asyncio, time
from lambda_ric import on_shutdown

@on_shutdown
def say():
    print("shut down")

class Raising:
    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ImportError("no more imports")

def without_descriptors(event, context):
    exhaust()
    time.sleep(60)

def without_imports(event, context):
    __import__("sys").meta_path.insert(0, Raising)
    time.sleep(60)

def without_a_loop(event, context):
    asyncio.get_event_loop()
    os.closerange(3, 64)
    time.sleep(60)

async def without_its_loop(event, context):
    await asyncio.sleep(0)
    os.closerange(3, 64)
    time.sleep(60)
"""


@pytest.mark.parametrize("handler", ["without_descriptors", "without_imports", "without_a_loop", "without_its_loop"])
def test_process_that_was_interrupted_without_descriptors_answers_and_ends_in_order(serve: Serve, handler: str) -> None:
    """Its caller hears of the timeout, and the hooks run; no traceback of the runtime's own says otherwise."""
    served = serve(
        WITHOUT_DESCRIPTORS + INTERRUPTED,
        Event(None, timeout=4.0),
        handler=f"app.{handler}",
        env={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1"},  # so that no start fits
    )

    assert [answer["errorType"] for answer in served.answers] == ["Function.Timeout"]
    assert served.stdout.count("the process ends, and Lambda starts a new one: it was interrupted") == 1
    assert "shut down" in served.lines
    assert "Traceback" not in served.stderr
    assert served.exit_code == 1


def test_record_with_an_exception_is_json_also_without_descriptors(serve: Serve) -> None:
    """Python 3.15 loads a module for the first traceback."""
    source = (
        WITHOUT_DESCRIPTORS
        + "\nimport logging\ndef handler(event, context):\n    exhaust()\n"
        + ("    try:\n        open('/dev/null')\n    except OSError:\n        logging.exception('cannot be opened')\n")
    )
    served = serve(source, None, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})

    (record,) = [event for event in served.events if event["message"] == "cannot be opened"]
    assert record["errorMessage"].startswith("[Errno 24] Too many open files")
    assert record["stackTrace"][0].endswith(", in handler\n")


RAISING = """
import os, signal, threading, time
from lambda_ric import wait_until

def raise_it(signum, frame):
    raise ValueError("of the signal handler")

signal.signal(signal.SIGUSR1, raise_it)
with open("pid", "w") as file:
    file.write(str(os.getpid()))
ran = threading.Event()

def work():
    os.kill(os.getpid(), signal.SIGUSR1)
    ran.wait(0.2)  # the main thread waits for this one, and is disturbed
    print("work ran")

def handler(event, context):
    if event == "work":
        wait_until(work)
    return event
"""


def test_signal_handler_that_raises_while_there_is_no_event_costs_none(serve: Serve, tmp_path: Path) -> None:
    """It belongs to no invocation; the wait goes on."""
    disturbed: list[Request] = []

    def disturb(request: Request) -> bytes | None:
        if request.method == "GET" and (tmp_path / "pid").exists() and not disturbed:
            disturbed.append(request)
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGUSR1)
            return b"HTTP/1.1 100 Continue\r\n\r\n"  # an interim reply, after which the client goes on waiting
        return None

    served = serve(RAISING, 1, 2, intercept=disturb)

    assert served.answers == [1, 2]
    assert [line for line in served.lines if "an exception came up while there was no event" in line] != []
    assert "ValueError: of the signal handler" in served.stdout


def test_signal_handler_that_raises_in_the_drain_costs_no_work(serve: Serve) -> None:
    """It is told, and the work that it interrupted the wait for ends as it would have."""
    served = serve(RAISING, "work", "next")

    assert served.answers == ["work", "next"]
    assert "work ran" in served.lines
    assert "Succeeded: 1" in served.summaries[0]
    assert "an exception came up beside background work" in served.stdout


HANGING = """
import threading
from lambda_ric import wait_until

never = threading.Event()
taken = iter(range(100))

def hang():
    never.wait()

def handler(event, context):
    if event == "hang":
        for _ in range(4):
            wait_until(hang)
    elif event == "work":
        wait_until(print, "work ran")
    elif event == "let go":
        never.set()
    return threading.active_count()
"""


def test_threads_that_hang_are_never_more_than_may_run_at_once(serve: Serve) -> None:
    """Those of earlier invocations count; what there is no thread for is dropped at once, and that is told."""
    events = [Event("hang", timeout=1), *[Event("hang", timeout=1)] * 3, Event("work", timeout=60)]
    served = serve(HANGING, *events, env={"LAMBDA_RIC_MAX_THREADS": "2"})

    assert max(served.answers) == 3
    assert "work ran" not in served.lines
    (told,) = [line for line in served.lines if "background task print was dropped" in line]
    assert "2 threads of earlier invocations still run (LAMBDA_RIC_MAX_THREADS)" in told


def test_threads_that_have_ended_after_all_are_free_again(serve: Serve) -> None:
    """And take the work of later invocations."""
    served = serve(HANGING, Event("hang", timeout=1), "let go", "work", env={"LAMBDA_RIC_MAX_THREADS": "2"})

    assert "work ran" in served.lines
    assert "Succeeded: 1" in served.summaries[-1]
