"""
Under the classic half of AWS's runtime interface emulator, the one in AWS's base images and in `sam local`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import Start

COMMANDS = {
    "bootstrap": ["./bootstrap"],
    "module": [sys.executable, "-m", "lambda_ric"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_event_goes_in_and_the_answer_comes_out(start_classic: Start, command: list[str]) -> None:
    """
    Both ways to start the runtime serve AWS's own Runtime API.
    """
    function = start_classic(*command, "app.echo")

    answer = function.invoke({"name": "Zoë"})

    assert answer.status == 200
    assert answer.json()["event"] == {"name": "Zoë"}


def test_handler_may_come_from_the_environment(start_classic: Start) -> None:
    """
    Lambda names the handler in _HANDLER and gives no argument.
    """
    function = start_classic("./bootstrap", _HANDLER="app.echo")

    assert function.invoke(7).json()["event"] == 7


def test_remaining_time_comes_from_the_emulators_deadline(start_classic: Start) -> None:
    """
    The context's remaining time is that until the deadline of the event.
    """
    function = start_classic("./bootstrap", "app.echo", AWS_LAMBDA_FUNCTION_TIMEOUT="30")

    remaining_ms = function.invoke({}).json()["remaining_ms"]

    assert 0 < remaining_ms <= 30_000


def test_two_invocations_share_one_process(start_classic: Start) -> None:
    """
    An environment serves one event after the other.
    """
    function = start_classic("./bootstrap", "app.whereabouts")

    first, second = function.invoke({}).json(), function.invoke({}).json()

    assert first["process"] == second["process"]


def test_function_error_reaches_the_caller_and_the_process_lives_on(start_classic: Start) -> None:
    """
    A failing handler fails its invocation, not its environment.
    """
    function = start_classic("./bootstrap", "app.fails")
    process = function.invoke({"fail": False}).json()

    failed = function.invoke({"fail": True}).json()

    assert (failed["errorType"], failed["errorMessage"]) == ("LookupError", "no such order")
    assert function.invoke({"fail": False}).json() == process


def test_background_work_is_done_when_the_emulator_lets_go_of_the_answer(start_classic: Start, tmp_path: Path) -> None:
    """
    This emulator, unlike Lambda, holds the answer until the runtime asks for the next event.
    """
    function = start_classic("./bootstrap", "app.answers_then_writes")
    file = tmp_path / "file"

    answer = function.invoke({"file": str(file)})

    assert answer.json() == "answered"
    assert file.read_text() == "written"


def test_response_over_the_limit_fails_its_invocation_only(start_classic: Start) -> None:
    """
    After a 413 the runtime posts no error, which would be refused, and asks for the next event.
    """
    function = start_classic("./bootstrap", "app.repeat")
    process = function.invoke({"length": 0}).json()["process"]

    too_large = function.invoke({"length": 6 * 1024 * 1024 + 100}).json()

    assert too_large["errorType"] == "Function.ResponseSizeTooLarge"
    assert function.invoke({"length": 1}).json() == {"process": process, "text": "x"}


def test_init_error_reaches_the_caller(start_classic: Start) -> None:
    """
    A module that fails on import is reported by its error, not by "Runtime exited".
    """
    function = start_classic("./bootstrap", "broken.handler")

    failed = function.invoke({}).json()

    assert (failed["errorType"], failed["errorMessage"]) == ("RuntimeError", "no database")


def test_streamed_response_reaches_a_caller_who_waits_for_all_of_it(start_classic: Start) -> None:
    """
    AWS's server takes the chunks, the announced trailers and the end of them.
    """
    function = start_classic("./bootstrap", "app.streams")

    answer = function.invoke({})

    assert (answer.status, answer.body.rpartition(b", ")[0]) == (200, b"one, two")


def test_stream_that_fails_with_a_long_message_keeps_the_environment(start_classic: Start) -> None:
    """
    With more than 4 KB of trailers AWS's server drops the connection, and the environment with it.
    """
    function = start_classic("./bootstrap", "app.streams")

    before = function.invoke({})
    failed = function.invoke({"fail": True})
    after = function.invoke({})

    assert failed.body == b"one, two"
    assert before.body == after.body
