"""
Which environment takes the next event, and who waits for one.

    slot     entered by                             left by
    busy     the start of its environment; `place`  `next`, which finds nothing waiting
    idle     `next`; the others of a new one        `place`, with an event; `retire`, with none
    retired  `retire`, or a reload while it is busy the end of its environment

Everything happens on the event loop, between two of whose turns no slot moves: there is no lock.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from .event.invocation import Invocation


class Slot:
    """The place of one event at a time in an environment."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.healthy: Callable[[], bool] = bool  # an environment that has not begun is not
        """Whether the environment would not have to start anew for an event."""
        self._moved = asyncio.Event()
        self._invocation: Invocation | None = None

    def give(self, invocation: Invocation | None) -> None:
        """Wake the environment with *invocation*; with None it has to end."""
        self._invocation = invocation
        self._moved.set()

    async def taken(self) -> Invocation | None:
        """Wait for what is given."""
        await self._moved.wait()
        self._moved.clear()
        return self._invocation


class Slots:
    """
    The slots of all environments, *most* of which may be busy; an environment has *per_environment* of them.

    *start* begins one more environment with its slots and, in the first of them, an event. One that was idle for
    *idle_timeout* seconds is retired.
    """

    def __init__(
        self,
        most: int,
        per_environment: int,
        idle_timeout: float,
        start: Callable[[list[Slot], Invocation | None], None],
    ) -> None:
        self._most = most
        self._per_environment = per_environment
        self._idle_timeout = idle_timeout
        self._start = start
        self._idle: list[Slot] = []
        self._waiting: deque[Invocation] = deque()
        self._busy = 0
        self._generation = 0
        self._closed = False

    @property
    def all_busy(self) -> bool:
        """Whether an event would have to wait."""
        return self._busy >= self._most

    @property
    def another_waits(self) -> bool:
        """Whether an event does wait."""
        return bool(self._waiting)

    def place(self, invocation: Invocation | None) -> None:
        """
        Give *invocation* to an idle environment, or to one more; without an event that is initialised only.

        Of the idle ones it is that which became so last, and one that has to start anew if there is no other.
        """
        self._busy += 1
        slot = next((slot for slot in reversed(self._idle) if slot.healthy()), self._idle[-1] if self._idle else None)
        if slot is not None and invocation is not None:
            self._idle.remove(slot)
            slot.give(invocation)
        else:
            slots = [Slot(self._generation) for _ in range(self._per_environment)]
            self._idle += slots[1:]
            self._start(slots, invocation)

    def wait(self, invocation: Invocation) -> None:
        """Let *invocation* wait for its turn."""
        self._waiting.append(invocation)

    async def next(self, slot: Slot) -> Invocation | None:
        """Wait for what the environment of *slot* is to do next; None says that there will be nothing."""
        current = slot.generation == self._generation
        if self._waiting and current:
            return self._waiting.popleft()
        self._busy -= 1
        if self._waiting and not self._closed:
            self.place(self._waiting.popleft())
        if not current:
            return None
        self._idle.append(slot)
        return await self.given(slot)

    async def given(self, slot: Slot) -> Invocation | None:
        """Wait for what is given to *slot*, which is idle."""
        timer = None
        if self._idle_timeout < math.inf:
            timer = asyncio.get_running_loop().call_later(self._idle_timeout, self._retire, slot)
        taken = await slot.taken()
        if timer is not None:
            timer.cancel()
        return taken

    def renew(self) -> None:
        """Retire every environment there is: what runs is finished there, and other events find new ones."""
        self._generation += 1
        for slot in list(self._idle):
            self._retire(slot)

    def close(self) -> None:
        """Start no more environments."""
        self._closed = True

    def _retire(self, slot: Slot) -> None:
        if slot in self._idle:
            self._idle.remove(slot)
            slot.give(None)
