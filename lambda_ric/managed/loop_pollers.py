"""
Slots that are served on the event loop: the handler is asynchronous.

    polling ──event──▶ handling ──its result──▶ answering ──accepted──▶ finishing ──▶ polling …
                          │                                               │
                     its time is up                                  nothing is left to do: it polls at once;
                          ▼                                          else a thread does it, as everywhere (`pollers`)
            a thread answers, and finishes

Measured with 64 slots whose handlers wait 50 ms, on two processors: 64 threads that wait for events and hand coroutines
to the loop take 198 µs of processor time for an invocation, this takes 143 µs. AWS's 64 processes take 304 µs.

Everything here happens on the loop's thread, but for `time_is_up`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
from contextvars import copy_context

from lambda_ric import protocol
from lambda_ric.client import check_answer, check_event, error_of, was_taken
from lambda_ric.context import current_invocation
from lambda_ric.errors import AnswerRefusedError, ConnectionLostError, RuntimeAPIError
from lambda_ric.event_loop import EventLoop, traceback_of
from lambda_ric.failures import Failure, tell
from lambda_ric.protocol import NEXT, Invocation
from lambda_ric.threads import carry_invocation_into_pools

from .loop_connection import LoopConnection
from .pollers import Finisher, answer, tell_lost_result
from .turns import SlotServing, traceback_of_frame
from .worker import API_LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from lambda_ric.protocol import Call
    from lambda_ric.replies import Reply

    from .pool import Pool

log: logging.Logger = logging.getLogger("lambda_ric.managed")

# Seconds that a loop may take to hear of a time that is up, until it is taken for blocked.
_PATIENCE = 1.0


def start_all(pool: Pool) -> None:
    """Have the slots of *pool* served on the event loop."""
    loop = pool.main_loop.make()
    for slot in pool.post.slots:
        poller = LoopPoller(pool, slot, loop)
        pool.add(poller)
        loop.call_soon(poller.poll)


class LoopPoller:
    """Serves *slot* of *pool* on *loop*."""

    def __init__(self, pool: Pool, slot: int, loop: asyncio.AbstractEventLoop) -> None:
        self.serving: SlotServing | None = None
        self.due: float = math.inf
        self._pool = pool
        self._slot = slot
        self._loop = loop
        self._context = copy_context()
        self._address = pool.post.address
        self._poll = NEXT.encode(self._address)
        self._connection = LoopConnection(loop, self._address, pool.post.socket(slot))
        self._goes_on = slot in pool.post.left
        """Whether the process that has died had asked for the first event already."""
        self._desk = pool.desk(slot)
        self._failed_first: RuntimeAPIError | None = None
        """What became of the first attempt of the exchange; None: this is the first."""
        self._task: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._is_asked = False
        """Whether the loop has been told that the time of an invocation is up, and has not heard of it."""
        pool.watch.add(self)

    # Polling...

    def poll(self) -> None:
        """Ask for an event, unless the worker leaves."""
        pool = self._pool
        self.serving = self._task = self._call = None
        if pool.is_leaving:
            pool.watch.remove(self)
            pool.ended(self)
            return
        pool.post.ready()
        self._failed_first = None
        if self._goes_on:
            self._goes_on = False
            self._connection.receive(self._event_came, self._poll_failed)
            return
        pool.post.ledger.asks(self._slot, self._connection.bytes_sent)
        self._connection.send(self._poll, self._event_came, self._poll_failed)

    def _poll_failed(self, error: RuntimeAPIError) -> None:
        if self._failed_first is not None:
            self._lose(error)
            return
        # A broken poll may have taken an event with it; only a fresh one gets it again, at once.
        self._failed_first = error
        self._connection.send(self._poll, self._event_came, self._poll_failed)

    def _event_came(self, reply: Reply) -> None:
        try:
            check_event(reply)
            invocation = Invocation(reply, time.time())
        except RuntimeAPIError as error:
            self._lose(error)
            return
        pool = self._pool
        pool.post.ledger.took(self._slot, invocation)
        self.serving = serving = SlotServing(invocation, self._desk.environment)
        carry_invocation_into_pools()
        if serving.hooks.answer is not None or _may_bring_tasks(self._desk.environment.handler, invocation.body):
            self._go_on_in_thread(serving, answer)
            return
        context = self._context.copy()
        context.run(current_invocation.set, serving)
        self._desk.loop.begin_invocation(context)
        self.due = serving.soft_deadline
        pool.watch.expect(self.due)
        # By no factory of the function's: it may know no contexts.
        self._task = EventLoop.own(asyncio.Task(self._serve(serving), loop=self._loop, context=context))

    def _lose(self, error: RuntimeAPIError) -> None:
        tell(log, logging.ERROR, "%s", error)
        self._pool.end(API_LOST)

    # ...handling...

    async def _serve(self, serving: SlotServing) -> None:
        body, content_type = await serving.call_on_loop()
        if not serving.claim():
            tell_lost_result(serving)
            return
        self.due = math.inf
        error = serving.outcome.error
        if serving.is_result_stream:
            self._go_on_in_thread(serving, SlotServing.send_stream)
        elif error is None:
            self._call = protocol.response(serving.invocation, body, content_type)
            self._answer(self._call)
        else:
            environment = self._desk.environment
            failure = Failure(error, serving.request_id)
            environment.logs.error(failure)
            self._call = error_of(serving.invocation, failure, causes=environment.settings.error_causes)
            self._answer(self._call)

    # ...answering...

    def _answer(self, call: Call) -> None:
        self._failed_first = None
        self._connection.send(call.encode(self._address), self._answered, self._answer_failed)

    def _answer_failed(self, error: RuntimeAPIError) -> None:
        if self._call is not None and isinstance(error, ConnectionLostError) and self._failed_first is None:
            # A kept connection may have been closed since; a second answer is refused, not taken twice.
            self._failed_first = error
            self._connection.send(self._call.encode(self._address), self._answered, self._answer_failed)
            return
        self._refused(AnswerRefusedError(f"the answer was not acknowledged: {error}"))

    def _answered(self, reply: Reply) -> None:
        try:
            check_answer("the answer", reply)
        except AnswerRefusedError as refused:
            call, serving = self._call, self.serving
            assert call is not None
            assert serving is not None
            if was_taken(call, self._failed_first, reply, serving.invocation.deadline):
                self._finish()
            else:
                self._refused(refused)
        except RuntimeAPIError as error:
            self._lose(error)
        else:
            self._finish()

    def _refused(self, refused: AnswerRefusedError) -> None:
        serving = self.serving
        assert serving is not None
        serving.outcome.error = serving.outcome.error or refused
        context = self._context.copy()
        context.run(current_invocation.set, serving)
        context.run(tell, log, logging.ERROR, "%s", refused)
        self._finish()

    # ...and finishing.

    def _finish(self) -> None:
        serving, pool = self.serving, self._pool
        assert serving is not None
        serving.has_been_answered()
        if isinstance(serving.outcome.error, (SystemExit, KeyboardInterrupt)) or not serving.ends_here():
            self._go_on_in_thread(serving, None)
            return
        pool.logs.end_lines_of(serving)
        serving.let_go()
        self.poll()

    def _go_on_in_thread(self, serving: SlotServing, first: Callable[[SlotServing], object] | None) -> None:
        """Have a thread do *first*, and what follows the answer; the slot waits for that, unless it is detached."""
        pool, desk = self._pool, self._desk
        self._desk = pool.desk(self._slot)
        finisher = Finisher(pool, self._slot, desk, serving, first, self._poll_soon)
        if first is None and pool.detaches and pool.detach(finisher):
            finisher.then = _nothing
            pool.start(finisher)
            self.poll()
        else:
            pool.start(finisher)

    def _poll_soon(self) -> None:
        self._loop.call_soon_threadsafe(self.poll)

    # In the thread that watches...

    def time_is_up(self) -> None:
        """Have a thread tell the caller, since the handler runs too long; it goes on to its own end."""
        serving, task, pool = self.serving, self._task, self._pool
        if self._is_asked:
            pool.leave("its event loop is blocked")
        elif serving is not None and task is not None and serving.claim():
            stands_at = _stands_at(task.get_coro())
            desk = self._desk
            self._is_asked, self.due = True, time.time() + _PATIENCE
            self._loop.call_soon_threadsafe(self._timed_out, task)
            first: Callable[[SlotServing], object] = lambda serving: serving.time_out(stands_at)  # noqa: E731
            pool.start(Finisher(pool, self._slot, desk, serving, first, self._poll_soon))

    # ...and in that of the loop again.

    def _timed_out(self, task: asyncio.Task[None]) -> None:
        self._is_asked, self.due = False, math.inf
        self._desk = self._pool.desk(self._slot)
        self._pool.runs_on(task)


def _stands_at(coroutine: Any) -> TracebackType | None:
    if coroutine.cr_running:  # it blocks the loop
        return traceback_of_frame(sys._current_frames().get(threading.main_thread().ident or 0))
    return traceback_of(coroutine)


def _may_bring_tasks(handler: object, body: bytes) -> bool:
    """Say whether *handler* may run tasks of the event in *body* by itself, which blocks."""
    consumer = sys.modules.get("lambda_ric.tasks.consumer")
    return consumer is not None and isinstance(handler, consumer.Consumer) and b'"Records"' in body


def _nothing() -> None:
    pass
