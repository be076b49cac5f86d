"""Struck in what follows the yield of an @after_response handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lambda_ric import after_response
from tests.proofs.faults.strikes import strike


@after_response
def handler(event: Any, context: Any) -> Iterator[Any]:
    yield strike(None)
    strike(event)
