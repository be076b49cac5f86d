"""`lambda_ric.testing.invoke`: one invocation in the process of a test, as the runtime does it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_ric import Outcome, StreamingResponse, wait_until
from lambda_ric.errors import ConfigurationError, HandlerTimeoutError
from lambda_ric.hooks import Hooks
from lambda_ric.testing import invoke
from tests.conftest import CLEAN_ENVIRONMENT

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


def test_response_is_what_the_caller_gets() -> None:
    """Through JSON and back: a tuple is a list by then."""
    invoked = invoke(lambda event, context: {"got": (event, 1)}, {"order": "o-17"})

    assert invoked.response == {"got": [{"order": "o-17"}, 1]}
    assert invoked.payload == b'{"got": [{"order": "o-17"}, 1]}'
    assert invoked.tasks == []
    assert invoked.outcome.result == {"got": ({"order": "o-17"}, 1)}


def test_event_is_what_json_makes_of_it() -> None:
    """A function never sees a tuple, a number as a key, or the test's own object."""
    event = {"pair": (1, 2)}
    seen: list[Any] = []

    invoke(lambda event, context: seen.append(event), event)
    assert seen == [{"pair": [1, 2]}]
    with pytest.raises(Exception, match="not JSON serializable"):
        invoke(lambda event, context: None, object())


def test_error_of_the_handler_is_raised_when_the_response_is_asked_for() -> None:
    """It is the exception itself; the document that the caller gets is at hand, too."""
    error = ValueError("no")

    def handler(event: Any, context: Any) -> None:
        raise error

    invoked = invoke(handler)
    with pytest.raises(ValueError, match="no") as raised:
        print(invoked.response)
    assert raised.value is error is invoked.outcome.error
    assert b'"errorType": "ValueError"' in invoked.payload


def test_everything_after_the_response_has_ended_and_can_be_looked_at() -> None:
    """Tasks and hooks, in the order of hand-over, each with its end."""
    hooks = Hooks()

    def log(outcome: Outcome) -> None: ...

    hooks.after.append(log)

    async def send(order: str) -> str:
        await asyncio.sleep(0)
        return f"sent {order}"

    def handler(event: Any, context: Any) -> None:
        wait_until(send, event)
        wait_until("".index, "no")

    tasks = invoke(handler, "o-17", hooks=hooks).tasks
    assert [(task.kind, task.name, task.state) for task in tasks] == [
        ("task", "send", "succeeded"),
        ("task", "str.index", "failed"),
        ("hook", "log", "succeeded"),
    ]
    assert tasks[0].result() == "sent o-17"
    assert isinstance(tasks[1].exception(), ValueError)


def test_context_is_like_lambdas_own() -> None:
    """Request id, deadline, ARN."""

    def handler(event: Any, context: Any) -> list[Any]:
        return [context.aws_request_id, context.get_remaining_time_in_millis(), context.invoked_function_arn]

    first, second = invoke(handler, timeout=10).response, invoke(handler, timeout=10).response
    assert first[0] != second[0]
    assert 9_000 < first[1] <= 10_000
    assert first[2].startswith("arn:aws:lambda:")


def test_hooks_given_take_the_place_of_the_processs() -> None:
    """A test decides which hooks run."""
    seen = []
    hooks = Hooks()
    hooks.before.append(lambda event, context: seen.append(event))

    invoke(lambda event, context: None, "with", hooks=hooks)
    invoke(lambda event, context: None, "without", hooks=Hooks())
    assert seen == ["with"]


def test_timeout_interrupts_every_time() -> None:
    """A test that waits for ever fails in time; so does the second one in the same process."""
    for _ in range(2):
        invoked = invoke(lambda event, context: time.sleep(60), timeout=0.2)

        assert isinstance(invoked.outcome.error, HandlerTimeoutError)


def test_timeout_ends_background_work() -> None:
    """As in Lambda, shortly before the deadline."""

    def handler(event: Any, context: Any) -> None:
        wait_until(asyncio.sleep, 60)

    assert [task.state for task in invoke(handler, timeout=0.4).tasks] == ["cancelled"]


def test_settings_can_be_given_and_are_checked() -> None:
    """The test's own environment is not read."""
    with pytest.raises(ConfigurationError, match="LAMBDA_RIC_MAX_THREADS='none'"):
        invoke(lambda event, context: None, environ={"LAMBDA_RIC_MAX_THREADS": "none"})


def test_exit_of_the_handler_is_raised() -> None:
    """After its background work, as the process would end."""
    done: list[bool] = []

    def handler(event: Any, context: Any) -> None:
        wait_until(done.append, True)
        sys.exit(3)

    with pytest.raises(SystemExit, match="3"):
        invoke(handler)
    assert done == [True]


def test_clients_bound_to_the_loop_live_on_from_one_invocation_to_the_next() -> None:
    """One environment, one loop: a function's module keeps its asynchronous clients."""
    loops = []

    async def handler(event: Any, context: Any) -> None:
        loops.append(asyncio.get_running_loop())

    invoke(handler)
    invoke(handler)
    assert loops[0] is loops[1]
    assert not loops[0].is_closed()


def test_threads_carry_their_context_as_in_lambda() -> None:
    """A thread of the handler's finds the registry."""

    def handler(event: Any, context: Any) -> None:
        thread = threading.Thread(target=wait_until, args=(str.upper, "done"))
        thread.start()
        thread.join()

    assert [task.result() for task in invoke(handler).tasks] == ["DONE"]


def test_asynchronous_test_is_told_to_be_synchronous() -> None:
    """Lambda calls handlers while no event loop runs: to do otherwise would hide errors, and cannot run coroutines."""

    async def test() -> None:
        with pytest.raises(RuntimeError, match="call invoke in a synchronous test"):
            invoke(lambda event, context: None)

    asyncio.run(test())


def test_asyncio_run_still_works_between_invocations() -> None:
    """The rest of a test suite is not disturbed."""

    async def handler(event: Any, context: Any) -> str:
        return "done"

    assert invoke(handler).response == "done"
    assert asyncio.run(handler(None, None)) == "done"
    assert invoke(handler).response == "done"


def test_suite_of_a_user_runs_without_warnings(tmp_path: Path) -> None:
    """The example of the documentation, with pytest and every warning an error, to the very end of the process."""
    (tmp_path / "app.py").write_text(
        """
from lambda_ric import after_response, wait_until

async def index(order_id): ...

def send_receipt(outcome): ...

@after_response(send_receipt)
async def handler(event, context):
    wait_until(index(event["order_id"]))
    return {"statusCode": 202}
""",
        encoding="utf-8",
    )
    (tmp_path / "test_app.py").write_text(
        """
from app import handler
from lambda_ric.testing import invoke

def test_receipt_is_sent_after_the_response():
    invoked = invoke(handler, {"order_id": "o-17"})

    assert invoked.response == {"statusCode": 202}
    assert {task.name: task.state for task in invoked.tasks} == {"index": "succeeded", "send_receipt": "succeeded"}
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 passed" in done.stdout


def test_thread_that_hangs_does_not_keep_the_tests_from_ending() -> None:
    """What was abandoned is left behind, as in Lambda."""
    code = """
import time
from lambda_ric import wait_until
from lambda_ric.testing import invoke

(task,) = invoke(lambda event, context: wait_until(time.sleep, 60).name, timeout=0.2).tasks
assert task.state == "abandoned"
"""
    subprocess.run([sys.executable, "-c", code], env=CLEAN_ENVIRONMENT, check=True, timeout=30)


def test_stream_is_collected() -> None:
    """Its bytes are the response; nothing of the wire is left in them."""
    invoked = invoke(lambda event, context: iter([b"a", "b"]))

    assert (invoked.streamed, invoked.prelude, invoked.payload, invoked.response) == (True, None, b"ab", b"ab")
    assert not invoke(lambda event, context: "ab").streamed


def test_head_of_a_streamed_http_response_is_apart_from_its_body() -> None:
    """By the names that it has on the wire."""
    invoked = invoke(lambda event, context: StreamingResponse("ab", 201, {"X": "1"}, cookies=["a=b"]))

    assert invoked.prelude == {"statusCode": 201, "headers": {"X": "1"}, "cookies": ["a=b"]}
    assert invoked.response == b"ab"


def test_stream_that_fails_raises_its_error_and_keeps_what_was_sent() -> None:
    """The caller has that much."""

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        yield b"half"
        raise ValueError("no more")

    invoked = invoke(handler)

    assert invoked.payload == b"half"
    with pytest.raises(ValueError, match="no more"):
        _ = invoked.response
