"""Struck in what follows the yield of an asynchronous @after_response handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lambda_ric import after_response
from tests.proofs.faults.strikes import strike


@after_response
async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
    yield strike(None)
    strike(event)
