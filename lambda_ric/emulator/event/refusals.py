"""
Why the emulator does not take an event.
"""

from __future__ import annotations

from lambda_ric.errors import LambdaRICError


class EmulatorError(LambdaRICError):
    """The emulator cannot do what was asked of it; the text says why."""


class ThrottledError(EmulatorError):
    """Every environment is at work, and no more of them are allowed."""
