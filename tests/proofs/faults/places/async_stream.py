"""Struck after the first piece of a response that is streamed asynchronously."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tests.proofs.faults.strikes import strike


async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
    yield "first "
    yield strike(event)
