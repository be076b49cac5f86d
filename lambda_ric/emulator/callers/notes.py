"""
How callers tell what becomes of work besides its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lambda_ric.emulator.event.invocation import Invocation

Note = Callable[[Literal["retry", "destination", "dropped", "stream"], str, Invocation | None], None]
"""Told a kind and a text; ``dropped`` is work that was lost, ``stream`` a setting that does not fit a response."""


def no_note(kind: str, text: str, invocation: Invocation | None) -> None:
    """Tell nobody."""
