"""Unmodified Mangum on this runtime, for functions that have it already."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lambda_ric.emulator import BlockingEmulator, in_thread
from tests.proofs.frameworks.conftest import App, Job, emulator_of, event

APP = App("fastapi_app", wrapper="Mangum")

ENDPOINTS = """
import asyncio

from fastapi import FastAPI
from tests.proofs.frameworks.apps.job import work
from lambda_ric import wait_until
from mangum import Mangum

app = FastAPI()

@app.post("/wait-until")
async def hand_over():
    wait_until(work, "handed over")
    return "accepted"

@app.post("/wait-until-in-thread")
def hand_over_in_thread():
    wait_until(work, "handed over in a thread")
    return "accepted"

@app.post("/coroutine")
async def hand_over_coroutine():
    wait_until(asyncio.to_thread(work, "handed over on the loop"))
    return "accepted"

handler = Mangum(app)
"""


@contextmanager
def function(source: str, directory: Path) -> Iterator[tuple[BlockingEmulator, Job]]:
    with in_thread(emulator_of(source, directory)) as emulator:
        yield emulator, Job(directory)


def answered(emulator: BlockingEmulator, line: str) -> object:
    """Return what the function says to the request *line*."""
    answer = emulator.invoke(event(line))
    assert answer.function_error is None, answer.payload
    return json.loads(json.loads(answer.payload)["body"])


def test_every_invocation_is_answered_and_lifespan_runs(tmp_path: Path) -> None:
    """Mangum takes the current event loop, for the lifespan and for the request."""
    with function(APP.function, tmp_path) as (emulator, _):
        states = [answered(emulator, "GET /state") for _ in range(3)]

    assert states == [True, True, True]


def test_function_that_calls_asyncio_run_is_answered(tmp_path: Path) -> None:
    """It leaves no current loop, at import as in an invocation; here there is one again."""
    source = """
import asyncio
from tests.proofs.frameworks.apps.fastapi_app import app
from mangum import Mangum

mangum = Mangum(app)
asyncio.run(asyncio.sleep(0))

def handler(event, context):
    answer = mangum(event, context)
    asyncio.run(asyncio.sleep(0))
    return answer
"""
    with function(source, tmp_path) as (emulator, _):
        states = [answered(emulator, "GET /state") for _ in range(3)]

    assert states == [True, True, True]


def test_background_task_delays_the_answer(tmp_path: Path) -> None:
    """Mangum awaits the whole application: that is what `ASGIHandler` is for."""
    with function(APP.function, tmp_path) as (emulator, job), ThreadPoolExecutor() as pool:
        answer = pool.submit(emulator.invoke, event("POST /background"))
        with job.waiting():
            released_at = time.time()
        assert job.said() == "one"
        invocation = emulator.finished(answer.result())

    assert invocation.answered_at is not None
    assert invocation.answered_at > released_at


def test_work_handed_over_in_an_endpoint_does_not(tmp_path: Path) -> None:
    """Whether the endpoint is asynchronous or runs in a thread, and be it a function or a coroutine."""
    with function(ENDPOINTS, tmp_path) as (emulator, job):
        said = []
        for line in ("POST /wait-until", "POST /wait-until-in-thread", "POST /coroutine"):
            assert answered(emulator, line) == "accepted"
            with job.waiting():
                pass
            said.append(job.said())

    assert said == ["handed over", "handed over in a thread", "handed over on the loop"]
