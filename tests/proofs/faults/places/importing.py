"""Struck while the module is imported."""

from __future__ import annotations

import os
from typing import Any

from tests.proofs.faults.strikes import strike

strike(os.environ["FAULT"])


def handler(event: Any, context: Any) -> Any:
    return strike(event)
