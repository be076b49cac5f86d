"""
A process that replaces itself between invocations, under the classic half of AWS's runtime interface emulator.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import Start


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


@pytest.mark.parametrize(("memory", "how"), [("3008", "is replaced by a new one"), ("1", "ends, and Lambda starts")])
def test_next_caller_has_nothing_of_one_who_was_interrupted(
    start_classic: Start, task: Path, memory: str, how: str
) -> None:
    """AWS's emulator does as Lambda does: where the process ends, it starts another one for the next event."""
    (task / "interrupted.py").write_text(
        "import socket, threading, time\n"
        "here, there = socket.socketpair()\n"
        "lines = here.makefile('r')\n"
        "def answer():\n"
        "    for line in there.makefile('r'):\n"
        "        time.sleep(3.5 if line.startswith('slow') else 0)\n"
        "        there.sendall(b'secret of ' + line.encode())\n"
        "threading.Thread(target=answer, daemon=True).start()\n"
        "def handler(event, context):\n"
        "    here.sendall(event.encode() + b'\\n')\n"
        "    return lines.readline().strip()\n"
    )
    function = start_classic(
        sys.executable,
        "-m",
        "lambda_ric",
        "interrupted.handler",
        LAMBDA_RIC_SOFT_DEADLINE_MS="60000",
        AWS_LAMBDA_FUNCTION_TIMEOUT="6",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE=memory,
    )

    alice, bob, carol = [function.invoke(who) for who in ("alice", "slow bob", "carol")]

    assert (alice.json(), carol.json()) == ("secret of alice", "secret of carol")
    assert bob.json()["errorType"] == "Function.Timeout"
    assert f"the process {how}" in function.log
