"""
A process that replaces itself between invocations, under the classic half of AWS's runtime interface emulator.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.rie.conftest import Start


@pytest.mark.parametrize(
    "command", [["./bootstrap"], [sys.executable, "-m", "lambda_ric"]], ids=["bootstrap", "module"]
)
def test_no_invocation_fails_and_the_process_id_stays(start_classic: Start, task: Path, command: list[str]) -> None:
    """AWS's emulator starts nothing anew: it does not notice."""
    (task / "recycled.py").write_text(
        "import os, uuid\n"
        "from lambda_ric import on_shutdown\n"
        "interpreter = uuid.uuid4().hex\n"
        "on_shutdown(lambda: print('ended', interpreter))\n"
        "def handler(event, context): return [event, os.getpid(), interpreter]\n"
    )
    function = start_classic(
        *command, "recycled.handler", LAMBDA_RIC_RECYCLE_AFTER="1", AWS_LAMBDA_FUNCTION_TIMEOUT="30"
    )

    answers = [function.invoke(number) for number in range(5)]

    assert [answer.status for answer in answers] == [200] * 5
    results = [answer.json() for answer in answers]
    assert [result[0] for result in results] == [0, 1, 2, 3, 4]
    assert len({result[1] for result in results}) == 1
    assert len({result[2] for result in results}) == 5
    assert [line for line in function.log.splitlines() if line.startswith("ended")] == [
        f"ended {result[2]}" for result in results
    ]
    assert "without notice" not in function.log
