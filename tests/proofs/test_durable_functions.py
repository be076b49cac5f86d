"""Durable functions: a handler of AWS's SDK, by AWS's local runner, in an environment that freezes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT
from tests.support.ports import free_port

PAGE = (ROOT / "docs" / "durable-functions.md").read_text(encoding="utf-8")
RUNNER = str(Path(sys.executable).parent / "dex-local-runner")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class Runs(Observer):
    """The runs of a durable function's handler that have ended, background work included."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.ended: list[Invocation] = []

    def changed(self, invocation: Invocation) -> None:
        with self._changed:
            if invocation.ended and not any(invocation is known for known in self.ended):
                self.ended.append(invocation)
                self._changed.notify_all()

    def result(self) -> str:
        """Wait for the run with which the whole function ends, and return what that answers."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(status_of, self.ended)), 40)
        return next(filter(None, map(status_of, self.ended)))


def status_of(invocation: Invocation) -> str:
    """Return the document of the last run, and nothing for one that waits."""
    assert invocation.answer is not None
    document = json.loads(invocation.answer.payload)
    return str(document["Result"]) if document.get("Status") == "SUCCEEDED" else ""


@pytest.fixture(scope="module")
def local_runner() -> Iterator[str]:
    """AWS's runner; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [RUNNER, "start-server", "--host", "127.0.0.1", "--port", str(port), "--local-runner-endpoint", url]
    runner = subprocess.Popen(
        [*command, "--skip-time"], env={**CLEAN_ENVIRONMENT, **CREDENTIALS}, stderr=subprocess.PIPE, text=True
    )
    assert runner.stderr is not None
    with runner.stderr:
        said = iter(runner.stderr.readline, "")
        assert any("started successfully" in line for line in said)
        reader = threading.Thread(target=lambda: [None for _ in said])
        reader.start()
        yield url
        runner.terminate()
        runner.wait(20)
        reader.join()


@contextmanager
def durable(directory: Path, local_runner: str) -> Iterator[tuple[Callable[[dict[str, Any]], str], Runs, list[str]]]:
    """Serve durable.py; yield what has it run with an event to its end, its runs, and its log."""
    log, runs = list[str](), Runs()
    emulator = Emulator(
        "durable.handler",
        queue=True,  # the next run may be asked for before the background work of this one is done
        task_root=str(directory),
        timeout=60,
        environment={
            "PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"],
            "AWS_ENDPOINT_URL_LAMBDA": local_runner,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
        on_log=lambda line: log.append(line.text.strip()),
        observers=[runs],
    )
    with in_thread(emulator) as running, running.serve() as endpoint:

        def run(event: dict[str, Any]) -> str:
            # What `dex-local-runner invoke` sends.
            execution = {
                "AccountId": "123456789012",
                "FunctionName": "function",
                "FunctionQualifier": "$LATEST",
                "ExecutionName": directory.name,
                "ExecutionTimeoutSeconds": 300,
                "ExecutionRetentionPeriodDays": 7,
                "InvocationId": directory.name,
                "Input": json.dumps(event),
                "LambdaEndpoint": endpoint.url,
            }
            httpx.post(f"{local_runner}/start-durable-execution", json=execution, timeout=PATIENCE).raise_for_status()
            return runs.result()

        yield run, runs, log


def test_work_of_the_pages_handler_is_done_once(tmp_path: Path, local_runner: str) -> None:
    """The handler is run twice: to its wait, and after it from the beginning. Parity 145."""
    found = re.search(r"^```python\n(# durable\.py\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "durable.py").write_text(found[1], encoding="utf-8")
    with durable(tmp_path, local_runner) as (run, runs, log):
        assert json.loads(run({"order": "o-17"})) == {"order": "o-17"}

    assert len(runs.ended) == 2
    told = [line for line in log if line.endswith((" the step", " the wait"))]
    assert sorted(told[:2]) == ["before the step", "in the step"]
    assert told[2:] == ["after the wait"]


EVERYWHERE = """
import threading
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration
from lambda_ric import after_invoke, wait_until

def tell(what):
    print("told", what, flush=True)

def deep(what):
    return wait_until(tell, what)

async def soon():
    tell("coroutine")

@after_invoke
def hook(outcome):
    tell("hook")

def child(own):
    deep("child, before")
    own.wait(Duration.from_seconds(1), name="in the child")
    deep("child, after")

def branch(own):
    deep("branch, before")
    own.step(lambda step: deep("step of the branch") and None)
    own.wait(Duration.from_seconds(1))
    deep("branch, after")

def in_thread():
    thread = threading.Thread(target=deep, args=("thread",))
    thread.start()
    thread.join()

@durable_execution
def handler(event, context):
    states = [deep("handler").state, wait_until(soon()).state]
    in_thread()
    context.run_in_child_context(child, name="child")
    deep("between")
    context.parallel([branch, lambda own: deep("lambda") and None], name="branches")
    return states
"""


def test_work_is_done_once_wherever_it_is_handed_over_with_the_context_at_hand(
    tmp_path: Path, local_runner: str
) -> None:
    """In helpers, child contexts, branches and steps; but in every run where nobody knows, and in hooks."""
    (tmp_path / "durable.py").write_text(EVERYWHERE, encoding="utf-8")
    with durable(tmp_path, local_runner) as (run, runs, log):
        assert json.loads(run({})) == ["cancelled", "cancelled"]

    told = [line.removeprefix("told ") for line in log if line.startswith("told ")]
    often = {name: told.count(name) for name in told}
    assert len(runs.ended) == 3
    assert {name: number for name, number in often.items() if number > 1} == {"hook": 3, "thread": 3}
    assert sorted(often) == sorted(
        [
            "between", "branch, after", "branch, before", "child, after", "child, before", "coroutine", "handler",
            "hook", "lambda", "step of the branch", "thread",
        ]
    )  # fmt: skip
    assert not [line for line in log if "never awaited" in line]
