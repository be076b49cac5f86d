"""
How fast a response is streamed: the first 6 MiB as they come, the rest with 2 MiB a second.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from lambda_ric.limits import STREAM_BURST, STREAM_RATE


class Bandwidth:
    """A token bucket of bytes, full at first."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(STREAM_BURST)
        self._filled_at = clock()

    async def take(self, size: int) -> None:
        """Wait until *size* bytes may be sent."""
        now = self._clock()
        self._tokens = min(STREAM_BURST, self._tokens + (now - self._filled_at) * STREAM_RATE)
        self._filled_at = now
        self._tokens -= size
        if self._tokens < 0:
            await self._sleep(-self._tokens / STREAM_RATE)
