"""
Under the half of AWS's runtime interface emulator that imitates Lambda Managed Instances.

It is the only binary of AWS that answers the caller when the response is posted, as Lambda itself does. It
also runs the function as Lambda does: in /var/task, read-only, as a user without a home. The dependencies of
lambda_ric are not installed there.
"""

from __future__ import annotations

import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import FUNCTION, INTERPRETER, Start, install_runtime


@pytest.fixture
def pipe(task: Path) -> Path:
    """A named pipe that the function may read; it lies in the package, which the function can reach."""
    pipe = task / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    return pipe


def test_event_goes_in_and_the_answer_comes_out(start_managed: Start) -> None:
    """
    The emulator's deadline lies some thousand years ahead, which must do no harm.
    """
    function = start_managed("app.echo")

    answer = function.invoke({"name": "Zoë"})

    assert answer.status == 200
    assert answer.json()["event"] == {"name": "Zoë"}


def test_answer_arrives_while_background_work_still_runs(start_managed: Start, pipe: Path) -> None:
    """
    The caller is answered first; the work ends afterwards, and only then comes the next event.
    """
    function = start_managed("app.answers_then_waits")

    answer = function.invoke({"pipe": "/var/task/pipe"})
    # Only now can the work end: until somebody writes, it waits.
    pipe.write_text("finished")
    next_answer = function.invoke_when_idle({})

    assert answer.json() == []
    assert next_answer.json() == ["finished"]


def test_function_error_reaches_the_caller_and_the_process_lives_on(start_managed: Start) -> None:
    """
    A failing handler fails its invocation, not its environment.
    """
    function = start_managed("app.fails")
    process = function.invoke({"fail": False}).json()

    failed = function.invoke_when_idle({"fail": True}).json()

    assert (failed["errorType"], failed["errorMessage"]) == ("LookupError", "no such order")
    assert function.invoke_when_idle({"fail": False}).json() == process


def test_function_runs_as_lambda_runs_it(start_managed: Start) -> None:
    """
    Another user than root, no HOME, and a package that cannot be written are enough.
    """
    function = start_managed("app.whereabouts")

    whereabouts = function.invoke({}).json()

    assert (whereabouts["user"], whereabouts["group"]) == (993, 990)
    assert (whereabouts["directory"], whereabouts["read_only"]) == ("/var/task", True)
    assert whereabouts["home"] is None


def test_runtime_and_interpreter_may_come_from_a_layer(start_managed: Start, tmp_path: Path) -> None:
    """
    With bootstrap, interpreter and lambda_ric in /opt, the zip holds the function alone.
    """
    zip_only = tmp_path / "zip"
    shutil.copytree(FUNCTION, zip_only)
    layer = tmp_path / "layer"
    (layer / "bin").mkdir(parents=True)
    (layer / "bin" / "python3").symlink_to(INTERPRETER)
    install_runtime(layer / "python", bootstrap=layer)

    function = start_managed(
        "app.whereabouts",
        {
            "/var/task": zip_only,
            "/opt/bin": layer / "bin",
            "/opt/bootstrap": layer / "bootstrap",
            "/opt/python": layer / "python",
        },
        LAMBDA_RIC_PYTHON="",
    )

    whereabouts = function.invoke({}).json()

    assert whereabouts["interpreter"] == "/opt/bin/python3"
    assert whereabouts["runtime"] == "/opt/python/lambda_ric/__init__.py"


def test_streamed_response_and_its_failure_keep_the_process(start_managed: Start) -> None:
    """
    The process is the same before and after a stream that failed.
    """
    function = start_managed("app.streams")

    before = function.invoke({})
    failed = function.invoke_when_idle({"fail": True})
    after = function.invoke_when_idle({})

    assert before.body.startswith(b"one, two, ")
    assert b"ValueError" in failed.body or failed.body == b"one, two"
    assert before.body == after.body


@pytest.mark.parametrize(
    ("handler", "mode", "processes"),
    [("meets", "process", 3), ("meets", "thread", 1), ("meets_async", "", 1)],
)
def test_many_events_run_at_once_and_print_under_their_own_names(
    start_managed: Start, tmp_path: Path, handler: str, mode: str, processes: int
) -> None:
    """
    In as many processes as the mode says; the lines come by the sockets that the emulator hands out. Parity 8, 124.
    """
    function = start_managed(
        f"app.{handler}",
        AWS_LAMBDA_MAX_CONCURRENCY="3",
        AWS_LAMBDA_CONCURRENCY_MODE=mode,
        AWS_LAMBDA_LOG_FORMAT="JSON",
    )
    place = f"/tmp/{tmp_path.name}-{uuid.uuid4()}"  # where the function may write

    with ThreadPoolExecutor(3) as callers:
        events = [{"place": place, "together": 3, "name": name} for name in "abc"]
        answers = [answer.json() for answer in callers.map(function.invoke_when_idle, events)]

    assert [answer["name"] for answer in answers] == ["a", "b", "c"]
    assert len({answer["process"] for answer in answers}) == processes
    for answer in answers:
        function.wait_for(f'"message": "met {answer["name"]}", "requestId": "{answer["request_id"]}"')


def test_caller_of_a_worker_that_dies_is_answered_and_the_worker_replaced(start_managed: Start) -> None:
    """
    AWS's own runtime leaves that caller to the timeout, and the slot is lost.
    """
    function = start_managed("app.dies", AWS_LAMBDA_CONCURRENCY_MODE="process")
    before = function.invoke_when_idle({"die": False}).json()

    died = function.invoke_when_idle({"die": True}).json()

    assert died["errorType"] == "Runtime.ExitError"
    assert died["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert function.invoke_when_idle({"die": False}).json() != before
