"""Struck in a registered task that is a function."""

from __future__ import annotations

from typing import Any

from lambda_ric import task, wait_until
from tests.proofs.faults.strikes import strike


@task
def struck(event: Any) -> None:
    strike(event)


def handler(event: Any, context: Any) -> Any:
    wait_until(struck, event)
    return strike(None)
