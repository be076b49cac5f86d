"""Struck in an after_invoke hook."""

from __future__ import annotations

from typing import Any

from lambda_ric import after_invoke
from tests.proofs.faults.strikes import strike


@after_invoke
def hook(outcome: Any) -> None:
    strike(outcome.event)


def handler(event: Any, context: Any) -> Any:
    return strike(None)
