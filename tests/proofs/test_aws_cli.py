"""
The AWS CLI, unmodified, as a caller of the local Lambda.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, EventInvokeConfig, destination, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT
from tests.support import aws_cli

SOURCE = """
def handler(event, context):
    print("handling", event)
    if event == "bad":
        raise ValueError("no")
    return {"got": event}
"""

Invoke = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def command() -> Path:
    return aws_cli.path()


@pytest.fixture
def invoke(command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Run ``aws lambda invoke`` with an event; return what it prints, and the response that it has written."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(SOURCE)
    events = EventInvokeConfig(on_success=destination(f"file:{tmp_path / 'successes.jsonl'}"))
    with (
        in_thread(Emulator("app.handler", task_root=tmp_path, timeout=10)) as emulator,
        emulator.serve(events=events) as endpoint,
    ):

        def invoke(event: Any, *options: str) -> tuple[Any, Any]:
            (tmp_path / "event.json").write_text(json.dumps(event))
            done = subprocess.run(
                [
                    *(str(command), "lambda", "invoke", "--endpoint-url", endpoint.url, "--output", "json"),
                    *("--function-name", "function", "--payload", "fileb://event.json", *options, "response"),
                ],
                cwd=tmp_path,
                env={
                    **CLEAN_ENVIRONMENT,
                    "AWS_ACCESS_KEY_ID": "any",
                    "AWS_SECRET_ACCESS_KEY": "any",
                    "AWS_DEFAULT_REGION": "us-east-1",
                },
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            response = (tmp_path / "response").read_text()
            return json.loads(done.stdout), json.loads(response) if response else None

        yield invoke


def test_response_is_written_and_the_version_told(invoke: Invoke) -> None:
    assert invoke({"n": 1}) == ({"StatusCode": 200, "ExecutedVersion": "$LATEST"}, {"got": {"n": 1}})


def test_function_error_is_told(invoke: Invoke) -> None:
    told, response = invoke("bad")

    assert (told["StatusCode"], told["FunctionError"]) == (200, "Unhandled")
    assert response["errorType"] == "ValueError"


def test_end_of_the_log_comes_with_it(invoke: Invoke) -> None:
    told, _ = invoke("x", "--log-type", "Tail")

    lines = base64.b64decode(told["LogResult"]).decode().splitlines()
    assert [line.split()[0] for line in lines] == ["START", "handling", "END", "REPORT"]


def test_event_is_accepted_and_runs_later(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke({"n": 2}, "--invocation-type", "Event") == ({"StatusCode": 202}, None)
    # The next answer comes from the same environment, and so after the event was settled.
    invoke({"n": 3})

    record = json.loads((tmp_path / "successes.jsonl").read_text())
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 2}, {"got": {"n": 2}})


def test_dry_run_runs_nothing(invoke: Invoke) -> None:
    assert invoke({"n": 4}, "--invocation-type", "DryRun") == ({"StatusCode": 204}, None)
