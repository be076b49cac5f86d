"""
Our Runtime API for many events at once beside AWS's own, that of Lambda Managed Instances.

As in test_conformance: the same runtime does the same things to both, and hears the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lambda_ric.emulator import Emulator
from tests.proofs.rie.conftest import Start
from tests.proofs.rie.probe_script import (
    LIMIT,
    RUNTIME,
    Probe,
    Step,
    call,
    cut_short,
    end,
    fail,
    give_up,
    poll,
    read,
    respond,
    told_to,
)
from tests.proofs.rie.side_by_side import COMMAND, EVENT, heard

MODE = "Lambda-Runtime-Function-Response-Mode"
NONCE = "Lambda-Runtime-Invocation-Id"
ERROR_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """What a runtime does in so many invocations, which are made one after the other, or all at once."""

    does: Sequence[Step]
    invocations: int = 1
    at_once: bool = False
    timeout: int = 20


CASES = {
    "unknown id": Case([respond(to="no"), fail(to="no"), poll(), respond(to="no"), fail(to="no"), respond()]),
    "second response": Case([poll(), respond(), respond(), fail()]),
    "second error": Case([poll(), fail(), fail(), respond()]),
    "two at once": Case(
        [
            poll(on="a", wait=False),
            poll(on="b", wait=False),
            read("a", name="first"),
            read("b", name="second"),
            respond('"to the second"', to="<second>"),
            respond('"to the first"', to="<first>"),
            respond(to="<second>"),
        ],
        invocations=2,
        at_once=True,
    ),
    "poll before the answer": Case(
        [poll(name="first"), poll(name="second"), respond(to="<second>"), respond(to="<first>")],
        invocations=2,
        at_once=True,
    ),
    "timeout": Case(
        [
            poll(name="late"),
            poll(),  # the second event is sent when the caller of the first was told of its timeout
            respond(to="<late>"),
            respond(to="<late>"),
            fail(to="<late>"),
            respond(),
        ],
        invocations=2,
        timeout=1,
    ),
    "nonce of another attempt": Case(
        [
            poll(),
            respond(headers={NONCE: "other"}),
            fail(headers={NONCE: "other"}),
            respond(headers={NONCE: "<id's nonce>"}),
        ]
    ),
    "init error after a poll": Case([poll(), give_up(), respond(), give_up()]),
    "unknown mode": Case([poll(), respond(headers={MODE: "Streaming"}), respond(), fail()]),
    "mode streaming": Case([poll(), respond(headers={MODE: "streaming"}, chunked=True)]),
    "over the limit": Case([poll(), respond(LIMIT + 1), fail()]),
    "at the limit": Case([poll(), respond(LIMIT, chunked=True)]),
    "error over its limit": Case([poll(), fail("x" * (ERROR_LIMIT + 1)), fail()]),
    "error at its limit": Case([poll(), fail(ERROR_LIMIT)]),
    "error of a type unheard of": Case([poll(), fail(headers={"Lambda-Runtime-Function-Error-Type": "what?"})]),
    "error that is not JSON": Case([poll(), fail("no JSON", headers={"Content-Type": "text/plain"})]),
    "response cut short": Case(
        [poll(), cut_short(respond(), "Transfer-Encoding: chunked\r\n\r\nff\r\nshort"), respond()]
    ),
    "error cut short": Case([poll(), cut_short(fail(), "Content-Length: 100\r\n\r\nshort"), fail()]),
    "routes": Case(
        [
            call("GET", "/2018-06-01/ping"),
            call("GET", "/2018-06-01/nowhere"),
            call("GET", f"{RUNTIME}/restore/next"),
            call("POST", f"{RUNTIME}/restore/error"),
            call("POST", f"{RUNTIME}/invocation/next"),
            call("GET", f"{RUNTIME}/invocation/no/response"),
            poll(),
            respond(),
        ]
    ),
    "exit": Case([poll(), end(3)]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_runtime_hears_from_us_what_it_hears_from_aws(
    case: Case, start_managed: Start, task: Path, tmp_path: Path
) -> None:
    """
    The Runtime API of an environment that serves many events at a time.
    """
    with told_to(case.does, tmp_path / "ours") as probe:
        answers = anyio.run(_invoke_ours, case, probe)
        ours = heard(probe.replies(), answers)
    with told_to(case.does, task) as probe:
        answers = _invoke_rie(case, probe, start_managed)
        rie = heard(probe.replies(), answers)

    assert ours == rie


def test_event_has_the_headers_of_aws_and_one_more(start_managed: Start, task: Path, tmp_path: Path) -> None:
    """
    What the caller did not give has no header; but for the trace id, which Lambda makes up and the RIE does not.
    """
    case = Case([poll(), respond()])
    with told_to(case.does, tmp_path / "ours") as probe:
        anyio.run(_invoke_ours, case, probe)
        ours = set(probe.replies()[0]["headers"])
    with told_to(case.does, task) as probe:
        _invoke_rie(case, probe, start_managed)
        rie = set(probe.replies()[0]["headers"])

    assert ours - rie == {"Lambda-Runtime-Trace-Id"}
    assert rie - ours == {"Date"}


async def _invoke_ours(case: Case, probe: Probe) -> list[bytes]:
    command = [*COMMAND, str(probe.path)]
    answers = []

    async def invoke() -> None:
        answers.append((await emulator.invoke(EVENT)).payload)

    emulator = Emulator(command=command, task_root=probe.path.parent, timeout=case.timeout, max_concurrency=2)
    async with emulator:
        async with anyio.create_task_group() as callers:
            for _ in range(case.invocations):
                if case.at_once:
                    callers.start_soon(invoke)
                else:
                    await invoke()
        await anyio.to_thread.run_sync(probe.wait)
    return sorted(answers)


def _invoke_rie(case: Case, probe: Probe, start: Start) -> list[bytes]:
    (probe.path.parent / "bootstrap").write_text('#!/bin/sh\nexec "$LAMBDA_RIC_PYTHON" -S /var/task/probe.py\n')
    function = start("unused", AWS_LAMBDA_FUNCTION_TIMEOUT=str(case.timeout), AWS_LAMBDA_MAX_CONCURRENCY="2")
    with ThreadPoolExecutor(case.invocations if case.at_once else 1) as callers:
        made = [callers.submit(function.invoke_when_idle, json.loads(EVENT)) for _ in range(case.invocations)]
        return sorted(one.result().body for one in made)
