"""
Registered tasks in the drain: attempts and pauses, how many at once, and the queue for what does not fit.

Loaded when the first task with a policy is handed over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

from .background_task import DROPPED, OVERFLOWED, BackgroundTask, cannot_cancel, name_of
from .event_loop import is_coroutine_function
from .failures import as_text
from .reports import FailureRecord
from .streams import tell
from .threads import SENDER, start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .envelope import Envelope
    from .overflow import Sink
    from .protocol import Invocation
    from .reports import TaskReport
    from .tasks import Task

log = logging.getLogger("lambda_ric.background")


class OutOfTime(Exception):
    """There is no time for this attempt; a queue may have the task."""


class SupervisedTask(BackgroundTask):
    """
    One run of a registered function by its *policy*, with as many attempts as that allows.

    *queued* is what a queue would get, if there is one for it. *until*
    returns when everything ends here, in seconds since 1970.
    """

    def __init__(
        self,
        policy: Task,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        queued: Envelope | None,
        until: Callable[[], float],
    ) -> None:
        super().__init__(name_of(policy))
        self.policy = policy
        self.attempts = 0
        self.queued = queued
        self.is_asynchronous = is_coroutine_function(policy.function)
        self.args = args
        self.kwargs = kwargs
        self._until = until
        self._call = self._attempt_async if self.is_asynchronous else self._attempt

    def is_wanted_after(self, *, succeeded: bool) -> bool:
        """Say whether its policy wants it after this outcome."""
        return self.policy.on == "always" or (self.policy.on == "success") == succeeded

    def is_out_of_time(self, error: BaseException) -> bool:
        """Say whether *error* is what ends the attempts here for want of time."""
        return isinstance(error, OutOfTime)

    def _attempt(self) -> Any:
        while True:
            started_at = self._begin_attempt()
            try:
                result = self.policy.function(*self.args, **self.kwargs)
            except Exception as error:
                time.sleep(self._pause_after(error))
            else:
                self.policy.record(time.time() - started_at)
                return result

    async def _attempt_async(self) -> Any:
        import asyncio

        while True:
            started_at = self._begin_attempt()
            try:
                async with asyncio.timeout(self.policy.timeout):
                    result = await self.policy.function(*self.args, **self.kwargs)
            except Exception as error:
                await asyncio.sleep(self._pause_after(error))
            else:
                self.policy.record(time.time() - started_at)
                return result

    def _begin_attempt(self) -> float:
        # What cannot go anywhere else is tried, however little time there is.
        if self.queued is not None and not self._fits_after(0.0):
            raise OutOfTime(f"background task {self.name} does not fit before the deadline")
        self.attempts += 1
        return time.time()

    def _pause_after(self, error: Exception) -> float:
        """Return how long to wait before the next attempt; raise what ends the attempts here."""
        if self.attempts > self.policy.retries:
            raise error
        pause = self.policy.delay(self.attempts)
        if not self._fits_after(pause):
            if self.queued is None:
                raise error
            raise OutOfTime(f"background task {self.name} has no time for another attempt") from error
        what = "background task %s failed, attempt %d of %d, the next in %.2f s: %s: %s"
        kind = type(error).__name__
        tell(log, logging.WARNING, what, self.name, self.attempts, self.policy.retries + 1, pause, kind, error)
        return pause

    def _fits_after(self, pause: float) -> bool:
        return time.time() + pause + (self.policy.expected or 0.0) <= self._until()

    def let_go(self) -> None:
        """Forget the work and its arguments."""
        super().let_go()
        self.args, self.kwargs, self.queued = (), {}, None


class Supervision:
    """
    The registered tasks of one invocation.

    *end* is told of each that a queue has taken, or refused. *until* returns
    when everything ends here, in seconds since 1970. The queues have half of
    what is then left before the deadline, or twice *grace* seconds if that is
    less.
    """

    def __init__(
        self,
        invocation: Invocation,
        end: Callable[[BackgroundTask, str], None],
        until: Callable[[], float],
        grace: float,
    ) -> None:
        self._invocation = invocation
        self._end = end
        self._until = until
        self._grace = grace
        self._by_key: dict[tuple[str, str], SupervisedTask] = {}
        self._running: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._waiting: dict[int, list[SupervisedTask]] = {}
        self._overflowing: set[SupervisedTask] = set()
        self._senders: set[int] = set()
        self._tasks: list[SupervisedTask] = []
        self._prepares = self._finished = False

    def task(self, policy: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[SupervisedTask, bool]:
        """
        Return the task for this call, and whether it is a new one: if not, there has been a call with its key.

        Raises:
            TypeError, ValueError: Its arguments could not go to its queue.
        """
        queued = None
        if policy.overflow is not None:
            origin = {"request_id": self._invocation.request_id, "function_arn": self._invocation.function_arn or ""}
            queued = policy.envelope(args, kwargs, origin=origin, trace=self._invocation.trace_id)
            policy.overflow.check(queued)
        task = SupervisedTask(policy, args, kwargs, queued, self._until)
        if policy.dedupe_key is not None:
            first = self._by_key.setdefault((policy.name, policy.dedupe_key(*args, **kwargs)), task)
            if first is not task:
                return first, False
        self._tasks.append(task)
        return task, True

    def prepare(self, until: float) -> None:
        """
        Make the queues ready when half of the time until *until* is over and there is still work that they may get.

        The first send costs a small function seconds: libraries, credentials, certificates.
        """
        sinks = {id(task.policy.overflow): task.policy.overflow for task in self._tasks if task.queued is not None}
        ready = [prepare for sink in sinks.values() if (prepare := getattr(sink, "prepare", None)) is not None]
        if not ready or self._prepares:
            return
        self._prepares = True
        half = max(0.0, until - time.time()) / 2

        def prepare_later() -> None:
            with self._changed:
                if self._changed.wait_for(lambda: self._finished, min(half, _AN_HOUR)):
                    return
            if not all(task.done() for task in self._tasks):
                for prepare in ready:
                    prepare()

        start_daemon(SENDER, prepare_later)

    # How many at once...

    def holds_back(self, task: BackgroundTask) -> bool:
        """Say whether as many of its kind are running as may."""
        if not isinstance(task, SupervisedTask) or task.policy.max_concurrency is None:
            return False
        return self._running[task.policy.name] >= task.policy.max_concurrency

    def begun(self, task: BackgroundTask) -> None:
        """Count it in."""
        if isinstance(task, SupervisedTask):
            self._running[task.policy.name] += 1

    def ended(self, task: BackgroundTask) -> None:
        """Count it out."""
        if isinstance(task, SupervisedTask):
            self._running[task.policy.name] -= 1

    # What does not fit...

    def overflow(self, task: BackgroundTask) -> bool:
        """Send *task* to its queue, in a thread and with others; say whether it has one."""
        if not isinstance(task, SupervisedTask) or task.queued is None:
            return False
        sink = task.policy.overflow
        assert sink is not None
        with self._changed:
            if task in self._overflowing:
                return True
            self._overflowing.add(task)
            task._cancel = cannot_cancel
            task.queued.attempt += task.attempts
            self._waiting.setdefault(id(sink), []).append(task)
            if id(sink) in self._senders:
                return True
            self._senders.add(id(sink))
        # Each sink has a thread: one that hangs does not take the others' time.
        if start_daemon(SENDER, self._send_to, sink) is None:
            self._send_to(sink)
        return True

    def finish(self) -> None:
        """Wait until everything has been sent or the time is up, and refuse what is left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._senders, max(0.0, self._sent_until() - time.time()))
            self._waiting = {}
            for task in self._overflowing:
                self._refuse(task, NOT_HEARD)

    def tell_destinations(self, lost: Iterable[tuple[BackgroundTask, TaskReport]]) -> None:
        """Send a record of each task that was lost to the destination that it has for that."""
        records: dict[int, tuple[Sink, dict[Envelope, Task]]] = {}
        for task, report in lost:
            if isinstance(task, SupervisedTask) and task.policy.on_failure is not None:
                try:
                    called = task.queued or task.policy.envelope(task.args, task.kwargs)
                    record = FailureRecord(called, report, self._invocation)
                except (TypeError, ValueError) as error:  # arguments that have no JSON form
                    tell(log, logging.ERROR, "the failure of background task %s cannot be told: %s", task.name, error)
                else:
                    sink = task.policy.on_failure
                    records.setdefault(id(sink), (sink, {}))[1][record] = task.policy
        for sink, batch in records.values():
            for refused, why in refused_within(sink, list(batch), self._sent_until()):
                what = "the destination for the failure of background task %s has not taken it: %s: %s"
                tell(log, logging.ERROR, what, refused.task, why, batch[refused].loggable(refused))

    def _sent_until(self) -> float:
        until = self._until()
        return min(until + 2 * self._grace, (until + self._invocation.deadline) / 2)

    def _send_to(self, sink: Sink) -> None:
        while True:
            with self._changed:
                batch = self._waiting.pop(id(sink), [])
                if not batch:
                    self._senders.discard(id(sink))
                    self._changed.notify_all()
                    return
            envelopes = [task.queued for task in batch if task.queued is not None]
            reasons = {id(envelope): why for envelope, why in _refused(sink, envelopes, self._sent_until())}
            # Told and ended at once: at the end of the time `finish` does the same.
            with self._changed:
                for task in batch:
                    if id(task.queued) in reasons:
                        self._refuse(task, reasons[id(task.queued)])
                    else:
                        self._end(task, OVERFLOWED)

    def _refuse(self, task: SupervisedTask, why: str) -> None:
        if not task.done() and task.queued is not None:
            what = "background task %s is lost, its queue has not taken it: %s: %s"
            tell(log, logging.ERROR, what, task.name, why, task.policy.loggable(task.queued))
            self._end(task, DROPPED)


NOT_HEARD = "there was no time left to hear whether it had been taken"


def refused_within(sink: Sink, envelopes: Sequence[Envelope], until: float) -> list[tuple[Envelope, str]]:
    """Send *envelopes* and return at *until* which were not taken, and why, whatever *sink* does."""
    answers: list[list[tuple[Envelope, str]]] = []

    def send() -> None:
        answers.append(_refused(sink, envelopes, until))

    thread = start_daemon(SENDER, send)
    if thread is None:
        send()
    else:
        thread.join(max(0.0, until - time.time()))
    return answers[0] if answers else [(envelope, NOT_HEARD) for envelope in envelopes]


def _refused(sink: Sink, envelopes: Sequence[Envelope], until: float) -> list[tuple[Envelope, str]]:
    try:
        return [(envelope, why) for envelope, why in sink.send(envelopes, max(0.0, until - time.time()))]
    except BaseException as error:  # a sink of the function's own may raise anything, and return anything
        return [(envelope, f"{type(error).__name__}: {as_text(error)}") for envelope in envelopes]


_AN_HOUR = 3600.0
