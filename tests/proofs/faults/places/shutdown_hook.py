"""Struck in an on_shutdown hook, after which another one has its turn."""

from __future__ import annotations

import os
from typing import Any

from lambda_ric import on_shutdown, runtime
from tests.proofs.faults.strikes import FAULTS, strike

if not FAULTS[os.environ["FAULT"]].hanging:
    runtime.SHUTDOWN_TIME = 20.0  # on a machine with much to do, what is slow is not what hangs


@on_shutdown
def other_hook() -> None:
    os.write(2, b"the next hook has run\n")  # whatever has become of stdout


@on_shutdown
def hook() -> None:
    strike(os.environ["FAULT"])


def handler(event: Any, context: Any) -> Any:
    return strike(event)
