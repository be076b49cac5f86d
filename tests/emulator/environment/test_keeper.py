"""
An environment is its own machine: what runs in it is frozen and ended with it, also when the emulator is killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from lambda_ric.emulator import Invocation, in_thread
from lambda_ric.emulator.environment import keeper
from lambda_ric.emulator.environment.guard import Guard, Keeping
from tests.emulator.conftest import PRELUDE, StandIn

ROOT = Path(__file__).parents[3]
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


# What a function starts, and what becomes of it.

# Two children that write down that they live, without children of their own, for which a shell could wait in a state
# that cannot be told from work: one in a session of its own, and one whose parent has ended as well.
STRAYS = """
TICKS = "while :; do echo . >> $0; done"

def stray(name, *shell):
    return subprocess.Popen(["sh", "-c", *shell, name], start_new_session=True)

apart = stray("apart", TICKS)
orphan = stray("orphan", f"({TICKS}) & echo $! > number; exit")
orphan.wait()
pids = [apart.pid, int(open("number").read())]
say("pids", *pids)
"""


def pids_of(invocation: Invocation) -> list[int]:
    (line,) = [line.text for line in invocation.logs if line.text.startswith("pids")]
    return [int(word) for word in line.split()[1:]]


def until_state(pid: int, *states: str) -> None:
    """Wait until the process is in one of *states*, as ps calls them."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in states:
        time.sleep(0.005)


def until_gone(pid: int) -> None:
    """Wait until the process has ended, and its parent knows."""
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.005)


def test_what_has_left_its_session_or_its_parent_is_frozen_with_the_environment(stand_in: StandIn) -> None:
    """
    It goes on with the next event, and ends with the emulator.
    """
    script = STRAYS + "while True: respond(next_event()[0])"
    with ExitStack() as stack:
        emulator = stack.enter_context(in_thread(stand_in(script)))
        pids = pids_of(emulator.finished(emulator.invoke()))
        with Ends(*pids) as ends:
            for pid in pids:
                until_state(pid, "T")
            emulator.finished(emulator.invoke())
            for pid in pids:
                until_state(pid, "T")
            assert not ends.any()
            # The end of the body is the end of the emulator.
            stack.pop_all().close()

            assert ends.wait()


def test_what_was_frozen_goes_on_with_the_next_event(stand_in: StandIn) -> None:
    """
    As long as the event takes.
    """
    script = (
        STRAYS
        + """
respond(next_event()[0])
request_id, _ = next_event()
size = os.path.getsize("apart"), os.path.getsize("orphan")
while os.path.getsize("apart") == size[0] or os.path.getsize("orphan") == size[1]:
    time.sleep(0.005)
respond(request_id)
next_event()
"""
    )
    with in_thread(stand_in(script)) as emulator:
        for pid in pids_of(emulator.finished(emulator.invoke())):
            until_state(pid, "T")

        assert emulator.finished(emulator.invoke()).status == "success"


@pytest.mark.parametrize("end", ["os._exit(1)", "time.sleep(60)"])
def test_reset_ends_what_has_left_its_session_or_its_parent(end: str, stand_in: StandIn) -> None:
    """
    The new environment finds nothing of the one before.
    """
    script = STRAYS + f"next_event()\n{end}"
    with in_thread(stand_in(script, timeout=1.0)) as emulator:
        pids = pids_of(emulator.finished(emulator.invoke()))

        assert [Path(f"/proc/{pid}").exists() for pid in pids] == [False, False]


def test_signals_are_those_of_a_process_that_nobody_has_touched(stand_in: StandIn) -> None:
    """
    The keeper and its maker handle some; the runtime ignores but what Python itself does.
    """
    script = """
        import signal
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
            say(signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler))
        respond(next_event()[0])
        next_event()
    """
    with in_thread(stand_in(script)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert [line.text for line in invocation.logs if not line.platform] == ["True"] * 4


def test_processes_of_others_are_left_alone(stand_in: StandIn) -> None:
    """
    Those of the program that runs the emulator, say, in a session of their own or not.
    """
    others = [subprocess.Popen(["sleep", "60"], start_new_session=apart) for apart in (False, True)]
    with in_thread(stand_in(STRAYS + "next_event(); os._exit(1)")) as emulator:
        emulator.finished(emulator.invoke())

    assert [other.poll() for other in others] == [None, None]
    for other in others:
        other.kill()
        other.wait()


def test_keeper_is_not_woken_when_its_processes_are_stopped_and_continued() -> None:
    """
    So it is with every invocation, and would cost each; the end of a process is what the keeper has to hear of.
    """
    script = """
        import os, select, signal, socket
        from lambda_ric.emulator.environment import keeper

        keeps = keeper.Keeper(socket.socketpair()[0])
        heard = lambda seconds: select.select([keeps._wakes], [], [], seconds)[0] != []
        child = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        found = []
        for sent, seen in ((signal.SIGSTOP, os.WSTOPPED), (signal.SIGCONT, os.WCONTINUED)):
            os.kill(child, sent)
            os.waitid(os.P_PID, child, seen)
            found.append(heard(0))
        os.kill(child, signal.SIGKILL)
        print(*found, heard(20))
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False", "True"]


def test_keeper_that_was_killed_takes_its_runtime_along(stand_in: StandIn) -> None:
    """
    The event fails, and the next one has an environment again.
    """
    script = """
        import signal
        request_id, event = next_event()
        if event.content != b"null":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        respond(request_id)
        next_event()
    """
    with in_thread(stand_in(script)) as emulator:
        failed = emulator.finished(emulator.invoke("kill"))
        assert failed.failure is not None
        assert (failed.failure.error_type, failed.reset) == ("Runtime.ExitError", True)

        assert emulator.finished(emulator.invoke()).status == "success"


def test_guard_that_was_killed_is_started_again(stand_in: StandIn) -> None:
    """
    The environments that it has made live on, and there will be others.
    """
    script = """
        import signal, time

        def state_of(pid):
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0]

        request_id, _ = next_event()
        with open(f"/proc/{os.getppid()}/stat") as file:
            guard = int(file.read().rpartition(")")[2].split()[1])
        if not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(guard, signal.SIGKILL)
            while state_of(guard) != "Z":  # it is the emulator's child
                time.sleep(0.001)
        respond(request_id)
        os._exit(1)
    """
    with in_thread(stand_in(script)) as emulator:
        first, second = (emulator.finished(emulator.invoke()) for _ in range(2))

    assert [invocation.answer and invocation.answer.function_error for invocation in (first, second)] == [None, None]


@pytest.mark.parametrize("own_network", [False, True])
def test_guard_that_was_killed_a_moment_before_is_started_again(own_network: bool) -> None:
    """
    It was sent the request for a keeper, and died before it read it: the sender sees nothing of that.
    """

    async def status() -> int:
        others = keeper.descendants(os.getpid())
        guard = Guard()
        await guard.ready()
        (pid,) = keeper.descendants(os.getpid()) - others
        os.kill(pid, signal.SIGSTOP)
        until_state(pid, "T")
        keeping = guard.keeper(own_network=own_network)
        os.kill(pid, signal.SIGKILL)
        found = await keeping.exited(await launched(keeping, "exit 3"))
        keeping.close()
        guard.close()
        return found

    assert anyio.run(status) == 3


def test_end_of_a_process_that_ended_before_anybody_asked_is_told() -> None:
    """
    It may come together with the word that the process was started.
    """

    async def status() -> int:
        guard = Guard()
        await guard.ready()
        keeping = guard.keeper()
        pid = await launched(keeping, "exit 3")
        until_gone(pid)
        (await keeping.socket(0)).close()  # answered after what there was to tell before
        found = await keeping.exited(pid)
        keeping.close()
        guard.close()
        return found

    assert anyio.run(status) == 3


async def launched(keeping: Keeping, script: str) -> int:
    output = os.open(os.devnull, os.O_WRONLY)
    try:
        return await keeping.launch(["sh", "-c", script], Path("/"), {"PATH": os.environ["PATH"]}, [output])
    finally:
        os.close(output)


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

CHILD = """
child = subprocess.Popen(["sleep", "60"])
apart = subprocess.Popen(["sleep", "60"], start_new_session=True)
with subprocess.Popen(["sh", "-c", "setsid sleep 60 & echo $!"], stdout=subprocess.PIPE) as daemon:
    number = int(daemon.stdout.readline())
say("pids", os.getpid(), child.pid, apart.pid, number)
"""

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
    Neither the runtime nor what it has started, in a session of its own or not, in whatever phase they are.
    """
    with emulator_in(phase, tmp_path) as (emulator, pids), Ends(*pids) as ends:
        assert len(pids) == 4
        assert not ends.any()

        emulator.kill()

        assert ends.wait()


@pytest.mark.parametrize("end", [kill_its_group, hang_up_its_group])
def test_emulator_whose_group_is_ended_leaves_no_process_behind(
    end: Callable[[subprocess.Popen[bytes]], None], tmp_path: Path
) -> None:
    """
    Those who clean up are not in that group, and do not end with its terminal.
    """
    with emulator_in("frozen", tmp_path) as (emulator, pids), Ends(*pids) as ends:
        end(emulator)

        assert ends.wait()
