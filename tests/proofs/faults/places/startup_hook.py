"""Struck in an on_startup hook."""

from __future__ import annotations

import os
from typing import Any

from lambda_ric import on_startup
from tests.proofs.faults.strikes import strike


@on_startup
def hook() -> None:
    strike(os.environ["FAULT"])


def handler(event: Any, context: Any) -> Any:
    return strike(event)
