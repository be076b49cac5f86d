"""A process that was interrupted serves nobody else: it is replaced, or ends, and leaves nothing of itself behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from tests.conftest import ROOT, Serve, Served
from tests.support.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

# The handler has half of the time, and what follows the answer a moment: so there is enough left for a start.
TIMES = {"LAMBDA_RIC_SOFT_DEADLINE_MS": "60000", "LAMBDA_RIC_BACKGROUND_LIMIT_MS": "200"}
HANG = Event("hang", timeout=5.0)
HANG_AFTER_THE_ANSWER = Event("hang", timeout=30.0)
# No start fits with so little of a processor.
SMALLEST = {**TIMES, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1"}

SOURCE = """
import asyncio, os, time, uuid
from lambda_ric import after_invoke, after_response, before_freeze, before_invoke, wait_until
from lambda_ric.asgi import ASGIHandler
from lambda_ric.wsgi import WSGIHandler

interpreter = uuid.uuid4().hex

def hang():
    time.sleep(60)

async def hang_async():
    await asyncio.sleep(60)

def handler(event, context):
    return interpreter
"""
REQUEST = {
    "version": "2.0",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": {"host": "a"},
    "requestContext": {"http": {"method": "GET", "path": "/", "sourceIp": "127.0.0.1"}, "stage": "$default"},
    "isBase64Encoded": False,
}

INTERRUPTED = {
    "a handler": """
def handler(event, context):
    if event == "hang": hang()
    return interpreter
""",
    "an asynchronous handler": """
async def handler(event, context):
    if event == "hang": await hang_async()
    return interpreter
""",
    "a coroutine that blocks": """
async def handler(event, context):
    if event == "hang": hang()
    return interpreter
""",
    "a handler that swallows it": """
def handler(event, context):
    try:
        if event == "hang": hang()
    except BaseException: pass
    return interpreter
""",
    "a hook before the handler": """
@before_invoke
def before(event, context):
    if event == "hang": hang()
""",
    "the rest of a generator": """
@after_response
def handler(event, context):
    yield interpreter
    if event == "hang": hang()
""",
    "the rest of an asynchronous generator": """
@after_response
async def handler(event, context):
    yield interpreter
    if event == "hang": await hang_async()
""",
    "a hook after the answer": """
@after_invoke
def after(outcome):
    if outcome.event == "hang": hang()
""",
    "an asynchronous hook": """
@after_invoke
async def after(outcome):
    if outcome.event == "hang": await hang_async()
""",
    "a hook that swallows it": """
@after_invoke
def after(outcome):
    try:
        if outcome.event == "hang": hang()
    except BaseException: pass
""",
    "background work that blocks the event loop": """
async def block(): hang()

def handler(event, context):
    if event == "hang": wait_until(block())
    return interpreter
""",
}
AFTER_THE_ANSWER = [*INTERRUPTED][[*INTERRUPTED].index("the rest of a generator") :]


def interpreters(served: Served) -> list[str]:
    """Return the answers of the handler, each of which is the name of an interpreter."""
    return [post.body.decode() for post in served.posts if post.name == "response"]


@pytest.mark.parametrize("interrupted", INTERRUPTED)
def test_next_event_is_served_by_another_process(serve: Serve, interrupted: str) -> None:
    """Where it was interrupted does not matter: an exception at any line leaves anything behind."""
    hang = HANG_AFTER_THE_ANSWER if interrupted in AFTER_THE_ANSWER else HANG
    served = serve(SOURCE + INTERRUPTED[interrupted], "first", hang, "next", env=TIMES)

    first, *_, after = interpreters(served)
    assert first != after
    assert served.stdout.count("the process is replaced by a new one: it was interrupted") == 1


def test_stream_that_is_interrupted_has_another_process_follow(serve: Serve) -> None:
    """Also when the caller has a part of it."""
    source = """
def handler(event, context):
    yield interpreter
    if event == "hang":
        yield "more"
        hang()
"""
    served = serve(SOURCE + source, "first", HANG, "next", env=TIMES)

    first, broken, after = [post.body.decode() for post in served.posts]
    assert broken == f"{first}more"
    assert after != first


@pytest.mark.parametrize(
    "application",
    [
        """
async def app(scope, receive, send):
    if scope["type"] != "http": return
    if scope["query_string"] == b"hang": await hang_async()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": interpreter.encode()})

handler = ASGIHandler(app)
""",
        """
def app(environ, start_response):
    if environ["QUERY_STRING"] == "hang": hang()
    start_response("200 OK", [])
    return [interpreter.encode()]

handler = WSGIHandler(app)
""",
    ],
    ids=["ASGI", "WSGI"],
)
def test_request_that_is_interrupted_has_another_process_follow(serve: Serve, application: str) -> None:
    """An application holds its connections in globals as any function does."""
    hang = Event({**REQUEST, "rawQueryString": "hang"}, timeout=5.0)
    served = serve(SOURCE + application, REQUEST, hang, REQUEST, env=TIMES)

    first, timed_out, after = served.answers
    assert timed_out["errorType"] == "Function.Timeout"
    assert first["body"] != after["body"]


@pytest.mark.parametrize("handler", ["ASGIHandler(app)", "(lambda serve: lambda *two: serve(*two))(ASGIHandler(app))"])
def test_request_that_is_interrupted_after_its_answer_is_the_last_of_its_process(serve: Serve, handler: str) -> None:
    """The application goes on within the handler, or after it; its caller has the answer either way."""
    application = f"""
async def app(scope, receive, send):
    if scope["type"] != "http": return
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": interpreter.encode()}})
    if scope["query_string"] == b"hang": hang()

handler = {handler}
"""
    hang = Event({**REQUEST, "rawQueryString": "hang"}, timeout=1.0)
    served = serve(SOURCE + application, REQUEST, hang, REQUEST)

    before, interrupted, *after = [answer["body"] for answer in served.answers]
    assert before == interrupted
    assert before not in after
    assert "it was interrupted" in served.stdout


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context):\n    if event == 'fail': raise ValueError(event)\n    return interpreter",
        "def handler(event, context):\n    wait_until(hang_async())\n    return interpreter",
        "def handler(event, context):\n    wait_until(hang)\n    return interpreter",
        "async def handler(event, context):\n    wait_until(asyncio.create_task(hang_async()))\n    return interpreter",
    ],
    ids=["an error", "a coroutine that is cancelled", "a thread that is left", "a task that is cancelled"],
)
def test_process_that_was_not_interrupted_is_kept(serve: Serve, source: str) -> None:
    """A coroutine of background work is asked to stop and does; a thread goes on, and is told of."""
    served = serve(SOURCE + source, "first", "fail", "next", env=TIMES)

    assert len(set(interpreters(served))) == 1
    assert "the process is replaced" not in served.stdout
    assert "the process ends" not in served.stdout


def test_process_is_kept_where_its_author_says_so(serve: Serve) -> None:
    """`keep` is for functions that hold nothing a caller could have half of."""
    source = SOURCE + INTERRUPTED["a handler"]
    served = serve(source, "first", HANG, "next", env={**TIMES, "LAMBDA_RIC_AFTER_TIMEOUT": "keep"})

    assert len(set(interpreters(served))) == 1


# When no start fits...


def test_process_ends_after_answer_background_work_and_log_when_no_start_fits(serve: Serve) -> None:
    """Lambda starts another one; nothing that was promised for this invocation is left out."""
    source = """
import atexit, threading
from lambda_ric import on_shutdown
atexit.register(print, "atexit ran")
on_shutdown(lambda: print("on_shutdown ran"))
half = open("half", "w")
threading.Thread(target=hang).start()

@after_invoke
def after(outcome): print("after_invoke ran")

def handler(event, context):
    wait_until(print, "background work ran")
    half.write("half a record")
    hang()
"""
    served = serve(SOURCE + source, HANG, "next", env=SMALLEST)

    polled, error = [request for request in served.api.requests if "/runtime/" in request.path]
    assert (polled.name, error.json()["errorType"]) == ("next", "Function.Timeout")
    assert served.exit_code == 1
    ran = [line for line in served.lines if line.endswith(" ran")]
    assert ran == ["after_invoke ran", "background work ran", "on_shutdown ran"]
    (line,) = [line for line in served.lines if "the process ends" in line]
    assert "it was interrupted" in line
    assert "LAMBDA_RIC_AFTER_TIMEOUT=replace" in line
    assert "a start may take " in line


def test_process_that_ends_writes_nothing_it_had_begun(serve: Serve, tmp_path: Path) -> None:
    """As when it is killed: a buffer may hold half a record."""
    source = """
half = open("half", "w")

def handler(event, context):
    half.write("half a record")
    hang()
"""
    serve(SOURCE + source, HANG, env=SMALLEST)

    assert (tmp_path / "half").read_text() == ""


def test_children_of_a_process_that_ends_are_ended(serve: Serve, tmp_path: Path) -> None:
    """They share its sockets, and would answer the next process what the last one had asked."""
    source = """
import subprocess
worker = subprocess.Popen("sleep 60 & wait", shell=True, stdout=open("inherited", "w"), process_group=0)

def handler(event, context):
    print("group", worker.pid)
    hang()
"""
    served = serve(SOURCE + source, HANG, env=SMALLEST)

    (group,) = [line.split()[1] for line in served.lines if line.startswith("group ")]
    stats = [stat.read_text().rpartition(")")[2].split() for stat in _stats()]
    assert [fields for fields in stats if fields[2] == group and fields[0] != "Z"] == []


def _stats() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]


# What the new process finds...


def test_new_process_is_like_a_fresh_one(serve: Serve) -> None:
    """No descriptor, lock, child, signal, timer, mask, directory or variable of the interrupted one is there."""
    source = """
import fcntl, signal, socket, subprocess

def look():
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    lock = open("lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock, fcntl.LOCK_UN)
    lock.close()
    return {
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
        "signals": [status[name].strip() for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd", "Umask")],
        "timer": signal.getitimer(signal.ITIMER_VIRTUAL)[0],
        "directory": os.getcwd(),
        "variables": sorted(set(os.environ) - {"_X_AMZN_TRACE_ID", "LAMBDA_RIC_RECYCLED"}),
    }

kept = []

def handler(event, context):
    return look() if event == "look" else None

@after_invoke
def mess_up(outcome):
    if outcome.event != "hang":
        return
    server, lock = socket.create_server(("127.0.0.1", 0)), open("lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    for thing in (server, lock):
        os.set_inheritable(thing.fileno(), True)
    kept.extend([server, lock, subprocess.Popen("sleep 60 & sleep 60", shell=True), os.fork() or time.sleep(60)])
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)
    os.umask(0)
    os.chdir("/")
    os.environ["ADDED"] = "1"
    hang()
"""
    env = {**TIMES, "LAMBDA_RIC_CHILDREN": "ignore"}
    served = serve(SOURCE + source, "look", HANG_AFTER_THE_ANSWER, "look", env=env)

    fresh, _, after = served.answers
    assert after == fresh


def test_extension_stays_registered_over_several_replacements(serve: Serve) -> None:
    """Registration is closed after the init; its connection is the one descriptor that each process inherits."""
    from .test_recycling import platform

    source = """
from lambda_ric import on_shutdown
on_shutdown(lambda: None)

@after_invoke
def after(outcome):
    if outcome.event == "hang": hang()

def handler(event, context):
    return len(os.listdir("/proc/self/fd"))
"""
    events = [HANG_AFTER_THE_ANSWER, "look", HANG_AFTER_THE_ANSWER, "look"]
    served = serve(SOURCE + source, *events, intercept=platform, env=TIMES)

    asked = [request.path.split("/", 2)[2] for request in served.api.requests]
    assert asked.count("extension/register") == asked.count("extension/event/next") == 1
    assert served.stdout.count("the process is replaced") == 2
    assert len({post.body for post in served.posts if post.name == "response"}) == 1
    assert "without notice" not in served.stdout


# Recycling, which can wait...


def test_replacement_that_was_put_off_is_tried_after_the_next_event(serve: Serve) -> None:
    """What failed is not forgotten because the next event succeeded."""
    source = """
def handler(event, context):
    if event == "fail": raise ValueError(event)
    return interpreter
"""
    served = serve(
        SOURCE + source,
        "first",
        Event("fail", timeout=0.01),
        "next",
        "last",
        env={"LAMBDA_RIC_RECYCLE_ON_ERROR": "on", "LAMBDA_RIC_SOFT_DEADLINE_MS": "off"},
    )

    first, following, last = interpreters(served)
    assert first == following != last
    assert served.stdout.count("the process is not replaced yet, though an invocation failed") == 1


# ...and the platform's side of it.


class Resets(Observer):
    """Counts the environments that were reset."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.count += kind == "reset"


HALF_READ = """
import socket, threading, time

here, there = socket.socketpair()
lines = here.makefile("r")

def peer():
    for line in there.makefile("r"):
        if line.startswith("slow"): time.sleep(1.4)
        there.sendall(b"secret of " + line.split()[-1].encode() + b"\\n")

threading.Thread(target=peer, daemon=True).start()

def handler(event, context):
    here.sendall(event.encode() + b"\\n")
    return lines.readline().strip()
"""


@pytest.mark.parametrize(("memory", "resets"), [(3008, 0), (128, 1)], ids=["replaced", "ended"])
def test_half_read_answer_reaches_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, resets: int
) -> None:
    """The caller after the one who was interrupted gets what is theirs, whether Lambda has to start anew or not."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(HALF_READ)
    observer = Resets()
    emulator = Emulator(
        "app.handler",
        task_root=tmp_path,
        timeout=2,
        memory=memory,
        environment={"LAMBDA_RIC_SOFT_DEADLINE_MS": "60000"},
        observers=[observer],
    )
    with in_thread(emulator) as running:
        answers = []
        for who in ("alice", "slow bob", "carol"):
            answers.append(running.invoke(who))
            running.finished(answers[-1])

    assert [json.loads(answer.payload) for answer in (answers[0], answers[2])] == ["secret of alice", "secret of carol"]
    assert answers[1].function_error == "Function.Timeout"
    assert observer.count == resets
