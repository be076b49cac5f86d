"""Struck before the first piece of a streamed response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.proofs.faults.strikes import strike


def handler(event: Any, context: Any) -> Iterator[Any]:
    yield strike(event)
