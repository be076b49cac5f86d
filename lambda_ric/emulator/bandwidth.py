"""
How fast a response is streamed: the first 6 MiB as they come, the rest with 2 MiB a second.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
BURST = 6 * 1024 * 1024
RATE = 2 * 1024 * 1024


class Bandwidth:
    """A token bucket of bytes, full at first."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(BURST)
        self._filled_at = clock()

    async def take(self, size: int) -> None:
        """Wait until *size* bytes may be sent."""
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now
        self._tokens -= size
        if self._tokens < 0:
            await self._sleep(-self._tokens / RATE)
