"""
What one invocation has handed over, and the state of each piece: nobody else writes it.

                    ┌── cancel ─────────────────────────────▶ cancelled
    add ──▶ pending ┼── the time is up ─────────────────────▶ dropped
               │    └── hand_on ──▶ (leaving) ─┐
             begin                             ├─ accepted ─▶ overflowed
               ▼                               ├─ refused ──▶ dropped
            running ┬── hand_on ──▶ (leaving) ─┴─ unheard ──▶ unconfirmed
                    ├── it returned ────────────────────────▶ succeeded
                    ├── it raised ──────────────────────────▶ failed
                    ├── it was asked to stop, and did ──────▶ cancelled
                    └── the time is up, nobody can stop it ─▶ abandoned

The first end counts: what a thread brings after its work was abandoned is told in the log, and changes nothing. Work
that is leaving keeps its state, and nobody begins or cancels it.

One lock guards the list of works, their states and slots, both queues, the outcome, the end of the time,
and how many threads the workers have. So a look and what follows from it are one step: whether work is wanted after
this outcome, and its entry in the list; that there is no more work, and the closing. Who waits for any of
it waits for a change, on the main thread or on the event loop.

While it is held, nothing of the function's is called (a dedupe key, a sink, a callback of a future) and nothing is
logged, since a handler of the function's may hand work over itself. It is re-entrant, since a signal handler may hand
work over, or `hurry`, on a thread that holds it.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time

from lambda_ric.callables import discard
from lambda_ric.failures import as_text, exc_info, tell
from lambda_ric.forks import end_child_of
from lambda_ric.spans import PATIENCE

from .queue import Queue
from .work import (
    ABANDONED,
    CANCELLED,
    DROPPED,
    FAILED,
    NO_THREAD,
    NO_TIME,
    PENDING,
    RUNNING,
    SUCCEEDED,
    OutOfTime,
    Work,
    is_future,
    runs_already,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import Any

    from lambda_ric.event_loop import EventLoop
    from lambda_ric.spans import Spans

    from .work import End

log: logging.Logger = logging.getLogger("lambda_ric.background")


class Registry:
    """
    The work of the invocation *request_id*, open from the first hand-over to the end of the drain.

    Its one subject is the table above: whoever changes a state is a method of this class.
    """

    def __init__(self, request_id: str, event_loop: EventLoop, spans: Spans) -> None:
        self.request_id = request_id
        self.lock: threading.RLock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.calls: Queue = Queue()
        """What waits for a thread."""
        self.coroutines: Queue = Queue()
        """What waits for the event loop."""
        self.works: list[Work] = []
        """Everything that was to run after the response, hooks included, in the order of hand-over."""
        self._event_loop = event_loop
        self._spans = spans
        self._is_watched = False
        """Whether the main thread waits here, or is about to: then it writes what the spans were told to keep."""
        self._unfinished = 0
        self._until = math.inf
        self._succeeded: bool | None = None
        self._closed = False
        # By identity, with what was handed over: as long as that lives, nothing else has its identity.
        self._known: dict[int, tuple[Any, Work]] = {}
        self._wake_loop: Callable[[], object] = _do_nothing
        self._start_threads: Callable[[], object] = _do_nothing
        self._process = os.getpid()

    @property
    def until(self) -> float:
        """When everything ends here, in seconds since 1970; infinite before the drain."""
        return self._until

    # Handing work over...

    def add(self, work: Work) -> Work:
        """
        Add *work*, unless it is not wanted after the outcome that there has been: then it is cancelled at once.

        Returns:
            The same; or, if what it awaits was handed over before, the work of then.

        Raises:
            ValueError: It awaits a future of another event loop.
            RuntimeError: The registry is closed.
        """
        thing = work.awaitable
        is_future_of_pool = thing is not None and is_future(thing)
        with self.lock:
            self.check_open()
            if self._succeeded is not None and not work.is_wanted_after(succeeded=self._succeeded):
                work.end(CANCELLED, time.time())
                return work
            if thing is not None:
                if id(thing) in self._known:
                    return self._known[id(thing)][1]
                if runs_already(thing):
                    if not self._event_loop.owns(thing):
                        raise ValueError(
                            "wait_until cannot await a task of another event loop: hand over the coroutine instead"
                        )
                    self._event_loop.own(thing)
                self._known[id(thing)] = thing, work
            self.enter(work)
            if is_future_of_pool or (thing is not None and runs_already(thing)):
                self.begin(work, thing)
            if not is_future_of_pool:
                (self.coroutines if work.is_asynchronous else self.calls).put(work)
            self._notify()
        if thing is not None and is_future_of_pool:
            # Not while the lock is held: it may be called at once, and logs.
            thing.add_done_callback(functools.partial(self._future_ended, work))
        elif not work.is_asynchronous:
            self._start_threads()
        return work

    def forget(self, work: Work) -> None:
        """Take *work*, which has ended, out of the list, as if there had been none."""
        with self.lock:
            self.works.remove(work)

    def check_open(self) -> None:
        """Raise a RuntimeError if it is too late to hand work over."""
        if self._closed:
            raise RuntimeError(
                f"wait_until was called after the background work of request {self.request_id} had ended: nobody "
                "would wait for it. Hand work over before the code that calls wait_until ends itself"
            )

    def enter(self, work: Work) -> None:
        """Add *work* that its caller begins and ends."""
        with self.lock:
            work.handed_over_at = time.time()
            self.works.append(work)
            self._unfinished += 1

    # From state to state...

    def begin(self, work: Work, future: Any = None) -> bool:
        """
        Note that *work* is at work from now on, in *future* if there is one; return False if it must not be.

        It may have been cancelled since its turn came, be on its way to a queue, or have ended.
        """
        with self.lock:
            if work.has_ended or work.is_leaving:
                return False
            if work.state == PENDING:
                work.begin(time.time())
                keep = self._is_watched
                self._spans.started(self.request_id, work.kind, work.name, work.started_at, keep=keep)
            work.future = future
            return True

    def go_on_in_loop(self, work: Work, awaitable: Awaitable[Any]) -> None:
        """Have what a function returned in its thread awaited on the event loop."""
        with self.lock:
            in_time = not work.has_ended
            if in_time:
                work.awaitable, work.is_asynchronous = awaitable, True
                self.coroutines.put(work)
                self._notify()
        if not in_time:
            discard(awaitable)
            work.context.run(self.end, work, CANCELLED)

    def end(
        self,
        work: Work,
        state: End,
        result: Any = None,
        exception: BaseException | None = None,
        reason: str = "",
    ) -> None:
        """Note that *work* has come to its end *state*, for that *reason*, unless it has come to another one before."""
        end_child_of(self._process)
        now = time.time()
        told = reason
        if exception is not None and self._spans.wanted:
            told = f"{type(exception).__name__}: {as_text(exception)}"
        with self.lock:
            in_time = not work.has_ended
            if in_time:
                work.end(state, now, result, exception, reason)
                # Told before the drain can see that it has ended: after the next poll nobody reads it.
                start, keep = work.started_at or now, self._is_watched
                self._spans.ended(self.request_id, work.kind, work.name, state, start, now, told, keep=keep)
                self._unfinished -= 1
                self._notify()
        if not in_time and work.ended_late is not None:
            what = "background %s %s, abandoned before, has ended: it %s"
            tell(log, logging.WARNING, what, work.kind, work.name, state)
            work.ended_late.set()

    def fail(self, work: Work, error: BaseException) -> None:
        """Log that *work* has raised *error*, and end it; or hand it on if that only means that there is no time."""
        end_child_of(self._process, error)
        if isinstance(error, OutOfTime) and self.hand_on(work):
            return
        tell(log, logging.ERROR, "background %s %s failed", work.kind, work.name, exc_info=exc_info(error))
        self.end(work, FAILED, exception=error)

    def fail_coroutines(self, error: Exception) -> None:
        """End everything that waits for the event loop, or runs on it, which cannot be run for that *error*."""
        for running in [work for work in self.works if work.is_asynchronous and work.state == RUNNING]:
            running.context.run(self.fail, running, error)
        while True:
            with self.lock:
                work = self.coroutines.take()
            if work is None:
                return
            discard(work.awaitable)
            work.context.run(self.fail, work, error)
            with self.lock:
                self.coroutines.leave(work)

    def stopped(self, work: Work) -> None:
        """End *work*, which was asked to stop and did; or hand it on if that was for want of time."""
        if not self.is_time_up:
            self.end(work, CANCELLED)
        elif not self.hand_on(work):
            self.end(work, CANCELLED, reason=NO_TIME)

    def hand_on(self, work: Work) -> bool:
        """Let *work* leave for the place where it runs later, and say whether it has one."""
        with self.lock:
            if work.elsewhere is None or work.has_ended:
                return False
            work.is_leaving = True
        # Again if it is leaving already: the deadline may have interrupted that anywhere. Who sends it takes it once.
        work.elsewhere()
        return True

    def cancel(self, work: Work) -> bool:
        """Cancel *work*, and say whether that was possible."""
        with self.lock:
            if work.has_ended or work.is_leaving:
                return False
            if work.state == PENDING:
                self.end(work, CANCELLED)
                future = None
            elif work.future is None:
                return False
            else:
                future = work.future
        if future is None:
            discard(work.awaitable)
            return True
        return cancel_soon(future)

    def _future_ended(self, work: Work, future: Any) -> None:
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            work.context.run(self.end, work, CANCELLED)
        elif error is not None:
            work.context.run(self.fail, work, error)
        else:
            work.context.run(self.end, work, SUCCEEDED, future.result())

    # For the drain...

    def open_drain(self, until: float, start_threads: Callable[[], object], *, succeeded: bool) -> None:
        """
        Take note of the outcome, and of *until*, the end of the time in seconds since 1970.

        Work that is not wanted after this outcome leaves the list. From now on *start_threads* is called when there is
        more work for threads, without the lock.
        """
        with self.lock:
            self._until, self._succeeded = min(until, self._until), succeeded
            self._is_watched = self._spans.wanted
            self._start_threads = start_threads
            unwanted = [work for work in self.works if not work.is_wanted_after(succeeded=succeeded)]
            for work in unwanted:
                if work.state == PENDING:
                    self.end(work, CANCELLED)
                    self.works.remove(work)

    def wake_with(self, wake_loop: Callable[[], object] | None) -> None:
        """Call *wake_loop* at every change, for who waits on the event loop and not on the condition."""
        with self.lock:
            self._wake_loop = wake_loop or _do_nothing

    def wait_for_coroutines(self, awaited: Collection[object]) -> bool:
        """Wait until the event loop has something to do, if only *awaited*; return False when work or time is over."""
        self._is_watched = self._spans.wanted
        try:
            while True:
                with self.lock:
                    now = time.time()
                    if not self._unfinished or now >= self._until:
                        return False
                    if self.coroutines or awaited:
                        return True
                    self._changed.wait(min(self._until - now, PATIENCE if self._is_watched else _AN_HOUR))
                # Without the lock, for which everybody would wait meanwhile.
                self._spans.flush(before=time.time() - PATIENCE)
        finally:
            self._is_watched = False
            self._spans.flush()

    @property
    def is_done(self) -> bool:
        """Whether everything has ended."""
        return self._unfinished == 0

    @property
    def is_time_up(self) -> bool:
        """Whether everything has to end now."""
        return time.time() >= self._until

    def close_if_done(self) -> bool:
        """
        Say whether nothing is left, and take nothing more then.

        Not for want of time: what is stopped then may still hand work over, which is dropped by name.
        """
        with self.lock:
            if self._unfinished == 0:
                self._closed = True
            return self._closed

    def close(self) -> None:
        """Take nothing more."""
        with self.lock:
            self._closed = True

    def hurry(self, until: float) -> None:
        """End everything at *until* already, in seconds since 1970; a signal handler may call it."""
        with self.lock:
            self._until = min(self._until, until)
            self._notify()

    def hand_on_unfinished(self) -> None:
        """Hand on all work that has not ended and has a place to go to."""
        for work in self.works:
            self.hand_on(work)

    def drop_calls(self) -> None:
        """End what waits for a thread, since there will be none, or hand it on if it has a place to go to."""
        for work in self.works:
            if work.state == PENDING and not work.is_asynchronous and not self.hand_on(work):
                self.end(work, DROPPED, reason=NO_THREAD)

    def give_up(self) -> None:
        """End everything that has not ended by now, and cannot be waited for any longer."""
        for work in self.works:
            if work.has_ended:
                continue
            if work.state == PENDING or (work.awaitable is not None and work.future is None):
                # Not begun; or begun in a thread, whose function returned something that nobody awaits.
                self.end(work, DROPPED if work.state == PENDING else CANCELLED, reason=NO_TIME)
                discard(work.awaitable)
            elif work.future is work.awaitable is not None and work.future.done():
                self._future_ended(work, work.future)
            with self.lock:
                if not work.has_ended:
                    work.ended_late = threading.Event()
                    self.end(work, ABANDONED, reason=NO_TIME)

    def let_go(self) -> None:
        """Forget all work: it, its context and this registry hold each other, and with them the event."""
        works, self.works = self.works, []
        self._known.clear()
        self._start_threads = _do_nothing
        for work in works:
            if work.state != ABANDONED:
                work.let_go()

    def _notify(self) -> None:
        self._changed.notify_all()
        self._wake_loop()


def cancel_soon(future: Any) -> bool:
    """Ask *future* to stop, and say whether that can help."""
    if not runs_already(future):
        return bool(future.cancel())
    if future.done():
        return False
    future.get_loop().call_soon_threadsafe(future.cancel)
    return True


_AN_HOUR = 3600.0


def _do_nothing() -> None:
    pass
