"""Struck in a coroutine that was handed to wait_until."""

from __future__ import annotations

from typing import Any

from lambda_ric import wait_until
from tests.proofs.faults.strikes import strike


def handler(event: Any, context: Any) -> Any:
    wait_until(struck(event))
    return strike(None)


async def struck(event: Any) -> None:
    strike(event)
