"""
The end of an environment under AWS's runtime interface emulator: with an extension, it is announced.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.rie.conftest import Start

SOURCE = """
import time
from lambda_ric.hooks import on_shutdown

on_shutdown(lambda: print("hook ran"))

def handler(event, context):
    time.sleep(event)
    return event
"""


@pytest.mark.parametrize("seconds", [0, 1.1])
def test_hooks_run_at_the_end_and_at_a_reset(
    start_classic: Start, exits: ExitStack, task: Path, seconds: float
) -> None:
    """
    The emulator takes the extension for ready, serves the event, and says SIGTERM before it says SIGKILL.
    """
    (task / "ending.py").write_text(SOURCE)
    limits = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "1", "LAMBDA_RIC_SOFT_DEADLINE_MS": "off"}
    function = start_classic("./bootstrap", "ending.handler", **limits)

    answer = function.invoke(seconds)
    if seconds == 0:
        exits.close()

    assert ("timed out" in answer.body.decode()) == (seconds > 0)
    assert "Internal agent lambda-ric" in function.log
    assert function.log.count("hook ran") == 1
    assert "on_shutdown hooks will not run" not in function.log
