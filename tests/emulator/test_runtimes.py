"""
Any runtime: AWS's own and ours show the same behaviour on the emulator, and those of other languages run there too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator import Answer, Emulator, Invocation

HERE = Path(__file__).parent / "runtimes"
MAX_BYTES = 6 * 1024 * 1024 + 100

RUNTIMES = ["awslambdaric", "lambda_ric"]

of_both = pytest.mark.parametrize("runtime", RUNTIMES)


def request(emulator: Emulator, event: Any = None, **details: Any) -> Invocation:
    """Send *event*."""
    payload = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    invocation = Invocation(event=payload, function_arn=emulator.function.arn, requested_at=time.time(), **details)
    emulator.submit(invocation)
    return invocation


async def invoke(emulator: Emulator, event: Any = None, **details: Any) -> Invocation:
    """Send *event*, and return when the runtime has asked for the next."""
    invocation = request(emulator, event, **details)
    await invocation.finished()
    return invocation


def serve(
    runtime: str,
    handler: str,
    use: Callable[[Emulator], Awaitable[None]],
    *,
    timeout: float = 20.0,
    **options: Any,
) -> None:
    """Give *use* an emulator in which *runtime* serves *handler*."""
    run([sys.executable, "-m", runtime, handler], use, timeout=timeout, **options)


def run(command: list[str], use: Callable[[Emulator], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with Emulator(command=command, task_root=HERE, **options) as emulator:
            await use(emulator)

    anyio.run(main)


def answer_of(invocation: Invocation) -> Answer:
    assert invocation.answer is not None
    return invocation.answer


def document(invocation: Invocation) -> Any:
    return json.loads(answer_of(invocation).payload)


def written(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


# What a handler gets and gives...


@of_both
def test_event_and_answer_are_json_of_any_script(runtime: str) -> None:
    """
    Nothing is lost or added on the way through, whatever the characters.
    """
    event: Any = {"name": "Zoë 🦀 \u0000 \u2028", "list": [1, 2.5, True, None, {}], "": "\\"}

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator, event)

        assert document(invocation) == event
        assert (answer_of(invocation).content_type, answer_of(invocation).function_error) == ("application/json", None)
        assert invocation.status == "success"

    serve(runtime, "sample.echo", use)


@of_both
def test_context_tells_of_the_function_and_of_the_request(runtime: str) -> None:
    """
    Names, version, memory, log group, deadline and trace id are those of the emulator's function and event.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator)

        told = document(invocation)
        assert 0 < told.pop("remaining_ms") <= 20_000
        assert told == {
            "request_id": invocation.request_id,
            "arn": emulator.function.arn,
            "name": emulator.function.name,
            "version": "$LATEST",
            "memory": 256,
            "log_group": f"/aws/lambda/{emulator.function.name}",
            "trace_id": invocation.trace_id,
            "identity": [None, None],
            "client": None,
            "tenant_id": None,
        }

    serve(runtime, "sample.tell", use, memory=256)


@of_both
def test_callers_context_identity_and_tenant_arrive(runtime: str) -> None:
    """
    What a caller says of itself, the handler finds in its context.
    """
    client = {"client": {"installation_id": "Zoë's phone"}, "custom": {"plan": "🦀"}, "env": {"locale": "de"}}
    identity = {"cognitoIdentityId": "eu:1", "cognitoIdentityPoolId": "eu:pool"}

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(
            emulator,
            client_context=json.dumps(client, ensure_ascii=False),
            cognito_identity=json.dumps(identity),
            tenant_id="blue",
            trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        )

        told = document(invocation)
        assert told["client"] == ["Zoë's phone", {"plan": "🦀"}, {"locale": "de"}]
        assert told["identity"] == ["eu:1", "eu:pool"]
        assert told["tenant_id"] == "blue"
        assert told["trace_id"] == invocation.trace_id

    serve(runtime, "sample.tell", use)


@of_both
def test_payloads_of_the_largest_size_pass(runtime: str) -> None:
    """
    6,291,556 bytes each way, quotes included.
    """

    async def use(emulator: Emulator) -> None:
        measured = await invoke(emulator, "x" * (MAX_BYTES - 2))
        assert document(measured) == MAX_BYTES - 2

    serve(runtime, "sample.measure", use)

    async def use_again(emulator: Emulator) -> None:
        repeated = await invoke(emulator, {"length": MAX_BYTES - 2})
        assert len(answer_of(repeated).payload) == MAX_BYTES

    serve(runtime, "sample.repeat", use_again)


@of_both
def test_response_over_the_limit_is_an_error_of_its_caller(runtime: str) -> None:
    """
    Its caller is told so, by the platform.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator, {"length": MAX_BYTES - 1})

        assert answer_of(invocation).function_error == "Function.ResponseSizeTooLarge"
        assert document(invocation)["errorMessage"] == (
            "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        )

    serve(runtime, "sample.repeat", use)


@of_both
def test_log_of_the_function_belongs_to_its_invocation(runtime: str) -> None:
    """
    What is printed or logged stands between the platform's START and END.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator)

        lines = [line.text for line in invocation.logs]
        printed, logged = lines.index("printed: Zoë"), next(n for n, line in enumerate(lines) if "logged" in line)
        start, end = (lines.index(line) for line in lines if line.startswith(("START ", "END ")))
        assert start < printed < end
        assert start < logged < end
        assert "to stderr" in written(invocation)

    serve(runtime, "sample.say", use)


# ...and how it fails.


@of_both
def test_failing_handler_fails_its_invocation_and_the_process_lives_on(runtime: str) -> None:
    """
    The error document names type, message and the lines that led there.
    """

    async def use(emulator: Emulator) -> None:
        before = await invoke(emulator, {"fail": False})
        failed = await invoke(emulator, {"fail": True})
        after = await invoke(emulator, {"fail": False})

        error = document(failed)
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "no order named Zoë")
        assert error["requestId"] == failed.request_id
        assert "in fail" in error["stackTrace"][-1]
        assert answer_of(failed).function_error is not None
        assert (failed.status, failed.reset) == ("error", False)
        assert document(before) == document(after)

    serve(runtime, "sample.fail", use)


@of_both
def test_result_that_is_not_json_is_a_marshal_error(runtime: str) -> None:
    """
    The handler has run, its result cannot travel.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator, {"by": "a result that is not JSON"})

        assert document(invocation)["errorType"] == "Runtime.MarshalError"

    serve(runtime, "sample.misbehave", use)


@of_both
def test_event_that_is_not_json_is_an_unmarshal_error(runtime: str) -> None:
    """
    The emulator passes any bytes on; the runtime refuses them.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator, b"{not JSON")

        assert document(invocation)["errorType"] == "Runtime.UnmarshalError"

    serve(runtime, "sample.echo", use)


@of_both
@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("sample_broken.handler", "RuntimeError", "no database"),
        ("no_such_module.handler", "Runtime.ImportModuleError", "no_such_module"),
        ("sample.no_such_handler", "Runtime.HandlerNotFound", "no_such_handler"),
    ],
)
def test_function_that_cannot_be_loaded_is_the_answer_of_the_first_invocation(
    runtime: str, handler: str, error_type: str, message: str
) -> None:
    """
    The caller gets the document of the init error.
    """

    async def use(emulator: Emulator) -> None:
        invocation = await invoke(emulator)

        assert document(invocation)["errorType"] == error_type
        assert message in document(invocation)["errorMessage"]
        assert invocation.reset

    serve(runtime, handler, use)


@of_both
def test_handler_that_hangs_is_ended_at_its_deadline(runtime: str) -> None:
    """
    The next event finds a new process.
    """

    async def use(emulator: Emulator) -> None:
        hung = await invoke(emulator, {"by": "hanging"})
        next_one = await invoke(emulator, {"by": "nothing"})

        assert document(hung) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {hung.request_id} Error: Task timed out after 1.00 seconds",
        }
        assert (hung.status, next_one.status) == ("timeout", "success")

    # Or our runtime would interrupt the handler before Lambda ends it.
    environment = {"LAMBDA_RIC_SOFT_DEADLINE_MS": "off"}
    serve(runtime, "sample.misbehave", use, timeout=1.0, environment=environment)


@of_both
@pytest.mark.parametrize(("code", "reason"), [(0, "without providing a reason"), (7, "with error: exit status 7")])
def test_process_that_exits_is_an_exit_error(runtime: str, code: int, reason: str) -> None:
    """
    The caller is told how it ended; the next event finds a new process.
    """

    async def use(emulator: Emulator) -> None:
        gone = await invoke(emulator, {"by": "exiting", "code": code})
        next_one = await invoke(emulator, {"by": "nothing"})

        assert document(gone) == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {gone.request_id} Error: Runtime exited {reason}",
        }
        assert next_one.status == "success"

    serve(runtime, "sample.misbehave", use)


# What is left running...


@of_both
@pytest.mark.parametrize("leftover", ["thread", "task"])
def test_work_left_running_is_frozen_until_the_next_invocation(runtime: str, leftover: str) -> None:
    """
    It stops in the middle, for as long as nobody calls, and goes on in somebody else's invocation.
    """

    async def use(emulator: Emulator) -> None:
        first = await invoke(emulator, {"a": leftover})
        await until_stopped(document(first)["process"])
        frozen_at = time.time()
        await anyio.sleep(0.1)  # the freeze: a hundred times as long as the work waits between two steps
        thawed_at = time.time()
        second = await invoke(emulator, {"a": leftover})

        beats = document(second)["beats"]
        assert document(first)["process"] == document(second)["process"]
        assert beats[0] < frozen_at
        assert not [beat for beat in beats if frozen_at < beat < thawed_at]
        assert beats[-1] > thawed_at

    serve(runtime, "sample.leave_behind", use)


async def until_stopped(process: int) -> None:
    """Wait until every thread of *process* has stopped, which is soon after the signal was sent."""
    while states_of_threads(process) != {"T"}:  # noqa: ASYNC110 (the kernel tells nobody)
        await anyio.sleep(0.001)


def states_of_threads(process: int) -> set[str]:
    return {stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{process}/task").glob("*/stat")}


@of_both
def test_task_on_a_loop_that_stops_with_the_handler_does_not_advance(runtime: str) -> None:
    """
    Where the loop runs for the handler alone, a task that nobody awaited is not even running at the freeze.
    """

    async def use(emulator: Emulator) -> None:
        first, second = document(await invoke(emulator)), document(await invoke(emulator))

        assert first["before"] == 0 < first["after"]
        assert second["before"] == first["after"] < second["after"]

    serve(runtime, "sample.leave_unawaited", use)


def test_internal_extension_works_on_after_the_answer(tmp_path: Path) -> None:
    """
    AWS's own way to run code after the response, with AWS's own runtime: a thread that is an extension.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)

    async def use(emulator: Emulator) -> None:
        invocation = request(emulator, {"pipe": str(pipe)})
        answer = await invocation.answered()
        # Only now can the work end: until somebody writes, it waits.
        os.write(descriptor, b"after the answer\n")
        await invocation.finished()

        assert json.loads(answer.payload) == "accepted"
        assert written(invocation) == [f"INVOKE {invocation.request_id}: after the answer"]
        assert invocation.status == "success"
        assert invocation.frozen_at is not None

    try:
        serve("awslambdaric", "sample_extension.handler", use)
    finally:
        os.close(descriptor)


# ...and runtimes of other languages.


def test_runtime_may_be_a_shell_script(tmp_path: Path) -> None:
    """
    curl is all that it takes.
    """

    async def use(emulator: Emulator) -> None:
        first, second = await invoke(emulator, {"n": 1}), await invoke(emulator, {"n": "Zoë"})
        failed = await invoke(emulator, "fail")

        assert [document(first), document(second)] == [{"shell": {"n": 1}}, {"shell": {"n": "Zoë"}}]
        assert written(second) == [f"got {second.request_id}"]
        assert document(failed) == {"errorType": "Shell.Failed", "errorMessage": "as you wish"}
        assert failed.status == "error"

    run([str(HERE / "bootstrap.sh")], use, timeout=20.0, environment={"TMPDIR": str(tmp_path)})


def test_runtime_may_be_a_compiled_program(tmp_path: Path) -> None:
    """
    Sockets are all that it takes.
    """
    program = tmp_path / "bootstrap"
    flags = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", str(program), str(HERE / "runtime.c")], check=True, timeout=60)

    async def use(emulator: Emulator) -> None:
        first, second = await invoke(emulator, {"n": 1}), await invoke(emulator, {"n": "Zoë"})

        assert [document(first), document(second)] == [{"compiled": {"n": 1}}, {"compiled": {"n": "Zoë"}}]
        assert written(second) == [f"got {second.request_id}"]

    run([str(program)], use, timeout=20.0)
