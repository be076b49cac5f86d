"""
How an environment waits for its processes: until something stirs, or a time has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# How often a phase that takes its time is looked at, in seconds.
INTERVAL = 0.25


class Waiting:
    """One waiter, woken by whoever calls `stir`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time: Callable[[], float] = self._loop.time
        """The clock of the event loop, which `anyio.current_time` looks for anew each time."""
        self._stirred = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._interval_is_over = False

    def stir(self) -> None:
        """Say that there is a reason to look again."""
        self._stirred.set()

    async def stirred(self) -> None:
        """Wait until there is a reason to look again."""
        self._stirred.clear()
        await self._stirred.wait()

    async def stirred_until(self, end: float) -> bool:
        """Wait for it until *end*, a time of the event loop; return whether INTERVAL seconds or more have passed."""
        self._set_timer(end)
        await self.stirred()
        return self._interval_is_over

    def stop(self) -> None:
        """Give the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, end: float) -> None:
        # The timer of the phase before will mostly do: to look too early costs nothing.
        self._interval_is_over = False
        when = min(end, self._loop.time() + INTERVAL)
        if self._timer is None or when < self._timer.when():
            self.stop()
            self._timer = self._loop.call_at(when, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer, self._interval_is_over = None, True
        self._stirred.set()
