"""The end of an environment: how it is announced, what it ends, and the on_shutdown hooks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, Serve, Served
from tests.support.fakes import Event, FakeRuntimeAPI, Intercept, Request, reply

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

REGISTERED = reply(200, b"{}", Lambda_Extension_Identifier="7f3c0c4e-6c2b-4b5e-9d4e-6d1f0e6f0a11")
NO_ANSWER = b"HTTP/1.1 100 Continue\r\n\r\n"  # an interim reply, after which the client goes on waiting

BEGINNING = """
import asyncio, os, signal, sys, threading, time
from lambda_ric import wait_until
from lambda_ric.hooks import on_shutdown

with open("pid", "w") as file:
    file.write(str(os.getpid()))
"""
ONE_HOOK = """
@on_shutdown
def say(): print("hook ran")

def handler(event, context): return event
"""


@pytest.fixture
def serve_and_end(serve: Serve, tmp_path: Path) -> Callable[..., Served]:
    """Serve *events* with *source*; when the process asks for one more, send it *number* and no event."""

    def serve_and_end(
        source: str,
        *events: Any,
        number: int = signal.SIGTERM,
        register: bytes = REGISTERED,
        **options: Any,
    ) -> Served:
        platform = ending(tmp_path, len(events), number, register)
        return serve(BEGINNING + textwrap.dedent(source), *events, intercept=platform, **options)

    return serve_and_end


def ending(directory: Path, events: int, number: int = signal.SIGTERM, register: bytes = REGISTERED) -> Intercept:
    """Send *number* to the process that has left its id in *directory* when it asks for more than *events*."""
    left = [None] * events

    def answer(request: Request) -> bytes | None:
        if request.path.endswith("/extension/register"):
            return register
        if request.path.endswith("/extension/event/next"):
            return NO_ANSWER
        if request.path.endswith("/restore/next"):
            return reply(200)
        if request.method == "POST" or left:
            del left[: request.method == "GET"]
            return None
        os.kill(int((directory / "pid").read_text()), number)
        return NO_ANSWER

    return answer


def run_program(source: str, directory: Path, intercept: Intercept, **variables: str) -> str:
    """Run a program that serves one event by itself to its end; return what it has written."""
    with FakeRuntimeAPI("x", intercept=intercept) as api:
        done = subprocess.run(
            [sys.executable, "-c", BEGINNING + textwrap.dedent(source)],
            cwd=directory,
            env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stderr == ""
    return done.stdout


def paths(served: Served) -> list[str]:
    """Return what was asked for, without the versions of the APIs."""
    return [request.path.split("/", 2)[2] for request in served.api.requests]


def printed(served: Served) -> list[str]:
    """Return what the function printed."""
    return [line for line in served.lines if not line.startswith(("[", "BACKGROUND"))]


def logged(served: Served, level: str) -> list[str]:
    """Return the texts of the log's events of *level*."""
    return [line.split("\t", 3)[3] for line in served.lines if line.startswith(f"[{level}]")]


# How the end is announced...


def test_extension_is_registered_before_the_first_event_is_asked_for(serve_and_end: Callable[..., Served]) -> None:
    """Registration is closed then; it wants no events, and asks for the next one, or init would never end."""
    served = serve_and_end(ONE_HOOK, "x")

    register, polls = served.api.requests[0], served.api.requests[1:]
    (poll,) = [request for request in polls if request.path == "/2020-01-01/extension/event/next"]
    assert paths(served)[0] == "extension/register"
    assert register.headers["lambda-extension-name"] == "lambda-ric"
    assert register.json() == {"events": []}
    assert poll.headers["lambda-extension-identifier"] == "7f3c0c4e-6c2b-4b5e-9d4e-6d1f0e6f0a11"
    assert poll.connection == register.connection
    assert {request.connection for request in polls if request is not poll}.isdisjoint({register.connection})
    assert served.posts[-1].json() == "x"


def test_extension_is_registered_before_the_snapshot(serve_and_end: Callable[..., Served]) -> None:
    """Registration is closed by the wait for the restore."""
    served = serve_and_end(ONE_HOOK, env={"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"})

    asked = paths(served)
    assert asked.index("extension/register") < asked.index("runtime/restore/next")
    assert (printed(served), served.exit_code) == (["hook ran"], 0)


def test_function_without_hooks_registers_nothing_and_loads_nothing(serve_and_end: Callable[..., Served]) -> None:
    """An extension costs every cold start a call, and Lambda allows ten; SIGTERM ends the process as before."""
    source = "def handler(event, context): return [name for name in sys.modules if name.startswith('lambda_ric.ext')]"

    served = serve_and_end(source, None)

    assert "extension/register" not in paths(served)
    assert served.answers == [[]]
    assert served.exit_code == -signal.SIGTERM


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (reply(403, b"Extension.RegistrationClosed"), "403 Extension.RegistrationClosed"),
        (reply(404), "404"),
        (reply(200, b"{}"), "200 {}"),
        (b"", "the connection was closed without a reply"),
        (b"SSH-2.0\r\n\r\n", "not the first line of an HTTP/1.1 reply"),
    ],
)
def test_registration_that_is_refused_is_a_warning(
    serve_and_end: Callable[..., Served], refusal: bytes, said: str
) -> None:
    """The function is served all the same, and hears of a SIGTERM that comes for another reason."""
    served = serve_and_end(ONE_HOOK, "x", register=refusal)

    (warning,) = logged(served, "WARNING")
    assert "on_shutdown hooks will not run" in warning
    assert said in warning
    assert served.answers[-1] == "x"
    assert (printed(served), served.exit_code, served.stderr) == (["hook ran"], 0, "")


# ...what it ends...


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_wait_for_an_event_ends_at_once_and_hooks_run_the_last_first(
    serve_and_end: Callable[..., Served], kind: str
) -> None:
    """What was opened last may need what was opened first; the process ends as one that succeeded."""
    served = serve_and_end(
        f"""
        @on_shutdown
        {kind} close_pool(): print("pool")

        @on_shutdown
        {kind} close_session(): print("session")

        {kind} handler(event, context): ...
        """,
        None,
    )

    assert printed(served) == ["session", "pool"]
    assert (served.exit_code, served.stderr, logged(served, "WARNING")) == (0, "", [])


def test_invocation_and_its_background_work_are_finished_first(serve_and_end: Callable[..., Served]) -> None:
    """Whoever waits for the answer gets it; no further event is asked for."""
    served = serve_and_end(
        """
        on_shutdown(lambda: print("hook"))

        def work():
            print("work")

        async def work_on_loop():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
            print("work on loop")

        def handler(event, context):
            wait_until(work)
            wait_until(work_on_loop)
            os.kill(os.getpid(), signal.SIGTERM)
            print("handler")
            return "answer"
        """,
        1,
        2,
    )

    assert [post.json() for post in served.posts if post.name == "response"] == ["answer"]
    assert printed(served)[0] == "handler"
    assert sorted(printed(served)[1:-1]) == ["work", "work on loop"]
    assert printed(served)[-1] == "hook"
    assert paths(served).count("runtime/invocation/next") == 1
    assert served.exit_code == 0


def test_handler_of_the_functions_own_is_kept(serve_and_end: Callable[..., Served]) -> None:
    """It gets the signal, thanks to the extension; a warning says what it has to do for the hooks."""
    served = serve_and_end(
        """
        def stop(number, frame):
            print("own")
            sys.exit(9)

        signal.signal(signal.SIGTERM, stop)
        """
        + textwrap.indent(ONE_HOOK, " " * 8)
    )

    (warning,) = logged(served, "WARNING")
    assert "SIGTERM has a handler of the function's own" in warning
    assert (printed(served), served.exit_code) == (["own", "hook ran"], 9)


IN_LOOP = {
    "plain": "loop.add_signal_handler(signal.SIGTERM, os.write, 1, b'loop\\n')",
    "that exits": "loop.add_signal_handler(signal.SIGTERM, lambda: (os.write(1, b'loop\\n'), sys.exit(9)))",
    "that raises": "loop.add_signal_handler(signal.SIGTERM, lambda: (os.write(1, b'loop\\n'), 1 / 0))",
    "that starts a task": "loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(close()))",
}
WHEN = {
    "in the handler": """
async def handler(event, context):
    loop = asyncio.get_running_loop()
    {add}
    return event
""",
    "in a synchronous handler": """
def handler(event, context):
    loop = asyncio.get_event_loop()
    {add}
    return event
""",
    "at startup": """
from lambda_ric import on_startup
@on_startup
async def start():
    loop = asyncio.get_running_loop()
    {add}
def handler(event, context):
    return event
""",
    "at import": """
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
{add}
def handler(event, context):
    return event
""",
}


@pytest.mark.parametrize("hook", ["", "on_shutdown(lambda: print('hook'))"], ids=["no hook", "hook"])
@pytest.mark.parametrize("when", WHEN.values(), ids=WHEN)
@pytest.mark.parametrize("add", IN_LOOP.values(), ids=IN_LOOP)
def test_signal_handler_of_the_event_loop_hears_of_the_end(
    serve_and_end: Callable[..., Served], add: str, when: str, hook: str
) -> None:
    """Though the loop stands still while an event is waited for; the hooks run after it."""
    source = """
async def close():
    await asyncio.sleep(0.01)
    print("loop")
"""
    served = serve_and_end(f"{source}\n{hook}\n{when.replace('{add}', add)}", "x")

    assert [post.json() for post in served.posts if post.name == "response"] == ["x"]
    assert [line for line in printed(served) if line in ("loop", "hook")] == (["loop", "hook"] if hook else ["loop"])
    assert (logged(served, "WARNING"), served.exit_code) == ([], 0)


def test_task_of_a_signal_handler_does_not_take_the_hooks_time(serve_and_end: Callable[..., Served]) -> None:
    """It has its share, like a hook."""
    served = serve_and_end(
        """
        on_shutdown(lambda: print("hook ran"))

        async def handler(event, context):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(asyncio.sleep(60)))
        """,
        None,
    )

    assert "what a signal handler of the event loop has started was stopped" in served.stdout
    assert (printed(served), served.exit_code) == (["hook ran"], 0)


@pytest.mark.parametrize(
    "borrow",
    [
        "signal.signal(signal.SIGTERM, signal.signal(signal.SIGTERM, print))",
        "signal.signal(signal.SIGTERM, print); signal.signal(signal.SIGTERM, signal.SIG_DFL)",
        "in_the_loop()",
        "asyncio.run(with_handler())",
    ],
)
def test_signal_that_is_borrowed_and_given_back_is_heard_again(
    serve_and_end: Callable[..., Served], borrow: str
) -> None:
    """The hooks run, without a warning."""
    served = serve_and_end(
        f"""
        on_shutdown(lambda: print("hook ran"))

        async def with_handler():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "never")

        def in_the_loop():
            loop = asyncio.get_event_loop()
            loop.add_signal_handler(signal.SIGTERM, print, "never")
            loop.remove_signal_handler(signal.SIGTERM)

        def handler(event, context):
            {borrow}
        """,
        None,
    )

    assert (printed(served), served.exit_code, logged(served, "WARNING")) == (["hook ran"], 0, [])


def test_handler_that_the_function_sets_later_is_kept_with_a_warning(serve_and_end: Callable[..., Served]) -> None:
    """Once."""
    served = serve_and_end(
        """
        def stop(number, frame):
            print("own")
            sys.exit(9)

        def handler(event, context):
            signal.signal(signal.SIGTERM, stop)
        """
        + textwrap.indent("\n@on_shutdown\ndef say(): print('hook ran')\n", " " * 8),
        1,
        2,
    )

    (warning,) = logged(served, "WARNING")
    assert "SIGTERM has a handler of the function's own" in warning
    assert (printed(served), served.exit_code) == (["own", "hook ran"], 9)


def test_program_that_serves_events_off_its_main_thread_is_warned(tmp_path: Path) -> None:
    """Python handles signals on the main thread only."""
    program = """
    import threading, lambda_ric

    on_shutdown(lambda: print("hook ran"))
    thread = threading.Thread(target=lambda_ric.run, args=[lambda event, context: event])
    thread.start()
    thread.join()
    """

    written = run_program(program, tmp_path, lambda request: REGISTERED if request.name == "register" else None)

    assert "SIGTERM will end the process without its on_shutdown hooks" in written
    assert "hook ran" in written.splitlines()


def test_program_with_a_transport_of_its_own_hears_of_the_end(tmp_path: Path) -> None:
    """The extension has a connection of its own; the signal ends the wait of an httpx client as well."""
    program = """
    import httpx, lambda_ric
    from lambda_ric.httpx_connection import HttpxConnection
    from lambda_ric.settings import Address

    on_shutdown(lambda: print("hook ran"))
    address = Address.parse(os.environ["AWS_LAMBDA_RUNTIME_API"])
    transport = HttpxConnection(httpx.Client(trust_env=False), address)
    print("code", lambda_ric.run(lambda event, context: event, transport=transport))
    """

    assert run_program(program, tmp_path, ending(tmp_path, 1)).splitlines() == ["hook ran", "code 0"]


def test_transport_that_needs_no_address_is_a_warning(tmp_path: Path) -> None:
    """There is nothing to register with."""
    program = """
    import lambda_ric
    from lambda_ric.errors import RuntimeAPIError

    class Closed:
        def send(self, call): raise RuntimeAPIError("closed")
        def close(self): ...

    on_shutdown(lambda: print("hook ran"))
    print("code", lambda_ric.run(lambda event, context: event, transport=Closed()))
    """

    written = run_program(program, tmp_path, lambda request: None, AWS_LAMBDA_RUNTIME_API="")

    assert "on_shutdown hooks will not run: AWS_LAMBDA_RUNTIME_API" in written
    assert written.splitlines()[-2:] == ["hook ran", "code 1"]


def test_child_process_ends_when_it_is_told_to(serve_and_end: Callable[..., Served]) -> None:
    """A fork inherits the parent's handlers; `multiprocessing` ends its children by this signal, at times at once."""
    served = serve_and_end(
        """
        @on_shutdown
        def say(): print("hook ran")

        def handler(event, context):
            return [status_of_child() for _ in range(20)]

        def status_of_child():
            child = os.fork()
            if child == 0:
                time.sleep(60)
            os.kill(child, signal.SIGTERM)
            return os.waitpid(child, 0)[1]
        """,
        None,
    )

    assert served.posts[-1].json() == [signal.SIGTERM] * 20
    assert printed(served) == ["hook ran"]


# ...and what runs then.


def test_hooks_run_whatever_ends_the_loop(serve_and_end: Callable[..., Served], serve: Serve) -> None:
    """Ctrl-C, a handler that exits, a Runtime API that is gone: the exit codes are those of before."""
    exiting = "@on_shutdown\ndef say(): print('hook ran')\ndef handler(event, context): sys.exit(3)"

    interrupted = serve_and_end(ONE_HOOK, number=signal.SIGINT)
    exited = serve_and_end(exiting, None)
    refused = serve(BEGINNING + ONE_HOOK, intercept=lambda request: REGISTERED if request.body else None)

    assert [served.exit_code for served in (interrupted, exited, refused)] == [130, 3, 1]
    assert [printed(served) for served in (interrupted, exited, refused)] == [["hook ran"]] * 3


def test_hooks_do_not_run_when_the_environment_was_never_started(serve: Serve) -> None:
    """What they would close has not been opened."""
    source = """
    from lambda_ric import on_startup

    @on_startup
    def connect(): raise ValueError("no database")
    """

    served = serve(BEGINNING + textwrap.dedent(source) + ONE_HOOK)

    assert printed(served) == []
    assert paths(served) == ["runtime/init/error"]


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("error", ["ValueError('no')", "SystemExit(3)", "KeyboardInterrupt", "asyncio.CancelledError"])
def test_hook_that_fails_is_logged_and_the_next_one_runs(
    serve_and_end: Callable[..., Served], kind: str, error: str
) -> None:
    """Every hook has its own try; the exit code is that of the end."""
    served = serve_and_end(
        f"""
        on_shutdown(lambda: print("next"))

        @on_shutdown
        {kind} failing(): raise {error}

        def handler(event, context): ...
        """
    )

    (told,) = logged(served, "ERROR")
    assert told.startswith("on_shutdown hook failing failed\r")
    assert error.partition("(")[0].rpartition(".")[2] in told
    assert "in failing" in told
    assert (printed(served), served.exit_code, served.stderr) == (["next"], 0, "")


@pytest.mark.parametrize(
    ("kind", "hang"),
    [("def", "time.sleep(60)"), ("def", "while True: pass"), ("async def", "await asyncio.sleep(60)")],
)
def test_hook_that_hangs_is_stopped_and_leaves_the_others_their_time(
    serve_and_end: Callable[..., Served], kind: str, hang: str
) -> None:
    """Lambda kills the process soon: each hook has its share of what is left until then."""
    served = serve_and_end(
        f"""
        @on_shutdown
        async def last():
            await asyncio.sleep(0.02)
            print("last")

        @on_shutdown
        {kind} hanging():
            {hang}

        on_shutdown(hanging)
        on_shutdown(lambda: print("first"))

        def handler(event, context): ...
        """
    )

    assert printed(served) == ["first", "last"]
    assert logged(served, "WARNING") == ["on_shutdown hook hanging was stopped: its time was up"] * 2
    assert served.exit_code == 0


def test_second_sigterm_does_not_disturb_the_hooks(serve_and_end: Callable[..., Served]) -> None:
    """They are at work on what the first one asked for."""
    served = serve_and_end(
        """
        @on_shutdown
        def say():
            os.kill(os.getpid(), signal.SIGTERM)
            print("hook ran")

        def handler(event, context): ...
        """
    )

    assert (printed(served), served.exit_code) == (["hook ran"], 0)


def test_asynchronous_hook_runs_on_the_loop_of_the_handlers(serve_and_end: Callable[..., Served]) -> None:
    """What belongs to a loop is closed on it; tasks that live as long as the environment can be told to end."""
    served = serve_and_end(
        """
        from lambda_ric import on_startup

        @on_startup
        async def start():
            global task, stop
            stop = asyncio.Event()
            task = asyncio.create_task(live())

        async def live():
            await stop.wait()
            print("ended")

        @on_shutdown
        async def end():
            stop.set()
            await task

        async def handler(event, context): return task.get_loop() is asyncio.get_running_loop()
        """,
        None,
    )

    assert served.posts[-1].json() is True
    assert (printed(served), logged(served, "WARNING")) == (["ended"], [])


def test_hook_cannot_hand_work_over(serve_and_end: Callable[..., Served]) -> None:
    """Nobody would run it: there is no invocation any more."""
    served = serve_and_end(
        """
        @on_shutdown
        def late(): wait_until(print, "never")

        def handler(event, context): ...
        """,
        None,
    )

    (told,) = logged(served, "ERROR")
    assert "wait_until was called outside of any invocation" in told
    assert printed(served) == []


# On the emulator.


def test_emulator_ends_an_environment_in_the_order_of_the_platform(tmp_path: Path) -> None:
    """SIGTERM, the hooks, their lines in the log; the frozen process is continued for it."""
    (tmp_path / "app.py").write_text(BEGINNING + ONE_HOOK)
    lines: list[str] = []

    emulator = Emulator("app.handler", task_root=tmp_path, on_log=lambda line: lines.append(line.text))
    with in_thread(emulator) as opened:
        opened.finished(opened.invoke("x"))
        assert "hook ran" not in lines

    assert lines[-1] == "hook ran"
    assert [line for line in lines if line.startswith("[WARNING]")] == []


@pytest.mark.parametrize("lasting", [0.7, 60])
def test_emulator_ends_an_environment_after_a_timeout(tmp_path: Path, lasting: float) -> None:
    """The hooks run if the handler comes to its end in the time that is left; no interruption cuts it short."""
    source = f"""
on_shutdown(lambda: print("hook ran"))

def handler(event, context): time.sleep({lasting} if event == "slow" else 0)
"""
    (tmp_path / "app.py").write_text(BEGINNING + source)
    environment = {"LAMBDA_RIC_SOFT_DEADLINE_MS": "off"}

    with in_thread(Emulator("app.handler", task_root=tmp_path, timeout=0.5, environment=environment)) as emulator:
        emulator.finished(emulator.invoke("quick"))
        invocation = emulator.finished(emulator.invoke("slow"))

    assert invocation.status == "timeout"
    assert ("hook ran" in [line.text for line in invocation.logs]) == (lasting < 1)


OVERFLOWING = """
from lambda_ric import task

class Queue:
    def check(self, envelope): pass

    def send(self, envelopes, within):
        print("queue has", *[f"{envelope.task} attempt {envelope.attempt}" for envelope in envelopes])
        return []

def end():
    os.kill(os.getpid(), signal.SIGTERM)

def handler(event, context):
    wait_until(work)
"""


@pytest.mark.parametrize(
    "work",
    ["async def work():\n    end()\n    await asyncio.sleep(30)", "def work():\n    end()\n    time.sleep(30)"],
    ids=["coroutine", "thread"],
)
def test_sigterm_hands_pending_tasks_over_and_no_more_events_are_served(
    work: str, serve_and_end: Callable[..., Served]
) -> None:
    """With 300 ms left, what cannot be finished goes to its queue."""
    source = f"{OVERFLOWING}\n@task(name='work', overflow=Queue())\n{work}\n"

    served = serve_and_end(source, "event", "never")

    assert "queue has work attempt 2" in served.lines
    assert "Overflowed: 1 (work)" in served.summaries[0]
    assert [post.request_id for post in served.posts if post.name == "response"] == [served.api.events[0].request_id]
    assert served.exit_code == 0


STAGES = """
from lambda_ric import after_invoke, after_response, before_freeze

@task(name="job", timeout=5, overflow=Queue())
def job():
    print("job ran")

@on_shutdown
def say(): print("hook ran")

def linger(seconds=60):
    end()
    time.sleep(seconds)

async def linger_async():
    end()
    await asyncio.sleep(60)

stages = {}

@after_response
def handler(event, context):
    stages["is"] = event
    if event == "thread of before":
        wait_until(time.sleep, 60)
    else:
        wait_until(job)
    yield
    if event == "rest":
        linger()

@after_response
async def handler_async(event, context):
    wait_until(job)
    yield
    await linger_async()

def stream(event, context):
    def body():
        stages["is"] = event
        yield "x"
        wait_until(job)
    return body()

@after_invoke
def after(outcome):
    if stages.get("is") == "after_invoke":
        linger()
    elif stages.get("is") == "wait":
        threading.Timer(0.2, end).start()

@after_invoke
async def after_async(outcome):
    if stages.get("is") == "asynchronous after_invoke":
        await linger_async()

@before_freeze
def freeze():
    if stages.get("is") == "before_freeze":
        linger()
"""


@pytest.mark.parametrize(
    ("handler", "events"),
    [
        ("handler", ["rest"]),
        ("handler_async", ["rest"]),
        ("handler", ["after_invoke"]),
        ("stream", ["after_invoke"]),
        ("handler", ["asynchronous after_invoke"]),
        ("handler", ["before_freeze"]),
        ("handler", ["thread of before", "wait"]),
    ],
    ids=["rest", "asynchronous rest", "hook", "hook after a stream", "asynchronous hook", "before_freeze", "wait"],
)
def test_sigterm_hurries_every_stage_after_the_answer(
    handler: str, events: list[str], serve_and_end: Callable[..., Served]
) -> None:
    """None of them takes the minute that it would: tasks run or reach their queue, and the hooks of the end run."""
    last = Event(events[-1], timeout=600)
    before = [Event(event, timeout=1) for event in events[:-1]]

    served = serve_and_end(f"{OVERFLOWING}\n{STAGES}", *before, last, handler=f"app.{handler}")

    said = printed(served)
    assert [line for line in said if line in ("job ran", "queue has job attempt 1")] != []
    assert said[-1] == "hook ran"
    assert served.exit_code == 0


@pytest.mark.parametrize("hook", ["", "on_shutdown(lambda: print('hook'))"], ids=["no hook", "hook"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_signal_handler_of_the_event_loop_keeps_no_work_after_the_answer_from_the_end(
    serve_and_end: Callable[..., Served], kind: str, hook: str
) -> None:
    """It was set by the handler of this very invocation: the loop hears of the signal, and the runtime does too."""
    served = serve_and_end(
        f"""
        import asyncio
        {hook}

        async def linger():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)

        {kind} handler(event, context):
            asyncio.get_event_loop().add_signal_handler(signal.SIGTERM, os.write, 1, b"loop\\n")
            wait_until(linger)
        """,
        Event("x", timeout=600),
    )

    assert [line for line in printed(served) if line in ("loop", "hook")] == (["loop", "hook"] if hook else ["loop"])
    assert "Cancelled: 1 (linger)" in served.summaries[0]
    assert served.exit_code == 0


def test_task_with_an_overflow_has_the_end_announced(serve_and_end: Callable[..., Served]) -> None:
    """Also without any on_shutdown function; a task without one needs no announcement."""
    with_overflow = f"{OVERFLOWING}\n@task(name='work', overflow=Queue())\ndef work(): pass\n"
    without = f"{OVERFLOWING}\n@task(name='work')\ndef work(): pass\n"

    announced = serve_and_end(with_overflow, "event")
    unannounced = serve_and_end(without, "event")

    assert [request.name for request in announced.api.requests][:2] == ["register", "next"]
    assert "register" not in [request.name for request in unannounced.api.requests]
    assert (announced.exit_code, unannounced.exit_code) == (0, -signal.SIGTERM)
