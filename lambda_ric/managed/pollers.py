"""
Slots that are served by threads.

    poller   polls ──▶ has the handler called ──▶ answers ──▶ finishes ──▶ polls …
                             │                                   │
                  its time is up                                 ├── its time is up ──▶ another poller takes the slot
                             ▼                                   └── it detaches ─────▶ another poller takes the slot
          another poller takes the slot, and the invocation: it answers, and finishes

A slot always has one poller. One that is relieved does no more than to end what it is at: it polls no more, and what
its handler returns goes nowhere.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextvars import copy_context
from types import TracebackType

from lambda_ric.context import current_invocation
from lambda_ric.errors import RuntimeAPIError
from lambda_ric.failures import exc_info, tell
from lambda_ric.threads import carry_invocation_into_pools

from .turns import SlotServing, TakenOver, traceback_of_frame
from .worker import API_LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .pool import Pool
    from .turns import Desk

log: logging.Logger = logging.getLogger("lambda_ric.managed")


class Poller:
    """
    A thread that serves *slot* of *pool*.

    *desk* is that of an invocation that it has taken over, for which it does *first* what there is to do. *once* is
    for the slot of a worker that has died, whose poll is still to be answered.
    """

    def __init__(
        self,
        pool: Pool,
        slot: int,
        desk: Desk | None = None,
        serving: SlotServing | None = None,
        first: Callable[[SlotServing], object] | None = None,
        *,
        once: bool = False,
    ) -> None:
        self.slot = slot
        self.serving = serving
        self.is_relieved: bool = False
        """Whether another one has its slot."""
        self._is_taken_over = False
        """Whether another one has the invocation, too."""
        self._pool = pool
        self._desk = desk or pool.desk(slot)
        self._first = first
        self._once = once
        self._thread = 0

    def run(self) -> None:
        """Serve until the worker leaves, or another poller has the slot; never raises."""
        pool, desk = self._pool, self._desk
        self._thread = threading.get_ident()
        desk.interrupt.belongs_to_this_thread(self._time_is_up)
        pool.watch.add(desk.interrupt)
        try:
            if self.serving is not None:
                copy_context().run(self._take_over, self.serving)
                self.is_relieved = self.is_relieved or self._once
            while not (self.is_relieved or pool.is_leaving):
                copy_context().run(self._serve, SlotServing(desk.client.next(), desk.environment))
                if self._once:
                    self._pool.post.ledger.clear(self.slot)
                    break
        except RuntimeAPIError as error:
            tell(log, logging.ERROR, "%s", error)
            pool.end(API_LOST)
        except BaseException as error:  # of the runtime itself: the slot must not be lost
            tell(log, logging.ERROR, "a slot has to be served anew", exc_info=exc_info(error))
            self._relieve()
        finally:
            if not self.is_relieved:
                pool.watch.remove(desk.interrupt)
            self._ended()

    def _ended(self) -> None:
        self.serving = None
        self._pool.ended(self)

    def _serve(self, serving: SlotServing) -> None:
        self.serving = serving
        current_invocation.set(serving)
        carry_invocation_into_pools()
        self._desk.loop.begin_invocation()
        try:
            answer(serving)
        except TakenOver:
            pass
        if self._is_taken_over:
            tell_lost_result(serving)
            return
        self._finish(serving)

    def _take_over(self, serving: SlotServing) -> None:
        current_invocation.set(serving)
        carry_invocation_into_pools()
        if self._first is not None:
            self._first(serving)
            self._first = None
        self._finish(serving)

    def _finish(self, serving: SlotServing) -> None:
        pool = self._pool
        if not self.is_relieved and pool.detaches and serving.has_more_to_do and pool.detach(self):
            self._relieve()
        serving.finish()
        pool.logs.end_lines_of(serving)
        self.serving = None
        error = serving.outcome.error
        serving.let_go()
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            pool.leave("a handler has asked for the end of its process")

    # In the thread that watches...

    def _time_is_up(self) -> None:
        serving, desk, pool = self.serving, self._desk, self._pool
        if serving is None:
            return
        if desk.loop.stop_waiting():
            desk.interrupt.once_more()
            return
        stands_at = traceback_of_frame(sys._current_frames().get(self._thread))
        if serving.answered:
            copy_context().run(_tell_late, serving, stands_at)
            pool.runs_late(self)
            if not self.is_relieved:
                self._relieve()
        elif serving.claim():
            self._is_taken_over = True
            pool.runs_late(self)
            self._relieve(desk, serving, stands_at)
        else:
            serving.break_off()

    def _relieve(
        self, desk: Desk | None = None, serving: SlotServing | None = None, stands_at: TracebackType | None = None
    ) -> None:
        """Have another poller take the slot; with *serving*, and the desk that belongs to it, if that is given."""
        self.is_relieved = True
        if self._once and serving is None:
            return

        def time_out(serving: SlotServing) -> None:
            serving.time_out(stands_at)

        self._pool.start(Poller(self._pool, self.slot, desk, serving, time_out, once=self._once))


class Finisher(Poller):
    """A thread that finishes one invocation of the event loop's, does what is to be done *first*, and calls *then*."""

    def __init__(
        self,
        pool: Pool,
        slot: int,
        desk: Desk,
        serving: SlotServing,
        first: Callable[[SlotServing], object] | None,
        then: Callable[[], object],
    ) -> None:
        super().__init__(pool, slot, desk, serving, first)
        self.is_relieved = True
        self.then = then

    def _ended(self) -> None:
        self._pool.watch.remove(self._desk.interrupt)
        super()._ended()
        self.then()


def answer(serving: SlotServing) -> None:
    """Have the handler called, and its caller answered; raises `TakenOver` if somebody else has done that."""
    replaced = serving.hooks.answer
    if replaced is None:
        serving.answer(0.0)
    else:
        replaced(serving, 0.0)


def tell_lost_result(serving: SlotServing) -> None:
    """Log that the handler has ended whose caller had been told of a timeout."""
    late = time.time() - serving.invocation.received_at
    what = "the handler has ended after %.1f s, when its caller had been told of a timeout: its result is lost"
    tell(log, logging.WARNING, what, late)


def _tell_late(serving: SlotServing, stands_at: TracebackType | None) -> None:
    current_invocation.set(serving)
    while stands_at is not None and stands_at.tb_next is not None:
        stands_at = stands_at.tb_next
    what = "what follows the answer is still at work though its time is up, in %s; it goes on beside other invocations"
    where = "an unknown place"
    if stands_at is not None:
        code = stands_at.tb_frame.f_code
        where = f"{code.co_qualname} at {code.co_filename}:{stands_at.tb_lineno}"
    tell(log, logging.ERROR, what, where)
