"""
Time limits where no signal can keep them: in threads, and on one event loop that many invocations share.

Nothing is interrupted here. Whoever waits is told when the time is up, and goes on without what it has waited for; for
whoever is busy somebody else goes on. What ran too long runs on to its own end, so nothing of the function's is ever
left half-done: no half-read connection, no lock, no open transaction.

One thread watches for all. It sleeps until the first limit there is; to set one costs a comparison, and most are taken
back before they come.
"""

from __future__ import annotations

import logging
import math
import threading
import time

from lambda_ric.failures import exc_info, tell
from lambda_ric.interrupt import Interrupt
from lambda_ric.threads import start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol

    class Watched(Protocol):
        """Something with a time limit."""

        due: float
        """When the time is up, in seconds since 1970; infinite while there is no limit."""

        def time_is_up(self) -> None:
            """Act on that; called by the thread that watches, with *due* set to infinite."""


log: logging.Logger = logging.getLogger("lambda_ric.managed")


class Watch:
    """
    The thread that watches.

    *due* of what it watches is written by whoever that belongs to, and taken back without a lock: who acts on a time
    that is up has to settle with whoever may be ending at that moment. The lock guards the time of the next look.
    """

    def __init__(self) -> None:
        self._watched: dict[Watched, None] = {}
        self._looks_at = math.inf
        self._changed = threading.Condition()
        start_daemon("lambda_ric.watch", self._run)

    def add(self, watched: Watched) -> None:
        """Watch *watched* from now on."""
        self._watched[watched] = None

    def remove(self, watched: Watched) -> None:
        """Do not watch *watched* any more."""
        self._watched.pop(watched, None)

    def expect(self, due: float) -> None:
        """Look again at *due*, at the latest; in seconds since 1970."""
        if due < self._looks_at:
            with self._changed:
                self._looks_at = min(self._looks_at, due)
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while (left := self._looks_at - time.time()) > 0:
                    self._changed.wait(min(left, _AN_HOUR))
                # A limit that is set from here on is below this, and makes for another look.
                self._looks_at = math.inf
            now = time.time()
            next_look = math.inf
            for watched in tuple(self._watched):
                if watched.due <= now:
                    watched.due = math.inf
                    try:
                        watched.time_is_up()
                    except Exception as error:  # no thread is to be had, say
                        tell(log, logging.ERROR, "a time limit could not be kept", exc_info=exc_info(error))
                next_look = min(next_look, watched.due)
            self.expect(next_look)


class SlotInterrupt(Interrupt):
    """
    The alarm clock of one slot: when its time is up, somebody is told, in place of the exception.

    What it says of times is what `Interrupt` says; it is for one thread, and does nothing in another.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.due: float = math.inf
        self.again: float = 0.0
        """How many seconds whoever waits has left when the time is up."""
        self._watch = watch
        self._next = (math.inf, 0.0)
        self._outer: list[tuple[float, float]] = []
        self._thread = 0
        self._act: Callable[[], object] = _do_nothing

    def belongs_to_this_thread(self, act: Callable[[], object]) -> None:
        """Keep the time of the calling thread from now on: *act* is called by the one that watches, when it is up."""
        self._act, self._thread = act, threading.get_ident()

    @property
    def is_of_this_thread(self) -> bool:
        """Whether the calling thread is the one whose time this is."""
        return threading.get_ident() == self._thread

    def at(self, when: float, *, again: float, own_code: bool = False) -> SlotInterrupt:
        """Set the time at which the time of the block that follows is up, in seconds since 1970."""
        if self.is_of_this_thread:
            self._next = when, again
        return self

    def __enter__(self) -> None:
        if self.is_of_this_thread:
            self._outer.append((self.due, self.again))
            self.due, self.again = self._next
            self._watch.expect(self.due)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_of_this_thread and self._outer:
            self.due, self.again = self._outer.pop()
            self._watch.expect(self.due)

    def bring_forward(self, when: float) -> None:
        """Have the time of the block that runs be up at *when* already, in seconds since 1970."""
        if when < self.due < math.inf:
            self.due = when
            self._watch.expect(when)

    def hold(self) -> bool:
        """Return False: a time that is set stays."""
        return False

    def once_more(self) -> None:
        """Look again after the grace: whoever waits has just been told."""
        self.due = time.time() + max(self.again, _A_MOMENT)

    def time_is_up(self) -> None:
        """Have whoever this belongs to act."""
        self._act()

    def ask_first(self, cancel: object) -> None:
        """Do nothing: nobody is interrupted."""

    def has_asked(self) -> None:
        """Do nothing: nobody is interrupted."""


def _do_nothing() -> None:
    pass


_AN_HOUR = 3600.0
_A_MOMENT = 0.01
