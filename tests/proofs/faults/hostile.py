"""
Objects that raise where nobody expects it.
"""

from __future__ import annotations

from typing import Any


class Unusual(BaseException):
    """Derived from what frameworks derive their control flow from."""


class Unprintable(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Unrepresentable:
    """Raises when it is shown."""

    def __repr__(self) -> str:
        raise ValueError("no text")


class Undying:
    """Raises when it goes."""

    def __del__(self) -> None:
        raise ValueError("does not go")


class Unreadable(dict[str, Any]):
    """Raises when it is read."""

    def keys(self) -> Any:
        raise ValueError("no keys")

    items = keys
