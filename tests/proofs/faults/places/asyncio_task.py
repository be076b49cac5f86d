"""Struck in a task that an asynchronous handler awaits."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.proofs.faults.strikes import strike


async def handler(event: Any, context: Any) -> Any:
    return await asyncio.create_task(struck(event))


async def struck(event: Any) -> Any:
    return strike(event)
