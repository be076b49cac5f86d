"""
Tasks of the event loop that the function has created, and neither awaited nor handed over.
"""

from __future__ import annotations

import logging

from lambda_ric.callables import name_of
from lambda_ric.failures import exc_info, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection
    from typing import Any

    from lambda_ric.context import InvocationScope
    from lambda_ric.event_loop import EventLoop

    from .work import Work

log: logging.Logger = logging.getLogger("lambda_ric.background")


class Orphans:
    """Those of the invocation *scope*; *fate* is the setting LAMBDA_RIC_ORPHANS: adopt, cancel or warn."""

    def __init__(self, scope: InvocationScope, event_loop: EventLoop, fate: str) -> None:
        self._scope = scope
        self._event_loop = event_loop
        self._fate = fate
        self._left: list[tuple[asyncio.Task[Any], str]] = []
        self._chances = _CHANCES

    def get_a_chance(self) -> bool:
        """Say whether any are left that may be about to end; a few times only, since others never do."""
        if self._fate == "adopt" or not self._chances or not self._event_loop.has_orphans(self._scope):
            return False
        self._chances -= 1
        return True

    def to_adopt(self) -> list[asyncio.Task[Any]]:
        """Return those that are to be treated like work that was handed over."""
        return [orphan for orphan, _ in self._found()] if self._fate == "adopt" else []

    def to_cancel(self) -> list[asyncio.Task[Any]]:
        """Return those that are to be cancelled, and remember those that are left at this moment."""
        self._left = self._found()
        return [orphan for orphan, _ in self._left] if self._fate == "cancel" else []

    def tell(self, works: Collection[Work]) -> None:
        """Log which were left, and what was raised beside *works*, whose own errors have been told."""
        for orphan, origin in self._left:
            what = "task %s, %s, was not awaited "
            if self._fate == "cancel":
                what = "task %s, %s, was not awaited: cancelled"
            else:
                what += (
                    "and stands still until another invocation runs the event loop: await it, or hand it over with "
                    "wait_until(task)"
                )
            tell(log, logging.WARNING, what, name_of(orphan), origin)
        for error in self._event_loop.take_raised_beside():
            if not any(error is work.exception for work in works):
                tell(log, logging.ERROR, "a task on the event loop raised", exc_info=exc_info(error))

    def _found(self) -> list[tuple[asyncio.Task[Any], str]]:
        return self._event_loop.orphans(self._scope)


# What frameworks end without awaiting it, such as a session of MCP's, needs some turns of the event loop to do so.
_CHANCES = 3
