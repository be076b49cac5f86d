"""Struck in a task that a message of a queue has brought; the event has another message, which brings a good one."""

from __future__ import annotations

from typing import Any

from lambda_ric import task
from tests.proofs.faults.strikes import strike


@task(name="struck", retries=1)
def struck(name: str | None) -> None:
    strike(name)


def handler(event: Any, context: Any) -> Any:
    return strike(None)
