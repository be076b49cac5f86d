"""
Extensions as processes: what they wait for, what waits for them, and how they end.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambda_ric.emulator import Answer, Emulator, Function, Invocation, LogLine, Observer, in_thread
from lambda_ric.emulator.environment.names import needs_name

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

EXTENSION = """
import http.client, json, os, signal, sys, time

connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
name = os.path.basename(sys.argv[0])
identity = {}

def call(method, path, document=None, **headers):
    connection.request(method, path, json.dumps(document), {**identity, **headers})
    reply = connection.getresponse()
    reply.content = reply.read()
    return reply

def register(*events):
    reply = call("POST", "/2020-01-01/extension/register", {"events": events}, **{"Lambda-Extension-Name": name})
    identity["Lambda-Extension-Identifier"] = reply.headers["Lambda-Extension-Identifier"]

def next_event():
    return json.loads(call("GET", "/2020-01-01/extension/event/next").content)

def tell_error(phase, kind):
    return call("POST", f"/2020-01-01/extension/{phase}/error", **{"Lambda-Extension-Function-Error-Type": kind})

def say(*words):
    print(*words, flush=True)

def wait_for(file):
    while not os.path.exists(file):
        time.sleep(0.005)

def write(file, text=""):
    with open(file + ".new", "w") as new:
        new.write(text)
    os.rename(file + ".new", file)

"""

ECHO = """
while True:
    request_id, event = next_event()
    respond(request_id, event.content)
"""

# In the runtime: an internal extension, whose poll never ends.
INTERNAL = """
def register(name="internal", events=b"[]"):
    other = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    other.request(
        "POST", "/2020-01-01/extension/register", b'{"events": %s}' % events, {"Lambda-Extension-Name": name}
    )
    reply = other.getresponse()
    reply.read()
    identity = {"Lambda-Extension-Identifier": reply.headers["Lambda-Extension-Identifier"]}
    def poll():
        other.request("GET", "/2020-01-01/extension/event/next", None, identity)
        return other.getresponse().read()
    return poll
"""

ON_SIGTERM = """
import re
import signal

def end(number, frame):
    open("got SIGTERM", "w").close()
    sys.exit()

signal.signal(signal.SIGTERM, end)
"""

Extended = Callable[..., Emulator]


class Notes(Observer):
    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.taken.append((kind, text))

    def of(self, kind: str) -> list[str]:
        return [text for found, text in self.taken if found == kind]


@pytest.fixture
def extended(stand_in: StandIn, tmp_path: Path) -> Extended:
    """Return an emulator whose runtime is a script, as are its *extensions*, by name."""

    def emulator(script: str, extensions: dict[str, str], **options: Any) -> Emulator:
        directory = tmp_path / "extensions"
        directory.mkdir()
        for name, code in extensions.items():
            file = directory / name
            file.write_text(f"#!{sys.executable} -S\n{EXTENSION}{textwrap.dedent(code)}")
            file.chmod(0o755)
        return stand_in(textwrap.dedent(script), extensions_dir=directory, **options)

    return emulator


def said(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


def without_the_init(invocation: Invocation) -> list[str]:
    """Return the lines of the log but for those that tell how each extension came out of the init."""
    return [line for line in lines_of(invocation) if not line.startswith("EXTENSION")]


def lines_of(invocation: Invocation) -> list[str]:
    return [line.text.partition(" RequestId:")[0] for line in invocation.logs]


def error_of(answer: Answer) -> tuple[str, str]:
    document = json.loads(answer.payload)
    return document["errorType"], document["errorMessage"].replace(answer.request_id, "ID")


# Init...


def test_runtime_is_started_when_the_extensions_have_registered(extended: Extended) -> None:
    """
    All of them, however long they take.
    """
    slow = """
        time.sleep(0.2)
        write("registering")
        register()
        next_event()
    """
    runtime = 'say(os.path.exists("registering"))' + ECHO
    with in_thread(extended(runtime, {"quick": "register()\nnext_event()", "slow": slow})) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert said(invocation) == ["True"]


def test_event_waits_for_the_first_poll_of_every_extension(extended: Extended) -> None:
    """
    Also of those that want no events: init is over when everybody asks for the next one.
    """
    extension = """
        register()
        wait_for("the runtime polls")
        time.sleep(0.2)
        say("extension polls")
        next_event()
    """
    runtime = 'open("the runtime polls", "w").close()' + ECHO
    with in_thread(extended(runtime, {"slow": extension})) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert without_the_init(invocation)[:2] == ["extension polls", "START"]
    assert invocation.init_duration is not None
    assert invocation.init_duration > 0.2


@pytest.mark.parametrize("extension", ["time.sleep(60)", "register('INVOKE')\ntime.sleep(60)"])
def test_extension_that_never_comes_to_its_poll_lets_the_init_time_out(extended: Extended, extension: str) -> None:
    """
    Init is tried again within the invocation, and in its time.
    """
    runtime = 'open("started", "a").write("x")' + ECHO
    with in_thread(extended(runtime, {"silent": extension}, init_timeout=0.5, timeout=0.5)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert error_of(answer) == ("Sandbox.Timedout", "RequestId: ID Error: Task timed out after 0.50 seconds")
    reports = [line.text for line in invocation.logs if line.text.startswith("INIT_REPORT")]
    assert [report.split("\t")[1:] for report in reports] == [
        ["Phase: init", "Status: timeout"],
        ["Phase: invoke", "Status: timeout"],
    ]


def test_runtime_is_not_started_without_an_extension_that_never_registers(extended: Extended, tmp_path: Path) -> None:
    """
    It is waited for until the init times out.
    """
    runtime = 'open("started", "w").close()' + ECHO
    notes = Notes()
    options = {"init_timeout": 0.3, "timeout": 0.3, "observers": [notes]}
    with in_thread(extended(runtime, {"silent": "time.sleep(60)"}, **options)) as emulator:
        emulator.finished(emulator.invoke())

    assert not (tmp_path / "started").exists()
    assert notes.of("extension") == ["environment 1 waited in vain: extension silent has not registered"] * 2


def test_extension_that_does_not_ask_for_its_next_event_is_named(extended: Extended) -> None:
    """
    One would look for the fault in the function, which has answered and polled.
    """
    notes = Notes()
    stuck = 'register("INVOKE")\nnext_event()\ntime.sleep(60)'
    with in_thread(extended(ECHO, {"stuck": stuck}, timeout=0.5, observers=[notes])) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert invocation.status == "timeout"
    assert notes.of("extension") == ["environment 1 waited in vain: extension stuck has not asked for its next event"]


def test_time_of_an_extension_is_not_that_of_the_runtime(extended: Extended) -> None:
    """
    It has a line of its own, and each extension one after the init.
    """
    slow = 'register("INVOKE")\nwhile True:\n    next_event()\n    time.sleep(0.3)'
    lines: list[str] = []
    with in_thread(extended(ECHO, {"slow": slow}, on_log=lambda line: lines.append(line.text))) as emulator:
        emulator.finished(emulator.invoke())

    said = [line for line in lines if line.startswith(("BACKGROUND", "EXTENSION"))]
    assert said[0] == "EXTENSION\tName: slow\tState: Ready\tEvents: [INVOKE]"
    assert re.fullmatch(r"EXTENSION RequestId: \S+\tName: slow\tAfter the runtime: \d+\.\d\d ms", said[-1])
    assert not any(line.startswith("BACKGROUND") and float(line.split()[-2]) > 250 for line in said)


def test_name_that_is_missing_on_this_machine_is_told(tmp_path: Path) -> None:
    """
    AWS's samples listen at sandbox.localdomain; others are not told of it.
    """
    (tmp_path / "extension").write_text("#!/bin/sh\nlisten sandbox.localdomain:4243")
    (tmp_path / "extension").chmod(0o755)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost # sandbox.localdomain\n")
    function = Function(handler="a.b", extensions_dir=tmp_path)

    assert needs_name(function, tmp_path / "hosts")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost sandbox.localdomain\n")
    assert not needs_name(function, tmp_path / "hosts")
    (tmp_path / "extension").write_text("#!/bin/sh\n")
    assert not needs_name(function, tmp_path / "no hosts")


@pytest.mark.parametrize(
    ("extension", "error"),
    [
        ("sys.exit(3)", ("Extension.Crash", "extension mortal: exit status 3")),
        ("register()\nsys.exit(0)", ("Extension.Crash", "extension mortal: exit code 0")),
        ("register()\nos.kill(os.getpid(), signal.SIGKILL)", ("Extension.Crash", "extension mortal: signal: killed")),
        (
            "register()\ntell_error('init', 'Extension.Sad')\nsys.exit(1)",
            ("Extension.InitError", "extension mortal: exit status 1"),
        ),
    ],
)
def test_extension_that_ends_in_the_init_fails_the_first_event(
    extended: Extended, extension: str, error: tuple[str, str]
) -> None:
    """
    Whatever its exit code is; the caller learns which error it was.
    """
    with in_thread(extended(ECHO, {"mortal": extension, "other": "register()\nnext_event()"})) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    error_type, text = error
    assert error_of(answer) == (error_type, f"RequestId: ID Error: {text}")
    assert f"Error Type: {error_type}" in invocation.logs[-1].text
    assert invocation.reset


def test_file_that_cannot_be_executed_fails_the_first_event(extended: Extended, tmp_path: Path) -> None:
    """
    An extension of the wrong form is an error of the launch; a file that is not executable is no extension.
    """
    emulator = extended(ECHO, {})
    (tmp_path / "extensions" / "readme").write_text("no program")
    broken = tmp_path / "extensions" / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with in_thread(emulator) as opened:
        answer = opened.invoke()

    error_type, text = error_of(answer)
    missing = "extension broken: there is no /no/such/interpreter, which it is a script for"
    assert (error_type, text) == ("Extension.LaunchError", f"RequestId: ID Error: {missing}")


def test_extension_has_the_variables_of_the_function_but_for_those_of_the_runtime(
    extended: Extended, tmp_path: Path
) -> None:
    """
    Handler, log group and the directories of task and runtime are the runtime's own business.
    """
    environment = {"TABLE": "orders", "AWS_EXECUTION_ENV": "AWS_Lambda_x"}
    dump = 'write("extension.json", json.dumps(dict(os.environ)))\nregister()\nnext_event()'
    runtime = 'import json\njson.dump(dict(os.environ), open("runtime.json", "w"))' + ECHO
    with in_thread(extended(runtime, {"curious": dump}, environment=environment)) as emulator:
        emulator.invoke()

    of_runtime, of_extension = (json.loads((tmp_path / f"{who}.json").read_text()) for who in ("runtime", "extension"))
    withheld = of_runtime.keys() - of_extension.keys()
    assert withheld == {
        "_HANDLER",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "LAMBDA_RIC_SPANS_FD",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
    assert of_extension.items() <= of_runtime.items()
    assert of_extension["TABLE"] == "orders"


# ...invoke...


def test_subscriber_hears_of_the_event_while_the_runtime_has_it(extended: Extended) -> None:
    """
    It has the request id, the ARN, the trace and the deadline of the invocation.
    """
    extension = """
        register("INVOKE")
        while True:
            event = next_event()
            write(event["requestId"], json.dumps(event))
    """
    runtime = """
        while True:
            request_id, event = next_event()
            while not os.path.exists(request_id):
                time.sleep(0.005)
            respond(request_id, open(request_id).read())
    """
    with in_thread(extended(runtime, {"subscriber": extension})) as emulator:
        invocations = [emulator.finished(emulator.invoke()) for _ in range(2)]

    for invocation in invocations:
        assert invocation.answer is not None
        assert json.loads(invocation.answer.payload) == {
            "eventType": "INVOKE",
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.function_arn,
            "deadlineMs": int(invocation.deadline * 1000),
            "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
        }


def test_invocation_lasts_until_its_subscribers_have_polled(extended: Extended, tmp_path: Path) -> None:
    """
    The caller has the answer meanwhile; nobody is frozen before; those who did not subscribe are not waited for.
    """
    subscriber = """
        register("INVOKE")
        while True:
            next_event()
            wait_for("the caller has it")
            say("extension is done")
    """
    other = 'register("SHUTDOWN")\nnext_event()'
    with in_thread(extended(ECHO, {"subscriber": subscriber, "other": other})) as emulator:
        answer = emulator.invoke({"n": 1})
        (tmp_path / "the caller has it").touch()
        invocation = emulator.finished(answer)

    assert answer.payload == b'{"n":1}'
    assert without_the_init(invocation)[:3] == ["START", "extension is done", "END"]
    (span,) = invocation.spans
    assert invocation.answered_at is not None
    assert (span.kind, span.name, span.state) == ("extension", "subscriber", "succeeded")
    assert invocation.started_at <= span.start <= invocation.answered_at <= span.end <= invocation.ended_at
    assert invocation.frozen_at is not None
    assert invocation.frozen_at >= span.end


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("sys.exit(3)", ("Extension.Crash", "extension mortal: exit status 3")),
        ("sys.exit(0)", ("Extension.Crash", "extension mortal: exit code 0")),
        (
            "tell_error('exit', 'Extension.Sad')\nsys.exit(1)",
            ("Extension.ExitError", "extension mortal: exit status 1"),
        ),
    ],
)
def test_extension_that_ends_fails_the_invocation(extended: Extended, end: str, error: tuple[str, str]) -> None:
    """
    The next event finds new processes.
    """
    extension = f"""register("INVOKE")
next_event()
if not os.path.exists("ended once"):
    write("ended once")
    {"; ".join(end.splitlines())}
next_event()
"""
    runtime = """
        while True:
            request_id, event = next_event()
            if event.content == b'"wait"':
                time.sleep(60)
            respond(request_id)
    """
    with in_thread(extended(runtime, {"mortal": extension})) as emulator:
        answer = emulator.invoke("wait")
        failed = emulator.finished(answer)
        next_one = emulator.finished(emulator.invoke())

    error_type, text = error
    assert error_of(answer) == (error_type, f"RequestId: ID Error: {text}")
    assert (failed.status, failed.reset, failed.spans[0].state) == ("error", True, "unfinished")
    assert next_one.status == "success"


def test_extension_that_ends_after_the_answer_leaves_it_to_the_caller(extended: Extended, tmp_path: Path) -> None:
    """
    The invocation has failed all the same.
    """
    extension = 'register("INVOKE")\nnext_event()\nwait_for("the caller has it")\nsys.exit(1)'
    with in_thread(extended(ECHO, {"mortal": extension})) as emulator:
        answer = emulator.invoke({"n": 1})
        (tmp_path / "the caller has it").touch()
        invocation = emulator.finished(answer)

    assert (answer.payload, answer.function_error) == (b'{"n":1}', None)
    assert (invocation.status, invocation.reset) == ("error", True)


def test_extension_that_never_polls_again_times_the_invocation_out(extended: Extended) -> None:
    """
    However good the answer was.
    """
    extension = 'register("INVOKE")\nnext_event()\ntime.sleep(60)'
    with in_thread(extended(ECHO, {"slow": extension}, timeout=0.6)) as emulator:
        answer = emulator.invoke({"n": 1})
        invocation = emulator.finished(answer)

    assert (answer.payload, answer.function_error) == (b'{"n":1}', None)
    assert (invocation.status, invocation.spans[0].state) == ("timeout", "unfinished")


def test_extension_that_ends_unseen_does_not_fail_the_next_event(extended: Extended, tmp_path: Path) -> None:
    """
    An environment that is not whole is given no event, as when the runtime has ended.
    """
    extension = """
        register("INVOKE")
        next_event()
        if not os.path.exists("the first is over"):
            connection.request("GET", "/2020-01-01/extension/event/next", None, identity)
            wait_for("the first is over")
            print("last words", end="", flush=True)
            os._exit(1)
        next_event()
    """
    ended = threading.Event()

    def on_log(line: LogLine) -> None:
        if line.text == "last words":  # an unfinished line, which is one at the end of the process only
            ended.set()

    with in_thread(extended(ECHO, {"mortal": extension}, freeze=False, on_log=on_log)) as emulator:
        emulator.finished(emulator.invoke())
        (tmp_path / "the first is over").touch()
        assert ended.wait(20)
        invocation = emulator.finished(emulator.invoke())

    assert invocation.status == "success"
    assert invocation.init_duration is not None


def test_internal_extension_is_waited_for_like_an_external_one(stand_in: StandIn, tmp_path: Path) -> None:
    """
    It is a thread of the runtime, and has a span as well.
    """
    runtime = f"""{INTERNAL}
poll = register(events=b'["INVOKE"]')
def extend():
    while True:
        poll()
        while not os.path.exists("the caller has it"):
            time.sleep(0.005)
        say("extension is done")
threading.Thread(target=extend, daemon=True).start()
{ECHO}"""
    with in_thread(stand_in(runtime)) as emulator:
        answer = emulator.invoke()
        (tmp_path / "the caller has it").touch()
        invocation = emulator.finished(answer)

    assert without_the_init(invocation)[:3] == ["START", "extension is done", "END"]
    assert [(span.kind, span.name) for span in invocation.spans] == [("extension", "internal")]


def test_runtime_that_ends_while_its_extension_is_at_work_fails_the_invocation(stand_in: StandIn) -> None:
    """
    Though it has asked for the next event: the invocation was not over, and is not to wait for its timeout.
    """
    runtime = f"""{INTERNAL}
poll = register(events=b'["INVOKE"]')
def extend():
    poll()
    while not os.path.exists("asked"):
        time.sleep(0.005)
    os._exit(3)
threading.Thread(target=extend, daemon=True).start()
request_id, event = next_event()
respond(request_id, b"1")
connection.request("GET", "/2018-06-01/runtime/invocation/next")
open("asked", "w").close()
time.sleep(60)
"""
    with in_thread(stand_in(runtime)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert answer.payload == b"1"
    assert invocation.status == "error"
    assert invocation.failure is not None
    assert "exit status 3" in invocation.failure.message


# ...and the end.

END = """
while True:
    request_id, event = next_event()
    if event.content == b'"hang"':
        time.sleep(60)
    if event.content == b'"exit"':
        sys.exit(1)
    respond(request_id)
"""


@pytest.mark.parametrize(("event", "reason"), [("hang", "timeout"), ("exit", "failure"), ("fine", "spindown")])
def test_extensions_are_told_why_the_environment_ends(
    extended: Extended, tmp_path: Path, event: str, reason: str
) -> None:
    """
    With the time that they have, of which the runtime takes none when it ends at once; SIGTERM is not for them.
    """
    extension = """
        register("SHUTDOWN")
        event = next_event()
        event["left"] = event["deadlineMs"] / 1000 - time.time()
        write("shutdown.json", json.dumps(event))
    """
    with in_thread(extended(ON_SIGTERM + END, {"polite": extension}, timeout=0.6)) as emulator:
        emulator.finished(emulator.invoke(event))

    told = json.loads((tmp_path / "shutdown.json").read_text())
    assert (told["eventType"], told["shutdownReason"]) == ("SHUTDOWN", reason)
    assert 0 < told["left"] <= 2
    # A runtime that has ended itself is not told to.
    assert (tmp_path / "got SIGTERM").exists() == (event != "exit")


def test_extensions_are_told_of_a_shutdown_when_one_of_them_ends_the_init(extended: Extended, tmp_path: Path) -> None:
    """
    Also when there was no runtime yet.
    """
    other = 'register("SHUTDOWN")\nwrite("registered")\nwrite("reason", next_event()["shutdownReason"])'
    mortal = 'wait_for("registered")\nsys.exit(1)'
    with in_thread(extended(ECHO, {"mortal": mortal, "other": other})) as emulator:
        emulator.finished(emulator.invoke())

    assert (tmp_path / "reason").read_text() == "failure"


@pytest.mark.parametrize("events", ["[]", '["INVOKE"]'])
def test_runtime_with_an_internal_extension_gets_sigterm(stand_in: StandIn, tmp_path: Path, events: str) -> None:
    """
    That is why runtimes register one that wants no events.
    """
    runtime = f"{INTERNAL}\npoll = register(events=b'{events}')\n{ON_SIGTERM}"
    runtime += f"threading.Thread(target=lambda: [poll() for _ in iter(int, 1)], daemon=True).start()\n{ECHO}"
    with in_thread(stand_in(runtime)) as emulator:
        emulator.finished(emulator.invoke())

    assert (tmp_path / "got SIGTERM").exists()


@pytest.mark.parametrize("event", ["hang", "fine"])
def test_without_extensions_there_is_no_sigterm(stand_in: StandIn, tmp_path: Path, event: str) -> None:
    """
    Neither at a timeout nor when the emulator is closed.
    """
    with in_thread(stand_in(ON_SIGTERM + END, timeout=0.6)) as emulator:
        emulator.finished(emulator.invoke(event))

    assert not (tmp_path / "got SIGTERM").exists()


# Ignores whatever asks it to end, and counts how many times 20 ms it has from then on.
STUBBORN = """
import signal

def count(number, frame):
    open("pid", "w").write(str(os.getpid()))
    for _ in range(1000):
        time.sleep(0.02)
        open("ticks", "a").write("x")

signal.signal(signal.SIGTERM, count)
"""


def ticks_in(file: Path) -> int:
    return len(file.read_text())


def test_runtime_that_does_not_end_is_killed_after_its_part_of_the_time(extended: Extended, tmp_path: Path) -> None:
    """
    300 ms of the two seconds; the extensions are told after its end, and killed at that of the two seconds.
    """
    extension = """
        register("SHUTDOWN")
        next_event()
        write("runtime is gone", str(not os.path.exists("/proc/" + open("pid").read())))
        for _ in range(1000):
            time.sleep(0.02)
            open("extension ticks", "a").write("x")
    """
    with in_thread(extended(STUBBORN + ECHO, {"stubborn": extension})) as emulator:
        emulator.finished(emulator.invoke())

    assert (tmp_path / "runtime is gone").read_text() == "True"
    # 15 of them fit into 300 ms, and 85 into the rest; this machine may be slow, but not so much.
    assert 2 <= ticks_in(tmp_path / "ticks") <= 40
    assert 40 < ticks_in(tmp_path / "extension ticks") < 200


def test_runtime_with_internal_extensions_only_has_half_a_second(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Then it is killed.
    """
    runtime = f"{INTERNAL}\npoll = register()\n{STUBBORN}threading.Thread(target=poll, daemon=True).start()\n{ECHO}"
    with in_thread(stand_in(runtime)) as emulator:
        emulator.invoke()

    assert 2 <= ticks_in(tmp_path / "ticks") <= 60


def test_extension_that_did_not_ask_for_it_is_not_told(extended: Extended, tmp_path: Path) -> None:
    """
    It is killed, and nobody waits for it.
    """
    extension = """
        def told(number, frame):
            write("told")
        signal.signal(signal.SIGTERM, told)
        register("INVOKE")
        while True:
            next_event()
        write("told")
    """
    with in_thread(extended(ECHO, {"killed": extension})) as emulator:
        emulator.finished(emulator.invoke())

    assert not (tmp_path / "told").exists()


# Telemetry.

# Writes all that it is sent to a file when the environment ends. It asks for the next event, as AWS recommends, when
# it has seen that the runtime is done with this one.
SUBSCRIBER = """
import socketserver, threading
from http.server import BaseHTTPRequestHandler

records, arrived = [], threading.Condition()

def take(lines):
    with arrived:
        records.extend(lines)
        arrived.notify_all()

def wait_for_record(kind):
    with arrived:
        arrived.wait_for(lambda: any(record["type"] == kind for record in records))

class Batches(BaseHTTPRequestHandler):
    def do_POST(self):
        take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass

class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            take([json.loads(line)])

def subscribe(protocol):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Batches if protocol == "HTTP" else Lines)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}"}
    document = {
        "schemaVersion": "2022-12-13",
        "types": ["platform", "function", "extension"],
        "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
        "destination": destination if protocol == "HTTP" else {"protocol": "TCP", "port": port},
    }
    return call("PUT", "/2022-07-01/telemetry", document)
"""


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
def test_subscriber_gets_every_record_of_an_invocation_in_order(
    extended: Extended, tmp_path: Path, protocol: str
) -> None:
    """
    From its start to its report, with the lines of function and extensions in between.
    """
    extension = f"""{SUBSCRIBER}
register("INVOKE", "SHUTDOWN")
assert subscribe("{protocol}").status == 200
while next_event()["eventType"] == "INVOKE":
    wait_for_record("platform.runtimeDone")
    say("extension saw it")
wait_for_record("platform.report")
write("records.json", json.dumps(records))
"""
    runtime = """
        while True:
            request_id, event = next_event()
            for n in range(100):
                say("line", n)
            respond(request_id)
            print("unfinished", end="", flush=True)
    """
    with in_thread(extended(runtime, {"subscriber": extension})) as emulator:
        invocation = emulator.finished(emulator.invoke())

    records = json.loads((tmp_path / "records.json").read_text())
    kinds = [record["type"] for record in records]
    assert kinds[: kinds.index("platform.start")] == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
    ]
    assert kinds[kinds.index("platform.start") :] == [
        "platform.start",
        *["function"] * 101,
        "platform.runtimeDone",
        "extension",
        "platform.report",
    ]
    lines = [record["record"] for record in records if record["type"] in ("function", "extension")]
    assert lines == [*(f"line {n}" for n in range(100)), "unfinished", "extension saw it"]
    times = [record["time"] for record in records]
    assert times == sorted(times)
    ids = {record["record"]["requestId"] for record in records if "requestId" in record["record"]}
    assert ids == {invocation.request_id}
    assert records[-1]["record"]["spans"][0]["name"] == "extensionOverhead"


def test_subscription_comes_too_late_with_the_first_event(extended: Extended) -> None:
    """
    Who wants telemetry says so in the init.
    """
    extension = f"""{SUBSCRIBER}
register("INVOKE")
next_event()
reply = subscribe("HTTP")
say(reply.status, json.loads(reply.content)["errorType"])
next_event()
"""
    with in_thread(extended(ECHO, {"late": extension})) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert said(invocation) == ["403 Telemetry.SubscriptionClosed"]
