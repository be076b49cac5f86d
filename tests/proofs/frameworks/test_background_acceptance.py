"""
What this project is for, with a web framework: one application, unmodified, on two runtimes.

The figures are promised; no other test of frameworks measures time.
"""

from __future__ import annotations

import json
from pathlib import Path

from lambda_ric.emulator import Invocation, in_thread
from tests.proofs.frameworks.conftest import emulator_of, event

APPLICATION = """
import time

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()

def job(seconds: float) -> None:
    time.sleep(seconds)
    print("the job is done")

@app.post("/orders", status_code=202)
def order(background_tasks: BackgroundTasks, seconds: float) -> str:
    background_tasks.add_task(job, seconds)
    return "accepted"
"""

ON_LAMBDA_RIC = """
from application import app
from lambda_ric.asgi import ASGIHandler

handler = ASGIHandler(app)
"""

ON_AWSLAMBDARIC = """
from application import app
from mangum import Mangum

handler = Mangum(app)
"""


def hundred_invocations(source: str, runtime: str, directory: Path) -> list[Invocation]:
    """Return the first and the hundredth of them, whose jobs take two seconds; those between take none."""
    directory.mkdir()
    (directory / "application.py").write_text(APPLICATION)
    with in_thread(emulator_of(source, directory, runtime)) as emulator:
        seconds = [2, *[0] * 98, 2]
        # Each is sent when the one before has ended, which is when the runtime has polled for it.
        done = [emulator.finished(emulator.invoke(event(f"POST /orders?seconds={taken}"))) for taken in seconds]
    for invocation in done:
        assert invocation.answer is not None
        assert json.loads(invocation.answer.payload)["statusCode"] == 202
        assert [line.text for line in invocation.logs if not line.platform].count("the job is done") == 1
    assert [invocation.init_duration is None for invocation in done] == [False] + [True] * 99
    return [done[0], done[-1]]


def test_caller_of_fastapi_does_not_wait_for_background_tasks(tmp_path: Path) -> None:
    """On the first and on the hundredth invocation; under Mangum on AWS's runtime it waits two seconds."""
    ours = hundred_invocations(ON_LAMBDA_RIC, "lambda_ric", tmp_path / "ours")
    theirs = hundred_invocations(ON_AWSLAMBDARIC, "awslambdaric", tmp_path / "theirs")

    print(f"\n{'invocation':>10} {'':>8} {'lambda_ric + ASGIHandler':>26} {'awslambdaric + Mangum':>24}")
    for number, pair in zip(("first", "hundredth"), zip(ours, theirs, strict=True), strict=True):
        for what, figures in {
            "answer": [invocation.response_duration for invocation in pair],
            "after it": [invocation.background_duration for invocation in pair],
        }.items():
            mine, other = [f"{1000 * (figure or 0):.0f} ms" for figure in figures]
            print(f"{number:>10} {what:>8} {mine:>26} {other:>24}")

    for invocation in ours:
        assert invocation.background_duration is not None
        assert invocation.background_duration >= 2  # all of the job comes after the answer
    for invocation in theirs:
        assert invocation.response_duration is not None
        assert invocation.response_duration >= 2
