"""A task that fails for good, whose record goes to a destination that may fail."""

from __future__ import annotations

import os
from typing import Any

from lambda_ric import task, wait_until
from tests.proofs.faults.sinks import SINKS
from tests.proofs.faults.strikes import strike


@task(name="struck", on_failure=SINKS[os.environ["FAULT"]].sink)
def struck(name: str | None) -> None:
    strike(name)


def handler(event: Any, context: Any) -> Any:
    if event is not None:
        wait_until(struck, event)
    return strike(None)
