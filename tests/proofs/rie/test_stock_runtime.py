"""AWS's own runtime on AWS's own emulator, and our extension between them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stock.conftest import POLLING

from .conftest import Start

FUNCTION = """
import time
from lambda_ric import on_shutdown, wait_until

def work(number):
    time.sleep(0.2)
    print("worked", number)

@on_shutdown
def close():
    print("closed")

def handler(event, context):
    wait_until(work, event)
    return event
"""


@pytest.mark.parametrize("polling", POLLING)
def test_invocation_lasts_until_the_work_is_done_and_the_end_is_announced(
    start_classic: Start, exits: ExitStack, task: Path, polling: str
) -> None:
    """The runtime has polled long before; SIGTERM finds it in its poll."""
    (task / "carried.py").write_text(FUNCTION)
    emulator = start_classic(sys.executable, "-m", "awslambdaric", "carried.handler", **POLLING[polling])

    answers = [emulator.invoke(number).json() for number in (1, 2)]
    exits.close()
    log = emulator.log

    assert answers == [1, 2]
    for number in answers:
        # The work is told within its invocation, behind what the runtime says of itself.
        invocation = log.split("START RequestId")[number]
        assert invocation.index("RTDONE") < invocation.index(f"worked {number}") < invocation.index("END RequestId")
    assert log.splitlines().count("closed") == 1
