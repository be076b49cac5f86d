"""
The work of one invocation after its response, and the drain, which runs it to its end.

After the response nothing can fail the invocation: whatever a piece of work raises, `SystemExit` included, is logged
under its name and never leaves this folder. Functions run in worker threads, coroutines on the environment's event
loop, and both at the same time; the main thread runs the loop, or waits.
"""

from __future__ import annotations

import logging
import time

from lambda_ric.callables import is_awaitable
from lambda_ric.failures import exc_info, tell
from lambda_ric.interrupt import TimeUp

from .orphans import Orphans
from .registry import Registry
from .report import TaskReport
from .summary import Summary
from .work import ABANDONED, CANCELLED, DROPPED, NO_THREAD, NO_TIME, SUCCEEDED, Work, work_of
from .workers import Threads, Workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from lambda_ric.context import InvocationScope
    from lambda_ric.event_loop import EventLoop
    from lambda_ric.settings import Settings
    from lambda_ric.spans import Spans

    from .coroutines import Coroutines

    class Supervisor(Protocol):
        """Whoever looks after some of the work: the policies of registered tasks."""

        def drain_begins(self, until: float, *, succeeded: bool) -> None:
            """Let what does not fit before *until*, in seconds since 1970, leave, if it is wanted after the outcome."""

        def drain_ends(self) -> None:
            """Wait for the work that is leaving, and end what has not left in time."""

        def work_was_lost(self, work: Work, report: TaskReport) -> None:
            """Take note of one piece that came to no good end."""

        def tell_losses(self) -> None:
            """Tell whoever is to be told of them."""


log: logging.Logger = logging.getLogger("lambda_ric.background")


class Background:
    """
    The work of the invocation *scope*: who hands it over, and who has it run, comes here.

    *until* is when its drain will have to end, in seconds since 1970, as far as that is known before it begins.
    """

    def __init__(
        self,
        scope: InvocationScope,
        settings: Settings,
        event_loop: EventLoop,
        spans: Spans,
        threads: Threads,
        until: float,
    ) -> None:
        self.registry: Registry = Registry(scope.request_id, event_loop, spans)
        self.settings = settings
        self.until = until
        self.reports: list[TaskReport] = []
        """What came to no good end, as far as the drain has found it."""
        self._event_loop = event_loop
        self.is_ending: bool = False
        """Whether the drain is at its end, and waits for queues, which have a time of their own."""
        self.grace: float = settings.deadline_margin / 4
        """Seconds that code is given to end after it has been asked to, or interrupted."""
        self._workers = Workers(self.registry, threads)
        self._threads = threads
        self._orphans = Orphans(scope, event_loop, settings.orphans)
        self._coroutines: Coroutines | None = None
        self._supervisor: Supervisor | None = None

    @property
    def works(self) -> list[Work]:
        """Everything that was to run after the response, hooks included, in the order of hand-over."""
        return self.registry.works

    def hand_over(
        self,
        thing: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        mention_from: float = 0.0,
        metric_name: str | None = None,
    ) -> Work:
        """
        Have *thing* run in the drain, and mentioned in the log if it takes *mention_from* seconds or fails.

        *metric_name* stands for its name in metrics.

        Raises:
            TypeError: It is nothing that can be run or awaited.
            ValueError: It is a future of another event loop.
            RuntimeError: The invocation has ended.
        """
        work = work_of(thing, args, kwargs or {})
        work.mention_from = mention_from
        work.metric_name = metric_name or work.name
        return self.registry.add(work)

    def cancel(self, work: Work) -> bool:
        """Cancel *work*, and say whether that was possible."""
        return self.registry.cancel(work)

    def supervised_by(self, make: Callable[[], Supervisor]) -> Supervisor:
        """Return the supervisor, which the first who asks *makes*."""
        with self.registry.lock:
            if self._supervisor is None:
                self._supervisor = make()
            return self._supervisor

    def run_now(
        self,
        kind: str,
        name: str,
        call: Callable[[], Any],
        until: float,
        *,
        at_once: float = 0.0,
        metric_name: str | None = None,
    ) -> Work:
        """
        Run *call*, a hook or the rest of a generator, and what it returns, here and now; never raises.

        What succeeds in less than *at_once* seconds is forgotten. *metric_name* stands for its *name* in metrics.
        """
        work = Work(name, kind)
        work.metric_name = metric_name or name
        registry = self.registry
        registry.enter(work)
        if time.time() >= until:
            registry.end(work, DROPPED, reason=NO_TIME)
            return work
        registry.begin(work)
        try:
            with self._event_loop.interrupt.at(until, again=self.grace):
                result = call()
                if is_awaitable(result):
                    result = self._event_loop.run(result)
        except TimeUp as time_up:
            self._event_loop.settle(self.grace)
            registry.end(work, ABANDONED if time_up.runs_on else CANCELLED, reason=NO_TIME)
        except BaseException as error:  # after the response nothing can fail the invocation
            registry.fail(work, error)
        else:
            registry.end(work, SUCCEEDED, result)
            if work.ended_at - work.started_at < at_once:
                registry.forget(work)
        return work

    def add_cut_off(self, name: str, started_at: float, *, metric_name: str) -> None:
        """Add a task that ran elsewhere from *started_at*, in seconds since 1970, until its time was up."""
        work = Work(name)
        work.metric_name = metric_name
        self.registry.enter(work)
        self.registry.begin(work)
        work.started_at = started_at
        self.registry.end(work, CANCELLED, reason=NO_TIME)

    def drain(self, until: float, *, succeeded: bool = True) -> None:
        """
        Run what was handed over, and what that hands over, until there is none left or the time is up.

        *until* is in seconds since 1970. *succeeded* is how the invocation
        went: some work is wanted after one outcome only.
        """
        registry = self.registry
        if self._supervisor is not None:
            self._supervisor.drain_begins(min(until, registry.until), succeeded=succeeded)
        registry.open_drain(until, self._workers.start, succeeded=succeeded)
        self._threads.call_when_free(self._workers.start)
        everything_has_ended = self._run_until_done()
        self._stop_coroutines()
        self._end_all(everything_has_ended)
        self._threads.call_when_free(None)
        self._orphans.tell(registry.works)
        self._report()

    def cut_off(self) -> None:
        """End all work that has not ended, from another thread than that of the drain, which hangs."""
        self._end_all(False)
        self._threads.call_when_free(None)
        self._report()

    def _end_all(self, everything_has_ended: bool) -> None:
        registry = self.registry
        self.is_ending = True
        if not everything_has_ended:
            registry.close()
            registry.hand_on_unfinished()
        if self._supervisor is not None:
            self._supervisor.drain_ends()
        if not everything_has_ended:
            registry.give_up()

    def _run_until_done(self) -> bool:
        """Run everything; return False if the time was up before all of it had ended."""
        disturbances = 0
        while True:
            try:
                if self._run_for_a_while():
                    return self.registry.is_done
            except Exception as error:  # of a signal handler of the function's, which interrupted the wait
                disturbances += 1
                if disturbances == _MOST_DISTURBANCES:
                    raise
                tell(log, logging.ERROR, "an exception came up beside background work", exc_info=exc_info(error))

    def _run_for_a_while(self) -> bool:
        """Run what there is; return True if everything has ended, or the time is up."""
        registry = self.registry
        self._workers.start()
        if self._workers.is_stuck:
            registry.drop_calls()
        if registry.wait_for_coroutines(self._coroutines.awaited if self._coroutines is not None else ()):
            self._run_coroutines()
            return False
        adopted = [] if registry.is_time_up else self._orphans.to_adopt()
        for orphan in adopted:
            registry.add(work_of(orphan, (), {}))
        if not registry.is_time_up and self._orphans.get_a_chance():
            self._run_coroutines()  # none: the loop makes two turns
            return False
        return not adopted and (registry.close_if_done() or registry.is_time_up)

    def _stop_coroutines(self) -> None:
        futures = self._orphans.to_cancel()
        futures += [
            work.future
            for work in self.works
            if work.is_asynchronous and work.future is not None and not work.has_ended
        ]
        if futures:
            self._event_loop.cancel(futures, self.grace)

    def _run_coroutines(self) -> None:
        if self._coroutines is None:
            try:
                from .coroutines import Coroutines  # it loads asyncio
            except Exception as error:  # no descriptor is left, say
                self.registry.fail_coroutines(error)
                return
            self._coroutines = Coroutines(self.registry, self._event_loop, self.grace)
        self._coroutines.run()

    def _report(self) -> None:
        lost = [work for work in self.works if work.was_lost]
        for work in lost:
            report = TaskReport(work, self.registry.request_id)
            self.reports.append(report)
            if self._supervisor is not None:
                self._supervisor.work_was_lost(work, report)
        if lost and self._supervisor is not None:
            self._supervisor.tell_losses()

    def hurry(self, until: float) -> None:
        """End the drain at *until* already; a signal handler may call it."""
        self.registry.hurry(until)

    def left_undone(self) -> list[Work]:
        """Return the work that the drain had no time or no thread for."""
        return [work for work in self.works if work.kind == "task" and work.reason in (NO_TIME, NO_THREAD)]

    def summary(self, works: list[Work], seconds: float) -> Summary:
        """Return what the log says of *works*, all of which took so many *seconds*."""
        return Summary(self.registry.request_id, works, seconds)

    def abandoned(self) -> list[Work]:
        """Return the work whose threads have outlived the drain."""
        return [work for work in self.works if work.state == ABANDONED and not work.is_asynchronous]

    def break_off(self, error: Exception) -> None:
        """End all work that has not ended, since the drain itself has come to an *error*."""
        self.registry.close()
        for work in self.works:
            if not work.has_ended:
                self.registry.fail(work, error)

    def close(self) -> None:
        """Take nothing more."""
        self.registry.close()

    def let_go(self) -> None:
        """Forget all work, and with it the event."""
        self.registry.let_go()
        self.reports = []
        self._supervisor = None


_MOST_DISTURBANCES = 100
