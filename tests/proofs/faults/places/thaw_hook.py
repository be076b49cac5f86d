"""Struck in an after_thaw hook."""

from __future__ import annotations

from typing import Any

from lambda_ric import after_thaw
from lambda_ric.serving import serving_of
from tests.proofs.faults.strikes import strike


@after_thaw
def hook(seconds: float) -> None:
    strike(serving_of("a hook").outcome.event)


def handler(event: Any, context: Any) -> Any:
    return strike(None)
