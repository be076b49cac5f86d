"""Struck in a before_freeze hook."""

from __future__ import annotations

from typing import Any

from lambda_ric import before_freeze
from tests.proofs.faults.strikes import strike

events: list[Any] = []


@before_freeze
def hook() -> None:
    strike(events.pop())


def handler(event: Any, context: Any) -> Any:
    events.append(event)
    return strike(None)
