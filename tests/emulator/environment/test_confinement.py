"""
What a small function has less of than this machine: CPU time, memory, and places to write to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambda_ric.emulator import Emulator, Invocation, in_thread
from lambda_ric.emulator.environment.confinement import Confinement
from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError
from tests.support.private_mounts import with_mounts

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

ROOT = Path(__file__).parents[3]

ECHO = """
while True:
    request_id, event = next_event()
    respond(request_id, event.content)
"""


def groups() -> set[Path]:
    """Return the control groups of this process's emulators."""
    return set(Path("/sys/fs/cgroup").glob(f"**/lambda-ric-{os.getpid()}-*/"))


@pytest.fixture
def cpu_groups() -> None:
    """Skip where the system gives nobody a control group."""
    try:
        Confinement(Function(handler="app.handler", cpu_share=True)).close()
    except ConfigurationError as exc:
        pytest.skip(str(exc))


def lines(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


# CPU time...


@pytest.mark.usefixtures("cpu_groups")
def test_cpu_time_is_that_of_the_memory(stand_in: StandIn) -> None:
    """
    A fourteenth of a CPU comes with 128 MB.
    """
    script = """
        request_id, event = next_event()
        began, used = time.monotonic(), time.process_time()
        while time.process_time() < used + 0.04:
            pass
        respond(request_id, str((time.process_time() - used) / (time.monotonic() - began)))
        next_event()
    """
    with in_thread(stand_in(script, cpu_share=True)) as emulator:
        answer = emulator.invoke()

    assert float(answer.payload) < 0.3


@pytest.mark.usefixtures("cpu_groups")
def test_group_holds_the_children_and_the_extensions_and_is_removed(stand_in: StandIn, tmp_path: Path) -> None:
    """
    Nothing of the environment is outside of it, and nothing of it stays on the system.
    """
    script = """
        child = subprocess.Popen(["sleep", "60"])
        request_id, event = next_event()
        respond(request_id, f"{os.getpid()} {child.pid}")
        next_event()
    """
    extensions = tmp_path / "extensions"
    extensions.mkdir()
    extension = extensions / "extension"
    extension.write_text(EXTENSION)
    extension.chmod(0o755)
    with in_thread(stand_in(script, cpu_share=True, memory=1769, extensions_dir=extensions)) as emulator:
        answer = emulator.invoke()
        (group,) = groups()
        held = set((group / "cgroup.procs").read_text().split())

        assert set(answer.payload.decode().split()) < held
        assert (tmp_path / "extension.pid").read_text().strip() in held

    assert groups() == set()


# Registers and asks for events it did not subscribe to, so for ever.
EXTENSION = """#!/bin/sh
echo $$ >extension.pid
api=http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension
id=$(curl -s -D - -o /dev/null -H "Lambda-Extension-Name: extension" -d '{"events": []}' "$api/register" |
    tr -d '\\r' | sed -n 's/^lambda-extension-identifier: //Ip')
curl -s -H "Lambda-Extension-Identifier: $id" "$api/event/next"
"""


@pytest.mark.usefixtures("cpu_groups")
def test_group_is_removed_with_many_children_in_it(stand_in: StandIn) -> None:
    """
    Also when they end a little later than their parent, or have left its process group.
    """
    script = """
        for session in [False] * 20 + [True]:
            subprocess.Popen(["sleep", "60"], start_new_session=session)
        request_id, event = next_event()
        os._exit(1)
    """
    with in_thread(stand_in(script, cpu_share=True, memory=1769)) as emulator:
        for _ in range(2):
            emulator.finished(emulator.invoke())

    assert groups() == set()


def python_without_groups(stage: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run *script* where there are no control groups."""
    empty = stage / "empty"
    empty.mkdir()
    hide = ["sh", "-c", 'mount -t tmpfs tmpfs /sys/fs/cgroup && exec "$@"', "sh"]
    (stage / "stage").mkdir()
    command = with_mounts({"/mnt/empty": empty}, stage / "stage", [*hide, sys.executable, "-c", script])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_emulator_says_what_it_would_take(tmp_path: Path) -> None:
    """
    Where no control group can be made, it does not open, instead of running without a limit.
    """
    script = """
import anyio
from lambda_ric.emulator import Emulator
from lambda_ric.errors import ConfigurationError

async def main():
    try:
        async with Emulator("app.handler", cpu_share=True):
            print("open")
    except ConfigurationError as exc:
        print(exc)

anyio.run(main)
"""
    done = python_without_groups(tmp_path, script)

    assert done.stderr == ""
    assert done.stdout.startswith("the CPU share needs a control group, and none can be made here (")
    assert "systemd-run --user --scope -p Delegate=yes lambda-ric dev" in done.stdout


# ...places to write to...


def test_task_root_may_be_read_only(stand_in: StandIn) -> None:
    """
    As on Lambda, where /tmp is there to write to.
    """
    script = """
        import errno, json, tempfile
        def attempt(path):
            try:
                open(path, "w").close()
            except OSError as exc:
                return errno.errorcode[exc.errno]
            os.remove(path)
            return "written"
        while True:
            request_id, event = next_event()
            outside = os.path.join(json.loads(event.content), "file")
            inside = ("here", os.path.join(os.environ["LAMBDA_TASK_ROOT"], "there"))
            respond(request_id, json.dumps([*map(attempt, inside), attempt(outside)]))
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as writable:
        with in_thread(stand_in(script, read_only=True)) as emulator:
            answer = emulator.invoke(writable)
        with in_thread(stand_in(script)) as emulator:
            unconfined = emulator.invoke(writable)

    assert json.loads(answer.payload) == ["EROFS", "EROFS", "written"]
    assert json.loads(unconfined.payload) == ["written"] * 3


@pytest.mark.usefixtures("cpu_groups")
def test_confined_runtime_is_one_process_as_ever(stand_in: StandIn, tmp_path: Path) -> None:
    """
    What confines it leaves no process around it: exit codes, memory and signals are the runtime's own.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, f"{os.getpid()} {os.getpgid(0)} {os.getcwd()}")
        os._exit(7)
    """
    with in_thread(stand_in(script, read_only=True, cpu_share=True, memory=1769)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    pid, group, directory = answer.payload.decode().split()
    assert (pid, directory) == (group, str(tmp_path))
    assert invocation.failure is not None
    assert invocation.failure.message == "Runtime exited with error: exit status 7"
    assert groups() == set()


def test_command_that_is_missing_is_a_function_error_in_confinement_too(tmp_path: Path) -> None:
    """
    The text names it.
    """
    with in_thread(Emulator(command=["./no-such-runtime"], task_root=tmp_path, read_only=True)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert answer.function_error is not None
    assert any("./no-such-runtime" in line.text for line in invocation.logs)


# ...and memory.


HUNGRY = """
import json

kept = []
while True:
    request_id, event = next_event()
    wanted = json.loads(event.content)
    if wanted["answer"] == "before":
        respond(request_id, b'"fine"')
    kept.append(b"x" * (wanted["megabytes"] * 1024 * 1024))
    if wanted["answer"] == "after":
        respond(request_id, b'"fine"')
    if wanted["answer"] == "never" or wanted.get("stay"):
        time.sleep(60)
"""


def out_of_memory(invocation: Invocation) -> bool:
    return invocation.logs[-1].text.endswith("\tStatus: error\tError Type: Runtime.OutOfMemory")


def test_runtime_that_takes_too_much_memory_is_killed_in_the_phase(stand_in: StandIn) -> None:
    """
    Long before its timeout; the caller sees what he sees of any runtime that was killed. The next one finds another.
    """
    with in_thread(stand_in(HUNGRY, timeout=60)) as emulator:
        answer = emulator.invoke({"megabytes": 200, "answer": "never"})
        invocation = emulator.finished(answer)
        next_one = emulator.finished(emulator.invoke({"megabytes": 1, "answer": "after"}))

    assert json.loads(answer.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: Runtime exited with error: signal: killed",
    }
    assert out_of_memory(invocation)
    assert (invocation.status, invocation.reset) == ("error", True)
    assert invocation.max_memory is not None
    assert invocation.max_memory > 128
    assert next_one.status == "success"


@pytest.mark.parametrize("stay", [True, False])
def test_caller_keeps_the_answer_of_a_runtime_that_takes_too_much(stand_in: StandIn, stay: bool) -> None:
    """
    Whether that is seen while it works on or when it asks for the next event.
    """
    with in_thread(stand_in(HUNGRY, timeout=60)) as emulator:
        answer = emulator.invoke({"megabytes": 200, "answer": "before", "stay": stay})
        invocation = emulator.finished(answer)

    assert (answer.payload, answer.function_error) == (b'"fine"', None)
    assert out_of_memory(invocation)
    assert (invocation.status, invocation.reset) == ("error", True)


def test_memory_of_a_larger_function_is_enough(stand_in: StandIn) -> None:
    """
    The limit is the function's.
    """
    with in_thread(stand_in(HUNGRY, memory=512)) as emulator:
        invocation = emulator.finished(emulator.invoke({"megabytes": 200, "answer": "after"}))

    assert invocation.status == "success"


def test_init_that_takes_too_much_memory_fails_the_event(stand_in: StandIn) -> None:
    """
    It is killed in the init.
    """
    with in_thread(stand_in('kept = b"x" * 200 * 1024 * 1024\ntime.sleep(60)')) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert json.loads(answer.payload)["errorType"] == "Runtime.ExitError"
    assert out_of_memory(invocation)
