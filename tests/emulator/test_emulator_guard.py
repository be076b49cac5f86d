"""
The last resort: what an emulator has started ends with it, also when it is killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lambda_ric.emulator.guard import Guard
from tests.emulator.conftest import PRELUDE

ROOT = Path(__file__).parent.parent.parent
WAIT = 20.0


class Ends:
    """Waits for the end of processes, whosever children they are."""

    def __init__(self, *pids: int) -> None:
        self._files = [os.pidfd_open(pid) for pid in pids]

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for file in self._files:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(file, signal.SIGKILL)
            os.close(file)

    def wait(self) -> bool:
        """Return whether all have ended, and give them time for it."""
        return all(select.select([file], [], [], WAIT)[0] for file in self._files)

    def any(self) -> bool:
        """Return whether one has ended already."""
        return any(select.select([file], [], [], 0)[0] for file in self._files)


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """Provide a process in a group of its own, which ignores everything that can be ignored."""
    ignore = "trap '' HUP INT TERM QUIT; echo ready; while :; do sleep 60; done"
    with subprocess.Popen(["sh", "-c", ignore], process_group=0, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_group_ends_with_the_guard() -> None:
    """
    All of it, whatever it ignores.
    """
    with sleeping() as process:
        guard = Guard()
        guard.watch(process.pid)
        guard.close()

        assert process.wait(WAIT) == -signal.SIGKILL


def test_group_that_was_forgotten_is_left_alone() -> None:
    """
    Its number may belong to others by now.
    """
    with sleeping() as forgotten, sleeping() as watched:
        guard = Guard()
        guard.watch(forgotten.pid)
        guard.watch(watched.pid)
        guard.forget(forgotten.pid)
        guard.close()

        assert watched.wait(WAIT) == -signal.SIGKILL
        assert forgotten.poll() is None


def test_number_that_is_given_again_is_watched_again() -> None:
    """
    Each forgetting undoes one watching, and no other group's with similar digits.
    """
    with sleeping() as again, sleeping() as other:
        guard = Guard()
        guard.watch(again.pid)
        guard.forget(again.pid)
        guard.watch(other.pid)
        guard.watch(again.pid)
        # A part of a number is another number, and what was never watched can be forgotten.
        guard.forget(int(str(other.pid)[1:] or 0))
        guard.forget(int(f"{other.pid}0"))
        guard.forget(2**30)
        guard.close()

        assert again.wait(WAIT) == -signal.SIGKILL
        assert other.wait(WAIT) == -signal.SIGKILL


def test_forgetting_what_was_never_watched_changes_nothing() -> None:
    """
    The others are watched, and can be forgotten, as before.
    """
    with sleeping() as forgotten, sleeping() as watched:
        guard = Guard()
        guard.watch(forgotten.pid)
        guard.watch(watched.pid)
        guard.forget(1)
        guard.forget(forgotten.pid)
        guard.close()

        assert watched.wait(WAIT) == -signal.SIGKILL
        assert forgotten.poll() is None


def test_guard_that_was_killed_is_no_error() -> None:
    """
    There is no more to be had from it; the emulator goes on.
    """
    guard = Guard()
    guard._shell.kill()
    guard._shell.wait()

    guard.watch(2**30)
    guard.forget(2**30)
    guard.close()


# A whole emulator, killed...

# Says "EMULATOR: PIDS" at the moment at which it is to be killed, and waits for that.
EMULATOR = """
import sys, time
import anyio
from lambda_ric.emulator import Emulator

async def main():
    said = anyio.Event()

    def on_log(line):
        if line.text.startswith("pids"):
            pids.append(line.text)
            said.set()

    pids = []
    async with Emulator(command=[sys.executable, "-S", "runtime.py"], timeout=60, on_log=on_log) as emulator:
        invocation = emulator.invocation(b"null")
        emulator.submit(invocation)
        await said.wait()
        if sys.argv[1] == "frozen":
            await invocation.finished()
        elif sys.argv[1] == "answered":
            await invocation.answered()
        print(pids[0], flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""

CHILD = 'child = subprocess.Popen(["sleep", "60"])\nsay("pids", os.getpid(), child.pid)\n'

PHASES = {
    "init": CHILD + "time.sleep(60)",
    "handler": "next_event()\n" + CHILD + "time.sleep(60)",
    "answered": "request_id, _ = next_event()\nrespond(request_id)\n" + CHILD + "time.sleep(60)",
    "frozen": "request_id, _ = next_event()\n" + CHILD + "respond(request_id)\nnext_event()",
    "deaf": "import signal\nfor number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):\n"
    "    signal.signal(number, signal.SIG_IGN)\nnext_event()\n" + CHILD + "time.sleep(60)",
}


@contextmanager
def emulator_in(phase: str, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Run an emulator in a process of its own until it is in *phase*; provide it and the pids of its runtime."""
    (directory / "runtime.py").write_text(PRELUDE + PHASES[phase])
    (directory / "emulator.py").write_text(textwrap.dedent(EMULATOR))
    with subprocess.Popen(
        [sys.executable, "emulator.py", phase],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, [int(pid) for pid in process.stdout.readline().split()[1:]]
        finally:
            process.kill()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def kill_its_group(process: subprocess.Popen[bytes]) -> None:
    """As `kill -9 %1` of a shell does, which reaches all that the group holds."""
    os.killpg(process.pid, signal.SIGKILL)


def hang_up_its_group(process: subprocess.Popen[bytes]) -> None:
    """As the end of a terminal does."""
    os.killpg(process.pid, signal.SIGHUP)


@pytest.mark.parametrize("phase", PHASES)
def test_emulator_that_is_killed_leaves_no_process_behind(phase: str, tmp_path: Path) -> None:
    """
    Neither the runtime nor what it has started, in whatever phase they are.
    """
    with emulator_in(phase, tmp_path) as (emulator, pids), Ends(*pids) as ends:
        assert len(pids) == 2
        assert not ends.any()

        emulator.kill()

        assert ends.wait()


@pytest.mark.parametrize("end", [kill_its_group, hang_up_its_group])
def test_emulator_whose_group_is_ended_leaves_no_process_behind(
    end: Callable[[subprocess.Popen[bytes]], None], tmp_path: Path
) -> None:
    """
    The guard is not in that group, and does not end with its terminal.
    """
    with emulator_in("frozen", tmp_path) as (emulator, pids), Ends(*pids) as ends:
        end(emulator)

        assert ends.wait()
