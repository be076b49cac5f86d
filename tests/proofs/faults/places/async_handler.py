"""Struck in an asynchronous handler."""

from __future__ import annotations

from typing import Any

from tests.proofs.faults.strikes import strike


async def handler(event: Any, context: Any) -> Any:
    return strike(event)
