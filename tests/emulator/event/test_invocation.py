"""
What an invocation goes through: init, delivery, background, freeze, and every way in which it can end early.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from lambda_ric.emulator import Answer, Emulator, EmulatorError, Invocation, LogLine, in_thread
from lambda_ric.emulator.event.span import Span
from lambda_ric.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

ECHO = """
while True:
    request_id, event = next_event()
    respond(request_id, event.content, {"Content-Type": "application/json"})
"""

PID = """
while True:
    request_id, event = next_event()
    respond(request_id, str(os.getpid()))
"""


def said(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


def platform_said(invocation: Invocation) -> list[str]:
    return [line.text.replace(invocation.request_id, "ID") for line in invocation.logs if line.platform]


def error_of(answer: Answer) -> dict[str, str]:
    document: dict[str, str] = json.loads(answer.payload)
    return {**document, "errorMessage": document["errorMessage"].replace(answer.request_id, "ID")}


def state_of(pid: int) -> str:
    """Return the state letter of a process, or nothing when it is no more."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, check=False)
    return found.stdout.decode()[:1].replace("Z", "")


def reaches(pid: int, state: str) -> bool:
    """Wait until a process is in *state*; give up after ten seconds."""
    for _ in range(1000):
        if state_of(pid) == state:
            return True
        time.sleep(0.01)
    return False


# Delivery...


def test_response_is_delivered_while_the_runtime_is_still_at_work(stand_in: StandIn, tmp_path: Path) -> None:
    """
    The caller has the response when it is posted, not at the next poll.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, b"early")
        while not os.path.exists("the caller has it"):
            time.sleep(0.01)
        next_event()
    """
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()
        (tmp_path / "the caller has it").touch()
        invocation = emulator.finished(answer)

    assert (answer.payload, answer.function_error, invocation.status) == (b"early", None, "success")


def test_answer_has_the_bytes_and_the_content_type_of_the_runtime(stand_in: StandIn) -> None:
    """
    Nothing is changed on the way to the caller.
    """
    script = r"""
        request_id, event = next_event()
        respond(request_id, b"\x00\xff", {"Content-Type": "image/x-test"})
        next_event()
    """
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()

    assert (answer.payload, answer.content_type) == (b"\x00\xff", "image/x-test")


def test_event_reaches_the_runtime_as_compact_json(stand_in: StandIn) -> None:
    """
    Events are JSON in UTF-8; bytes are sent as they are.
    """
    with in_thread(stand_in(ECHO)) as emulator:
        payloads = [emulator.invoke(event).payload for event in ({"n": "ü"}, b" [1] ", None)]

    assert payloads == ['{"n":"ü"}'.encode(), b" [1] ", b"null"]


def test_error_is_an_answer_and_the_environment_lives_on(stand_in: StandIn) -> None:
    """
    A function error resets nothing; the caller gets the document and its type.
    """
    script = """
        while True:
            request_id, event = next_event()
            type_header = {"Lambda-Runtime-Function-Error-Type": "Function.Sad"}
            respond(request_id, b'{"errorType": "Sad"}', type_header, kind="error")
    """
    with in_thread(stand_in(script)) as emulator:
        first, second = (emulator.finished(emulator.invoke()) for _ in range(2))

    assert first.answer is not None
    assert (first.answer.payload, first.answer.function_error) == (b'{"errorType": "Sad"}', "Function.Sad")
    assert platform_said(first)[-1].endswith("\tStatus: error\tError Type: Function.Sad")
    assert second.init_started_at is None


# ...the time after it...


def test_next_event_waits_until_the_background_work_is_over(stand_in: StandIn) -> None:
    """
    One environment takes nothing new before its next poll.
    """
    script = """
        while True:
            request_id, event = next_event()
            respond(request_id)
            time.sleep(0.2)
    """
    with in_thread(stand_in(script)) as emulator:
        answers = [emulator.invoke() for _ in range(2)]
        first, second = (emulator.finished(answer) for answer in answers)

    assert first.background_duration is not None
    assert first.background_duration >= 0.2
    assert first.ended_at <= second.started_at


def test_calls_at_the_same_time_wait_their_turn(stand_in: StandIn) -> None:
    """
    Concurrent callers share the one environment, each with its own event.
    """
    with in_thread(stand_in(ECHO)) as emulator, ThreadPoolExecutor(5) as callers:
        answers = list(callers.map(emulator.invoke, range(5)))

    assert [answer.payload for answer in answers] == [b"0", b"1", b"2", b"3", b"4"]


def test_runtime_is_frozen_after_its_poll_and_thawed_by_the_next_event(stand_in: StandIn) -> None:
    """
    Between invocations the whole process is stopped, as on Lambda.
    """
    with in_thread(stand_in(PID)) as emulator:
        first = emulator.invoke()
        pid = int(first.payload)
        frozen_at = emulator.finished(first).frozen_at
        frozen = reaches(pid, "T")
        second = emulator.invoke()

    assert frozen
    assert frozen_at is not None
    assert second.payload == first.payload


def test_runtime_runs_on_without_freeze(stand_in: StandIn, tmp_path: Path) -> None:
    """
    With freeze=False, what the process does after its poll goes on.
    """
    script = """
        def later():
            while not os.path.exists("polled"):
                time.sleep(0.01)
            open("ran on", "w").close()

        threading.Thread(target=later, daemon=True).start()
        request_id, event = next_event()
        respond(request_id)
        next_event()
    """
    with in_thread(stand_in(script, freeze=False)) as emulator:
        invocation = emulator.finished(emulator.invoke())
        (tmp_path / "polled").touch()
        while not (tmp_path / "ran on").exists():
            time.sleep(0.01)

    assert invocation.frozen_at is None


def test_spans_of_an_invocation_are_complete_when_it_has_ended(stand_in: StandIn) -> None:
    """
    What the runtime writes on the side before its poll belongs to the invocation; garbage and others' do not.
    """
    script = """
        import json
        side = int(os.environ["LAMBDA_RIC_SPANS_FD"])
        for _ in range(2):
            request_id, event = next_event()
            respond(request_id)
            span = {"request_id": request_id, "kind": "task", "name": "t", "state": "failed", "start": 1, "end": 2.5}
            span["reason"] = "ValueError: no"
            others = {**span, "request_id": "other"}
            os.write(side, b"not a span\\n" + json.dumps(others).encode() + b"\\n" + json.dumps(span).encode() + b"\\n")
    """
    with in_thread(stand_in(script)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert invocation.spans == [Span("task", "t", "failed", 1, 2.5, "ValueError: no")]


def test_what_is_no_span_is_told_once(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A function that writes without end where it should not costs no more than that."""
    script = """
        request_id, event = next_event()
        os.write(int(os.environ["LAMBDA_RIC_SPANS_FD"]), b"rubbish\\n[]\\n" * 1000)
        respond(request_id)
        next_event()
    """
    with in_thread(stand_in(script)) as emulator:
        emulator.finished(emulator.invoke())

    assert [record.getMessage() for record in caplog.records if "no span" in record.getMessage()] == [
        "environment 1 writes on the side channel what is no span, which is told once: b'rubbish'"
    ]


def test_work_that_was_running_when_the_environment_was_killed_is_named(stand_in: StandIn) -> None:
    """
    It has told that it began, and could not tell its end.
    """
    script = """
        import json
        request_id, event = next_event()
        span = {"request_id": request_id, "kind": "task", "name": "work", "start": time.time(), "end": None}
        for state in "running", "running":
            os.write(int(os.environ["LAMBDA_RIC_SPANS_FD"]), json.dumps({**span, "state": state}).encode() + b"\\n")
        respond(request_id)
        time.sleep(60)
    """
    with in_thread(stand_in(script, timeout=0.5)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert [(span.name, span.state) for span in invocation.spans] == [("work", "killed")]
    assert invocation.spans[0].end == invocation.ended_at


def test_everything_written_before_the_poll_is_in_the_log(stand_in: StandIn) -> None:
    """
    Lines come in order, stdout and stderr as one stream, before END; a phase ends an unfinished line.
    """
    script = """
        print("init", end="", flush=True)
        request_id, event = next_event()
        respond(request_id)
        for number in range(1000):
            print(number, file=[sys.stdout, sys.stderr][number % 2], flush=True)
        print("unfinished", end="", flush=True)
        next_event()
    """
    live: list[LogLine] = []
    with in_thread(stand_in(script, on_log=live.append)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    assert said(invocation) == ["init", *map(str, range(1000)), "unfinished"]
    assert [line.text.split()[0] for line in live][:2] == ["init", "START"]
    assert [line.text.split()[0] for line in live if "BACKGROUND" not in line.text][-3:] == [
        "unfinished",
        "END",
        "REPORT",
    ]
    assert live == invocation.logs


def test_report_line_has_the_fields_of_the_platform(stand_in: StandIn) -> None:
    """
    REPORT reads as on Lambda: background time is part of the duration, init is billed.
    """
    with in_thread(stand_in(PID, memory=512)) as emulator:
        invocation = emulator.finished(emulator.invoke())

    fields = dict(field.split(": ", 1) for field in platform_said(invocation)[-1].split("\t"))
    assert list(fields) == [
        "REPORT RequestId", "Duration", "Billed Duration", "Memory Size", "Max Memory Used", "Init Duration"
    ]  # fmt: skip
    assert fields["Memory Size"] == "512 MB"
    assert fields["Billed Duration"] == f"{invocation.billed_ms} ms"


# ...and how it ends early.


def test_timeout_before_the_answer_is_a_function_error_and_resets(stand_in: StandIn) -> None:
    """
    At the deadline the process is killed; the next invocation has a new one, whose init is part of it.
    """
    script = """
        request_id, event = next_event()
        if event.content == b'"hang"':
            time.sleep(60)
        respond(request_id, str(os.getpid()))
        next_event()
    """
    with in_thread(stand_in(script, timeout=0.5)) as emulator:
        answer = emulator.invoke("hang")
        timed_out = emulator.finished(answer)
        after = emulator.finished(emulator.invoke())

    assert answer.function_error == "Sandbox.Timedout"
    assert error_of(answer) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: ID Error: Task timed out after 0.50 seconds",
    }
    assert platform_said(timed_out)[-1].endswith("\tStatus: timeout")
    assert after.answer is not None
    assert after.answer.payload.isdigit()
    assert after.init_duration is None


def test_overrun_after_the_response_leaves_the_caller_its_answer(stand_in: StandIn) -> None:
    """
    The deadline counts until the next poll; an answer that was given stays given.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, str(os.getpid()))
        time.sleep(60)
    """
    with in_thread(stand_in(script, timeout=0.5)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)
        alive = state_of(int(answer.payload))

    assert (answer.function_error, invocation.status, alive) == (None, "timeout", "")
    assert "RequestId: ID Error: Task timed out after 0.50 seconds (after the response)" in platform_said(invocation)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
@pytest.mark.parametrize("when", ["init", "invoke"])
def test_exit_before_the_answer_is_a_function_error(stand_in: StandIn, end: str, text: str, when: str) -> None:
    """
    The caller of a runtime that dies gets Runtime.ExitError with Lambda's words.
    """
    script = f"say('last words'); {end}" if when == "init" else f"next_event(); say('last words'); {end}"
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert error_of(answer) == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: ID Error: {text}"}
    assert said(invocation) == ["last words"]
    assert platform_said(invocation)[-1].endswith("\tStatus: error\tError Type: Runtime.ExitError")


def test_exit_after_the_answer_fails_the_invocation_and_not_the_caller(stand_in: StandIn) -> None:
    """
    Exit code 0 between response and poll loses the environment all the same.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, b"kept")
    """
    with in_thread(stand_in(script)) as emulator:
        first, second = (emulator.finished(emulator.invoke()) for _ in range(2))

    assert first.answer is not None
    assert second.answer is not None
    assert (first.answer.payload, first.answer.function_error) == (b"kept", None)
    assert first.failure is not None
    assert (first.status, first.failure.error_type) == ("error", "Runtime.ExitError")
    assert (second.answer.payload, second.init_duration) == (b"kept", None)


def test_exit_between_two_invocations_is_not_seen_by_the_next(stand_in: StandIn, tmp_path: Path) -> None:
    """
    An event is not sent to an environment that has ended.
    """
    script = """
        def die():
            while not os.path.exists("polled"):
                time.sleep(0.01)
            print("last words", end="", flush=True)
            os._exit(1)

        request_id, event = next_event()
        respond(request_id, str(os.getpid()))
        threading.Thread(target=die, daemon=True).start()
        next_event()
    """
    live: list[LogLine] = []
    with in_thread(stand_in(script, freeze=False, on_log=live.append)) as emulator:
        first = emulator.invoke()
        emulator.finished(first)
        (tmp_path / "polled").touch()
        assert reaches(int(first.payload), "")
        second = emulator.invoke()

    assert second.function_error is None
    assert "last words" in [line.text for line in live]


def test_init_error_is_the_answer_of_the_invocation_that_waited(stand_in: StandIn) -> None:
    """
    What the runtime posts to init/error reaches the caller byte for byte.
    """
    script = """
        type_header = {"Lambda-Runtime-Function-Error-Type": "Runtime.Nope"}
        tell(call("POST", "/init/error", b'{"errorType": "Nope"}', type_header))
        tell(call("GET", "/invocation/next"))
        sys.exit(1)
    """
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    assert (answer.payload, answer.content_type) == (b'{"errorType": "Nope"}', "application/json")
    assert answer.function_error == "Runtime.Nope"
    text = "State transition from InitError to Ready failed for runtime. Error: State transition is not allowed"
    assert said(invocation) == [
        '202 {"status":"OK"}',
        f'403 {{"errorMessage":"{text}","errorType":"InvalidStateTransition"}}',
    ]
    assert platform_said(invocation)[0].endswith("Phase: init\tStatus: error\tError Type: Runtime.Nope")


def test_runtime_that_stays_after_its_init_error_is_ended(stand_in: StandIn) -> None:
    """
    A runtime that does not exit on its own cannot hold up the answer.
    """
    script = """
        say(os.getpid())
        call("POST", "/init/error", b"broken")
        time.sleep(60)
    """
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()
        pid = int(said(emulator.finished(answer))[0])

    assert (answer.payload, answer.content_type) == (b"broken", "application/octet-stream")
    assert answer.function_error == "Runtime.Unknown"
    assert state_of(pid) == ""


def test_init_that_never_ends_is_cut_off_and_tried_again_in_the_invocation(stand_in: StandIn) -> None:
    """
    The second attempt has the time of the function, and fails as it does.
    """
    with in_thread(stand_in("time.sleep(60)", init_timeout=0.3, timeout=0.4)) as emulator:
        answer = emulator.invoke()
        invocation = emulator.finished(answer)

    said_of_init = [line for line in platform_said(invocation) if line.startswith("INIT_REPORT")]
    assert error_of(answer) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: ID Error: Task timed out after 0.40 seconds",
    }
    assert [line.split("\t")[1:] for line in said_of_init] == [
        ["Phase: init", "Status: timeout"],
        ["Phase: invoke", "Status: timeout"],
    ]


def test_init_that_is_quick_enough_the_second_time_serves_the_event(stand_in: StandIn, tmp_path: Path) -> None:
    """
    What took too long once may have been a cache that was cold.
    """
    script = """
    if not os.path.exists("warm"):
        open("warm", "w").close()
        time.sleep(60)
    """
    with in_thread(stand_in(textwrap.dedent(script) + ECHO, init_timeout=5.0)) as emulator:
        answer = emulator.invoke(1)

    assert (answer.payload, answer.function_error) == (b"1", None)


def test_command_that_cannot_be_run_is_a_function_error(tmp_path: Path) -> None:
    """
    A wrong command is answered, not raised; the text names it.
    """
    with in_thread(Emulator(command=["./no-such-runtime"], task_root=tmp_path)) as emulator:
        answers = [emulator.invoke() for _ in range(2)]

    assert {answer.function_error for answer in answers} == {"Runtime.InvalidEntrypoint"}
    assert error_of(answers[0])["errorMessage"] == (
        "RequestId: ID Error: cannot run './no-such-runtime': No such file or directory"
    )


# Nothing is left behind.


@pytest.mark.parametrize("freeze", [True, False])
def test_closing_ends_the_runtime_and_its_children(stand_in: StandIn, freeze: bool) -> None:
    """
    When the emulator is closed no process is left, be it stopped or running.
    """
    script = """
        child = subprocess.Popen(["sleep", "60"])
        while True:
            request_id, event = next_event()
            respond(request_id, f"{os.getpid()} {child.pid}")
    """
    with in_thread(stand_in(script, freeze=freeze)) as emulator:
        answer = emulator.invoke()
        emulator.finished(answer)

    assert all(reaches(int(pid), "") for pid in answer.payload.split())


def test_children_end_with_a_runtime_that_exits(stand_in: StandIn) -> None:
    """
    A reset takes everything with it that the runtime had started.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, str(subprocess.Popen(["sleep", "60"]).pid))
    """
    with in_thread(stand_in(script)) as emulator:
        answer = emulator.invoke()
        emulator.finished(answer)

        assert reaches(int(answer.payload), "")


def test_cancellation_in_the_middle_leaves_no_process(stand_in: StandIn) -> None:
    """
    An emulator that is cancelled kills what it runs before it lets go.
    """
    script = """
        next_event()
        say(os.getpid())
        time.sleep(60)
    """
    pids = []

    async def main() -> None:
        at_work = anyio.Event()

        def on_log(line: LogLine) -> None:
            if not line.platform:
                pids.append(int(line.text))
                at_work.set()

        async with anyio.create_task_group() as tasks, stand_in(script, on_log=on_log) as emulator:
            tasks.start_soon(emulator.invoke)
            await at_work.wait()
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()

    anyio.run(main)

    assert state_of(*pids) == ""


def test_closing_at_once_does_not_wait_for_what_has_not_begun(stand_in: StandIn) -> None:
    """
    The environment that the event would have started is not started any more.
    """

    async def main() -> Invocation:
        async with stand_in(ECHO) as emulator:
            invocation = emulator.invocation(b"{}")
            emulator.submit(invocation)
        return invocation

    invocation = anyio.run(main)

    assert invocation.environment == 0
    assert (invocation.ended, invocation.answer) == (True, None)


def test_closing_tells_those_who_wait(stand_in: StandIn) -> None:
    """
    Nobody waits for ever for an invocation that will not end.
    """
    script = """
        request_id, event = next_event()
        respond(request_id)
        time.sleep(60)
    """

    async def main() -> list[str]:
        texts: list[str] = []

        async def wait(invoke_again: bool) -> None:
            try:
                if invoke_again:
                    await emulator.invoke()
                else:
                    await answer.finished()
            except EmulatorError as exc:
                texts.append(str(exc).split(" ")[-1])

        async with anyio.create_task_group() as tasks:
            async with stand_in(script) as emulator:
                answer = await emulator.invoke()
                tasks.start_soon(wait, True)
                tasks.start_soon(wait, False)
                await anyio.wait_all_tasks_blocked()
        return sorted(texts)

    assert anyio.run(main) == ["answered", "ended"]


# The Python API itself.


def test_exception_in_the_body_comes_out_as_it_is(stand_in: StandIn) -> None:
    """
    A failing assertion of a test is not wrapped in a group.
    """

    async def main() -> None:
        async with stand_in(ECHO) as emulator:
            await emulator.invoke()
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        anyio.run(main)


def test_invoking_an_emulator_that_is_not_open_is_refused(stand_in: StandIn) -> None:
    """
    The error says what to do.
    """
    with pytest.raises(EmulatorError, match="async with"):
        anyio.run(stand_in(ECHO).invoke)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (object(), "cannot be written as JSON"),
        (float("nan"), "cannot be written as JSON"),
        (b" " * 6_291_457, "Lambda takes 6291456"),
    ],
)
def test_event_that_lambda_would_refuse_is_refused(stand_in: StandIn, event: object, text: str) -> None:
    """
    A bad event is the caller's error, and the emulator goes on.
    """
    with in_thread(stand_in(ECHO)) as emulator:
        with pytest.raises(ConfigurationError, match=text):
            emulator.invoke(event)

        assert emulator.invoke(1).payload == b"1"


def test_memory_is_that_of_the_process(stand_in: StandIn) -> None:
    """
    Max Memory Used comes from the process, where the system tells.
    """
    script = """
        ballast = b"x" * 100_000_000
        while True:
            request_id, event = next_event()
            respond(request_id)
    """
    with in_thread(stand_in(script)) as emulator:
        used = emulator.finished(emulator.invoke()).max_memory

    assert used is None if not os.path.exists("/proc/self/status") else used is not None and used > 95


def test_event_that_has_ended_leaves_nothing_to_the_collector() -> None:
    """
    Its memory is free for the next one at once, and not after thousands of them.
    """
    names = {str(number) for number in range(100)}

    def live_and_die(name: str) -> None:
        made = Invocation(event=b"{}", function_arn="", requested_at=1000.0, request_id=name)
        made.delivery.when_answered(lambda: made.log(LogLine(1000.1, "answered")))
        made.start(1000.0, 3)
        made.delivery.respond(1000.1, b"{}", "application/json")
        made.finish()
        assert said(made) == ["answered"]

    gc.disable()
    try:
        for name in names:
            live_and_die(name)
        left = [it for it in gc.get_objects() if type(it) is Invocation and it.request_id in names]
    finally:
        gc.enable()

    assert left == []
