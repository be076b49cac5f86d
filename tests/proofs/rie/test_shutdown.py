"""
The end of an environment under AWS's runtime interface emulator: with an extension, it is announced.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import Start

SOURCE = """
import contextlib, os, time
from lambda_ric.hooks import on_shutdown

with contextlib.suppress(PermissionError):
    os.nice(-20)  # of the 300 ms to the SIGKILL, others are to take nothing

on_shutdown(lambda: print("hook ran"))

def handler(event, context):
    while event and context.get_remaining_time_in_millis() > 0:
        time.sleep(0.1)
    return event
"""


@pytest.mark.parametrize("takes_too_long", [False, True])
def test_hooks_run_at_the_end_and_at_a_reset(
    start_classic: Start, exits: ExitStack, task: Path, takes_too_long: bool
) -> None:
    """
    The emulator takes the extension for ready, serves the event, and says SIGTERM before it says SIGKILL.
    """
    (task / "ending.py").write_text(SOURCE)
    limits = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "3", "LAMBDA_RIC_SOFT_DEADLINE_MS": "off"}
    function = start_classic("./bootstrap", "ending.handler", **limits)

    answer = function.invoke(takes_too_long)
    exits.close()

    assert ("timed out" in answer.body.decode()) == takes_too_long
    assert "Internal agent lambda-ric" in function.log
    assert function.log.count("hook ran") == 1
    assert "on_shutdown hooks will not run" not in function.log
