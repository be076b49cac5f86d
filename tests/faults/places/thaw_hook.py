"""Struck in an after_thaw hook."""

from __future__ import annotations

import json
from typing import Any

from lambda_ric import after_thaw
from lambda_ric.context import current_invocation
from tests.faults.strikes import strike


@after_thaw
def hook(seconds: float) -> None:
    invocation = current_invocation.get()
    assert invocation is not None
    strike(json.loads(invocation.body))


def handler(event: Any, context: Any) -> Any:
    return strike(None)
