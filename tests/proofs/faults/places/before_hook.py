"""Struck in a before_invoke hook."""

from __future__ import annotations

from typing import Any

from lambda_ric import before_invoke
from tests.proofs.faults.strikes import strike


@before_invoke
def hook(event: Any, context: Any) -> None:
    strike(event)


def handler(event: Any, context: Any) -> Any:
    return strike(None)
