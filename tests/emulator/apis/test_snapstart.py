"""
SnapStart: the init, a snapshot, and everything else after the restore.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from lambda_ric.emulator import Answer, Emulator, Invocation, LogLine, in_thread

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

RESTORE = """
def restore_next():
    return call("GET", "/restore/next")
"""

ECHO = """
while True:
    request_id, event = next_event()
    respond(request_id, event.content)
"""


class Log:
    """What is written, in whatever phase, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._moved = anyio.Event()

    def __call__(self, line: LogLine) -> None:
        self.lines.append(line.text)
        self._moved.set()

    async def line(self, start: str) -> str:
        """Wait for a line that begins with *start*."""
        while not (found := [line for line in self.lines if line.startswith(start)]):
            self._moved = anyio.Event()
            await self._moved.wait()
        return found[0]


def run(emulator: Emulator, use: Callable[[Emulator], Awaitable[None]]) -> None:
    async def main() -> None:
        async with emulator:
            await use(emulator)

    anyio.run(main)


def lines_of(invocation: Invocation) -> list[str]:
    """Return the log without what differs from one time to the other."""
    return [line.text.partition(" RequestId:")[0].partition(" Duration:")[0] for line in invocation.logs]


def error_of(answer: Answer) -> tuple[str, str]:
    document = json.loads(answer.payload)
    return document["errorType"], document["errorMessage"].replace(answer.request_id, "ID")


async def until_stopped(pid: int) -> None:
    while states_of_threads(pid) != {"T"}:  # noqa: ASYNC110 (the kernel tells nobody)
        await anyio.sleep(0.001)


def states_of_threads(pid: int) -> set[str]:
    return {stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")}


# A runtime of any kind...


def test_runtime_is_initialised_and_stopped_before_any_event(stand_in: StandIn) -> None:
    """
    The snapshot is one of a process that waits for its restore, and does not run on.
    """
    script = f"""{RESTORE}
def beat():
    while True:
        time.sleep(0.002)
threading.Thread(target=beat, daemon=True).start()
say("pid", os.getpid())
tell(restore_next())
say("restored")
{ECHO}"""
    log = Log()

    async def use(emulator: Emulator) -> None:
        pid = int((await log.line("pid")).split()[1])
        await until_stopped(pid)
        assert not [line for line in log.lines if "restored" in line]

        answer = await emulator.invoke({"n": 1})
        assert answer.payload == b'{"n":1}'
        invocation = await answer.finished()
        assert lines_of(invocation)[:5] == ["RESTORE_START Runtime Version: unknown", "200 ", "restored", *LINES[:2]]
        assert invocation.init_duration is None

        second = await (await emulator.invoke()).finished()
        assert lines_of(second) == ["START", "END", "REPORT"]

    # Also without a freeze between invocations: a snapshot is one.
    for freeze in (True, False):
        log.lines.clear()
        run(stand_in(script, snapstart=True, on_log=log, freeze=freeze), use)


LINES = ["RESTORE_REPORT Restore", "START"]


def test_variables_tell_of_the_snapshot(stand_in: StandIn) -> None:
    """
    There is no log stream yet when it is taken.
    """
    script = f"""{RESTORE}
say(os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"])
say([name for name in os.environ if name.startswith("AWS_LAMBDA_LOG_")])
restore_next()
{ECHO}"""
    log = Log()
    with in_thread(stand_in(script, snapstart=True, on_log=log)) as emulator:
        emulator.invoke()

    assert log.lines[:2] == ["snap-start", "[]"]


def test_runtime_that_does_not_ask_for_its_restore_is_served(stand_in: StandIn) -> None:
    """
    It is not interested in hooks.
    """
    with in_thread(stand_in(ECHO, snapstart=True)) as emulator:
        invocations = [emulator.finished(emulator.invoke()) for _ in range(2)]

    for invocation in invocations:
        # There is a line for what follows the answer when it takes long enough.
        assert [line for line in lines_of(invocation) if line != "BACKGROUND"] == ["START", "END", "REPORT"]


def test_runtime_without_snapstart_has_no_restore(stand_in: StandIn) -> None:
    """
    The pages are not there.
    """
    script = f'{RESTORE}\ntell(restore_next())\ntell(call("POST", "/restore/error"))\n{ECHO}'
    with in_thread(stand_in(script)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert lines_of(invocation)[:2] == ["404 404 page not found"] * 2


@pytest.mark.parametrize("page", ["/restore/error", "/init/error"])
def test_error_after_the_restore_is_the_answer(stand_in: StandIn, page: str) -> None:
    """
    On either page; the environment ends, and the next event finds another one, with an init and a restore of its own.
    """
    script = f"""{RESTORE}
restore_next()
if not os.path.exists("failed once"):
    open("failed once", "w").close()
    document = b'{{"errorType": "Sad", "errorMessage": "no network"}}'
    tell(call("POST", "{page}", document, {{"Lambda-Runtime-Function-Error-Type": "Runtime.AfterRestoreError"}}))
    sys.exit(1)
{ECHO}"""
    with in_thread(stand_in(script, snapstart=True)) as emulator:
        answer = emulator.invoke({"n": 1})
        failed = emulator.finished(answer)
        next_one = emulator.finished(emulator.invoke({"n": 2}))

    assert error_of(answer) == ("Sad", "no network")
    assert answer.function_error == "Runtime.AfterRestoreError"
    reports = [line.text for line in failed.logs if line.text.startswith(("RESTORE_REPORT", "REPORT"))]
    assert len(reports) == 2
    assert all(text.endswith("\tStatus: error\tError Type: Runtime.AfterRestoreError") for text in reports)
    assert '202 {"status":"OK"}' in lines_of(failed)
    assert failed.reset
    assert next_one.status == "success"
    assert "RESTORE_START Runtime Version: unknown" in lines_of(next_one)


def test_hooks_after_the_restore_have_a_limit_of_their_own(stand_in: StandIn) -> None:
    """
    Which is not that of the invocation.
    """
    script = f"{RESTORE}\nrestore_next()\ntime.sleep(60)"
    with in_thread(stand_in(script, snapstart=True, restore_timeout=0.2)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    error_type = "Runtime.RestoreHookUserTimeout"
    assert error_of(answer) == (error_type, "RequestId: ID Error: the hooks after the restore took too long")
    report = next(line.text for line in invocation.logs if line.text.startswith("RESTORE_REPORT"))
    assert report.endswith(f"\tStatus: error\tError Type: {error_type}")
    assert (invocation.status, invocation.reset) == ("error", True)


def test_runtime_that_ends_after_its_restore_fails_the_event(stand_in: StandIn) -> None:
    """
    As it does at any other time.
    """
    script = f"{RESTORE}\nrestore_next()\nsys.exit(7)"
    with in_thread(stand_in(script, snapstart=True)) as emulator:
        answer = emulator.invoke()

    assert error_of(answer) == ("Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 7")


def test_init_that_fails_is_the_answer_of_the_first_event(stand_in: StandIn) -> None:
    """
    Of an init that came before it, and is not repeated for its sake; the next event has another one.
    """
    script = """
        say("init")
        call("POST", "/init/error", b'{"errorType": "Sad", "errorMessage": "no database"}')
        sys.exit(1)
    """
    log = Log()

    async def use(emulator: Emulator) -> None:
        await log.line("INIT_REPORT")
        first = await emulator.invoke()
        await first.finished()
        assert log.lines.count("init") == 1
        second = await emulator.invoke()
        await second.finished()
        assert log.lines.count("init") == 2
        assert [error_of(answer) for answer in (first, second)] == [("Sad", "no database")] * 2

    run(stand_in(script, snapstart=True, on_log=log), use)


# ...and those of Python, with hooks.

HOOKS = """
import os
import snapshot_restore_py as snapshot

def say(*words):
    print(*words, flush=True)

snapshot.register_before_snapshot(say, "hook before")
snapshot.register_after_restore(say, "hook after")
"""

of_both = pytest.mark.parametrize("runtime", ["lambda_ric", "awslambdaric"])


def snapped(runtime: str, directory: Path, source: str, **options: Any) -> Emulator:
    (directory / "app.py").write_text(HOOKS + textwrap.dedent(source))
    command = [sys.executable, "-m", runtime, "app.handler"]
    return Emulator(command=command, task_root=directory, timeout=20, snapstart=True, **options)


@of_both
def test_hooks_run_around_the_snapshot(runtime: str, tmp_path: Path) -> None:
    """
    One before any event, the other after the restore, and the handler after both.
    """
    source = """
        def handler(event, context):
            say("handler")
            return event
    """
    log = Log()

    async def use(emulator: Emulator) -> None:
        await log.line("hook before")
        assert "hook after" not in log.lines
        answer = await emulator.invoke({"n": 1})
        invocation = await answer.finished()

        assert json.loads(answer.payload) == {"n": 1}
        lines = [line for line in lines_of(invocation) if not line.startswith("BACKGROUND")]
        assert lines == [
            "RESTORE_START Runtime Version: unknown",
            "hook after",
            "RESTORE_REPORT Restore",
            "START",
            "handler",
            "END",
            "REPORT",
        ]

    run(snapped(runtime, tmp_path, source, on_log=log), use)


@of_both
def test_hook_that_fails_after_the_restore_is_the_answer(runtime: str, tmp_path: Path) -> None:
    """
    With the error of the hook.
    """
    source = """
        def fail():
            raise LookupError("no network")

        snapshot.register_after_restore(fail)

        def handler(event, context):
            return event
    """
    with in_thread(snapped(runtime, tmp_path, source)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert "no network" in json.loads(answer.payload)["errorMessage"]
    report = next(line.text for line in invocation.logs if line.text.startswith("RESTORE_REPORT"))
    assert report.endswith("\tStatus: error\tError Type: Runtime.AfterRestoreError")


@of_both
def test_hook_that_fails_before_the_snapshot_fails_the_init(runtime: str, tmp_path: Path) -> None:
    """
    There is nothing to restore then.
    """
    source = """
        def fail():
            raise LookupError("no snapshot, please")

        snapshot.register_before_snapshot(fail)

        def handler(event, context):
            return event
    """
    log = Log()
    with in_thread(snapped(runtime, tmp_path, source, on_log=log)) as emulator:
        answer = emulator.invoke()
        emulator.finished(answer)

    assert "no snapshot, please" in json.loads(answer.payload)["errorMessage"]
    assert not [line for line in log.lines if line.startswith("RESTORE")]
    report = next(line for line in log.lines if line.startswith("INIT_REPORT"))
    assert report.endswith("\tStatus: error\tError Type: Runtime.BeforeSnapshotError")
