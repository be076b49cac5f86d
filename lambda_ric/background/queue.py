"""
Whose turn it is: work that waits to be begun, and how much of a kind may run at once.

Every piece moves at most twice, from the line to its slot and back, so the time that this takes grows with the number
of pieces alone. The line and the slots are guarded by the lock of the registry, which whoever calls this holds.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .work import Work


class Queue:
    """Work in the order in which it was handed over."""

    def __init__(self) -> None:
        self._line: deque[Work] = deque()

    def __bool__(self) -> bool:
        """Whether there may be work to take; what is held back comes back when other work of its slot ends."""
        return bool(self._line)

    def put(self, work: Work) -> None:
        """Add *work* at the end."""
        self._line.append(work)

    def take(self) -> Work | None:
        """Return the first piece of work whose turn it is; `leave` has to be called when it has ended."""
        while self._line:
            work = self._line.popleft()
            slot = work.slot
            if slot is None:
                return work
            if work.has_ended:
                continue
            if not slot.is_full:
                slot.running += 1
                return work
            slot.held_back.append(work)
        return None

    def put_back(self, work: Work) -> None:
        """Undo `take`: nobody could begin *work*."""
        if work.slot is not None:
            work.slot.running -= 1
        self._line.appendleft(work)

    def leave(self, work: Work) -> None:
        """Make room: *work*, which was taken, has ended, so it is the turn of one that was held back for it."""
        slot = work.slot
        if slot is None:
            return
        slot.running -= 1
        if slot.held_back:
            self._line.appendleft(slot.held_back.popleft())
