"""The process replaced between invocations: when, what the new one gets, and that no invocation notices."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, in_thread
from tests.conftest import ROOT, Serve, Served
from tests.support.fakes import Event, Request, reply

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

# What tells one interpreter from another under the same process id.
IDENTITY = """
import os, uuid
interpreter = uuid.uuid4().hex
def handler(event, context):
    if event == "fail":
        raise ValueError(event)
    return [os.getpid(), interpreter]
"""


def replaced(served: Served) -> list[str]:
    """Return the reasons in the log."""
    begins = "the process is replaced by a new one: "
    return [line.split(begins)[1] for line in served.lines if begins in line]


def interpreters(served: Served) -> list[int]:
    """Return the answers' interpreters, numbered from zero in the order of their appearance."""
    found = [answer[1] for answer in served.answers if isinstance(answer, list)]
    return [list(dict.fromkeys(found)).index(one) for one in found]


# When...


def test_process_is_replaced_after_so_many_invocations(serve: Serve) -> None:
    """Under the same process id, before the next event is asked for."""
    served = serve(IDENTITY, *range(5), env={"LAMBDA_RIC_RECYCLE_AFTER": "2"})

    assert interpreters(served) == [0, 0, 1, 1, 2]
    assert len({pid for pid, _ in served.answers}) == 1
    assert replaced(served) == ["it has served 2 (LAMBDA_RIC_RECYCLE_AFTER)"] * 2
    assert [request.name for request in served.api.requests] == ["next", "response"] * 5 + ["next"]


def test_process_is_replaced_after_an_error(serve: Serve) -> None:
    """What failed may have left things in disorder."""
    served = serve(IDENTITY, 1, "fail", 2, 3, env={"LAMBDA_RIC_RECYCLE_ON_ERROR": "on"})

    assert interpreters(served) == [0, 1, 1]
    assert replaced(served) == ["an invocation failed (LAMBDA_RIC_RECYCLE_ON_ERROR)"]


def test_process_is_replaced_above_a_mark_of_memory(serve: Serve) -> None:
    """What is in memory when an invocation has ended, not what it has needed meanwhile."""
    source = IDENTITY + "    \nof_init, grow = handler, []\n" + (
        "def handler(event, context):\n"
        "    if event == 'grow': grow.append(b'x' * (200 << 20))\n"
        "    b'x' * (200 << 20)\n"
        "    return of_init(event, context)\n"
    )  # fmt: skip
    served = serve(source, "a", "grow", "b", "c", env={"LAMBDA_RIC_RECYCLE_ABOVE_MB": "150"})

    assert interpreters(served) == [0, 0, 1, 1]
    (reason,) = replaced(served)
    assert reason.endswith(" MB in memory (LAMBDA_RIC_RECYCLE_ABOVE_MB)")


def test_mark_that_a_fresh_process_exceeds_is_not_used(serve: Serve) -> None:
    """Else every invocation would be followed by a start."""
    served = serve(IDENTITY, 1, 2, 3, env={"LAMBDA_RIC_RECYCLE_ABOVE_MB": "1"})

    assert interpreters(served) == [0, 0, 0]
    assert "LAMBDA_RIC_RECYCLE_ABOVE_MB=1 is not used" in served.stdout


def test_process_is_not_replaced_when_the_deadline_is_near(serve: Serve) -> None:
    """To Lambda the invocation lasts until the new process asks for an event: it must not time out."""
    env = {"LAMBDA_RIC_RECYCLE_AFTER": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"}
    served = serve(IDENTITY, Event(1, timeout=0.9), Event(2, timeout=0.9), 3, 4, env=env)

    assert interpreters(served) == [0, 0, 0, 1]
    assert served.stdout.count("the process is not replaced yet, though it has served 1") == 1


def test_without_a_setting_nothing_is_loaded_and_nothing_replaced(serve: Serve) -> None:
    """Most functions are never replaced."""
    served = serve("import sys\ndef handler(event, context): return 'lambda_ric.recycling' in sys.modules", 1, 2)

    assert served.answers == [False, False]


# ...what the new process gets...


def test_new_process_gets_environment_arguments_and_directory_of_the_first(serve: Serve) -> None:
    """Not what the function, or sitecustomize, has made of them."""
    served = serve(
        """
        import os, sys

        def handler(event, context):
            found = [{**os.environ}, sys.orig_argv, os.getcwd(), sys.flags.utf8_mode]
            os.environ["ADDED"] = "1"
            del os.environ["TAKEN"]
            os.chdir("/")
            return found
        """,
        1,
        2,
        3,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1", "TAKEN": "ä = b", "PYTHONUTF8": "1"},
    )

    first, second, third = served.answers
    assert second == third
    assert second[0].pop("LAMBDA_RIC_RECYCLED") == "yes"
    for answer in (first, second):
        answer[0].pop("_X_AMZN_TRACE_ID", None)
    assert first == second


def test_new_process_gets_what_sitecustomize_took_from_the_environment(serve: Serve, tmp_path: Path) -> None:
    """OpenTelemetry's takes its own directory out of PYTHONPATH, and would not be found a second time."""
    (tmp_path / "sitecustomize.py").write_text("import os\nfound = os.environ.pop('INSTRUMENTED', None)\n")
    served = serve(
        "import sitecustomize\ndef handler(event, context): return sitecustomize.found",
        1,
        2,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1", "INSTRUMENTED": "yes", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )

    assert served.answers == ["yes", "yes"]


def test_new_process_logs_to_the_same_descriptor(serve: Serve) -> None:
    """Lambda hands it over once, and the runtime hides it from child processes."""
    read, write = os.pipe()
    try:
        served = serve(
            """
            import logging, os
            def handler(event, context):
                logging.error("event %s", event)
                return os.environ.get("_LAMBDA_TELEMETRY_LOG_FD")
            """,
            1,
            2,
            env={"LAMBDA_RIC_RECYCLE_AFTER": "1", "_LAMBDA_TELEMETRY_LOG_FD": str(write)},
            pass_fds=(write,),
        )
        frames = os.read(read, 100_000)
    finally:
        os.close(read)
        os.close(write)

    assert served.answers == [None, None]
    assert b"event 1" in frames
    assert b"event 2" in frames
    assert served.stdout == ""


def test_descriptors_and_timers_of_the_old_process_are_gone(serve: Serve) -> None:
    """Files and sockets are closed, and an alarm does not end a process that knows nothing of it."""
    served = serve(
        """
        import os, signal, socket, time
        old = []
        if "LAMBDA_RIC_RECYCLED" in os.environ:
            time.sleep(0.5)

        def handler(event, context):
            if event == "open":
                old[:] = [open(__file__), socket.socket()]
                signal.signal(signal.SIGALRM, lambda *_: None)
                signal.setitimer(signal.ITIMER_REAL, 0.3)
            return len(os.listdir("/proc/self/fd"))
        """,
        "open",
        "look",
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1"},
    )

    opened, left = served.answers
    assert left == opened - 2


def test_thread_that_hangs_is_gone(serve: Serve) -> None:
    """To be rid of it is what some recycle for."""
    served = serve(
        """
        import threading, time

        def handler(event, context):
            if event == "start":
                threading.Thread(target=time.sleep, args=(60,)).start()
            return threading.active_count()
        """,
        "start",
        "look",
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1"},
    )

    assert served.answers == [2, 1]


# ...and what happens around it.


def test_shutdown_hooks_run_and_the_log_is_flushed_before(serve: Serve) -> None:
    """After the freeze hooks of the invocation: it is the end of this process."""
    served = serve(
        """
        from lambda_ric import before_freeze, on_shutdown

        @before_freeze
        def rest(): print("resting")

        @on_shutdown
        def end(): print("ending", end="")

        def handler(event, context): return event
        """,
        1,
        2,
        intercept=platform,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1"},
    )

    assert [line for line in served.lines if line in ("resting", "ending")] == [
        *["resting", "ending"] * 2,
        "ending",  # of the last one, which is refused a third event
    ]
    assert served.answers[-2:] == [1, 2]


def platform(request: Request) -> bytes | None:
    """Register the one extension, and never answer its wait for events."""
    if request.path.endswith("/extension/register"):
        return reply(200, b"{}", Lambda_Extension_Identifier="7f3c0c4e-6c2b-4b5e-9d4e-6d1f0e6f0a11")
    return b"HTTP/1.1 100 Continue\r\n\r\n" if request.path.endswith("/extension/event/next") else None


def test_extension_is_registered_once(serve: Serve) -> None:
    """Registration is closed after the init; the connection of the first process stays open."""
    served = serve(
        """
        import os
        from lambda_ric import on_shutdown
        on_shutdown(lambda: None)
        def handler(event, context): return len(os.listdir("/proc/self/fd"))
        """,
        1,
        2,
        3,
        intercept=platform,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1"},
    )

    asked = [request.path.split("/", 2)[2] for request in served.api.requests]
    assert asked.count("extension/register") == asked.count("extension/event/next") == 1
    assert len(set(served.answers[1:])) == 1
    assert "without notice" not in served.stdout


def test_snapshot_is_waited_for_once(serve: Serve) -> None:
    """The new process is one of a restored environment."""
    served = serve(
        IDENTITY,
        1,
        2,
        intercept=lambda request: reply(200) if request.path.endswith("/restore/next") else None,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"},
    )

    assert [request.path.split("/")[-2] for request in served.api.requests].count("restore") == 1
    assert interpreters(served) == [0, 1]


def test_function_that_cannot_be_imported_again_ends_the_process(serve: Serve, tmp_path: Path) -> None:
    """With its error in the log; the platform starts a new environment."""
    served = serve(
        """
        import os
        def handler(event, context): os.rename(__file__, "gone.py")
        """,
        1,
        2,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert served.posts[0].name == "response"
    assert "Runtime.ImportModuleError" in served.stdout
    assert served.exit_code == 1


def test_refusal_of_the_system_ends_the_process(serve: Serve) -> None:
    """Its hooks for the shutdown have run: it cannot go on."""
    served = serve(
        """
        import sys
        sys.executable = "/nowhere/python"
        def handler(event, context): ...
        """,
        1,
        env={"LAMBDA_RIC_RECYCLE_AFTER": "1"},
    )

    assert "the process cannot be replaced, and ends: [Errno 2]" in served.stdout
    assert served.exit_code == 1


def test_no_invocation_fails_on_the_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One init, one environment, one process, many interpreters; the end is announced to the last of them."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(
        IDENTITY + "from lambda_ric import on_shutdown\non_shutdown(lambda: print('ended', interpreter))\n"
    )
    lines: list[str] = []
    with in_thread(
        Emulator(
            "app.handler",
            task_root=tmp_path,
            timeout=10,
            environment={"LAMBDA_RIC_RECYCLE_AFTER": "2"},
            on_log=lambda line: lines.append(line.text),
        )
    ) as emulator:
        invocations = [emulator.finished(emulator.invoke(number)) for number in range(7)]
    answers: list[Any] = [json.loads(invocation.answer.payload) for invocation in invocations if invocation.answer]

    assert [invocation.status for invocation in invocations] == ["success"] * 7
    assert [invocation.init_duration is None for invocation in invocations] == [False] + [True] * 6
    assert {invocation.environment for invocation in invocations} == {invocations[0].environment}
    assert len({pid for pid, _ in answers}) == 1
    assert len({interpreter for _, interpreter in answers}) == 4
    ended = [line for line in lines if line.startswith("ended")]
    assert ended == [f"ended {interpreter}" for interpreter in dict.fromkeys(one for _, one in answers)]
