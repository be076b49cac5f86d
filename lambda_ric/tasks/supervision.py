"""
The registered tasks of one invocation: their limits, their queues, and the destinations of those that were lost.

Loaded when the first task with a policy is handed over. It knows the registry of background work; that knows nothing of
policies, but for a slot and a place to go to.
"""

from __future__ import annotations

import functools
import logging
import time

from lambda_ric.background.work import UNCONFIRMED, Slot, Work
from lambda_ric.failures import tell
from lambda_ric.threads import SENDER, start_daemon

from .attempts import SupervisedWork
from .failure_record import FailureRecord
from .sending import Sending, reasons_within
from .sink import Unconfirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambda_ric.background.drain import Background
    from lambda_ric.background.report import TaskReport
    from lambda_ric.protocol import Invocation

    from .envelope import Envelope
    from .policy import Task
    from .sink import Sink

log: logging.Logger = logging.getLogger("lambda_ric.background")


class Supervision:
    """
    The tasks with a policy among the work of *background*, for *invocation*.

    The queues have half of what is left before the deadline when everything
    has ended here, or half of the margin if that is less.
    """

    def __init__(self, background: Background, invocation: Invocation) -> None:
        self._registry = background.registry
        self._invocation = invocation
        self._grace = background.grace
        self._background_until = background.until
        self._ended_at = 0.0
        self._key = next(iter(background.settings.task_keys), None)
        self._by_key: dict[tuple[str, str], SupervisedWork] = {}
        self._slots: dict[str, Slot] = {}
        self._works: list[SupervisedWork] = []
        self._sending = Sending(background.registry, self._sent_until)
        self._lost: dict[int, tuple[Sink, dict[Envelope, Task]]] = {}

    @classmethod
    def of(cls, background: Background, invocation: Invocation) -> Supervision:
        """Return the one of *background*, which is made for its first task with a policy."""
        supervision = background.supervised_by(lambda: cls(background, invocation))
        assert isinstance(supervision, cls)
        return supervision

    def hand_over(self, policy: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
        """
        Have a call of the task *policy* run; if there has been one with its key, return that.

        Raises:
            TypeError, ValueError: Its arguments could not go to its queue.
            RuntimeError: The invocation has ended.
        """
        queued = None
        if policy.overflow is not None:
            origin = {"request_id": self._invocation.request_id, "function_arn": self._invocation.function_arn or ""}
            queued = policy.envelope(args, kwargs, origin=origin, trace=self._invocation.trace_id, key=self._key)
            policy.overflow.check(queued)
        work = SupervisedWork(policy, args, kwargs, queued, lambda: self._registry.until)
        if policy.max_concurrency is not None:
            work.slot = self._slots.setdefault(policy.name, Slot(policy.max_concurrency))
        if queued is not None:
            work.elsewhere = functools.partial(self._sending.send, work)
        if policy.dedupe_key is not None:
            first = self._by_key.setdefault((policy.name, policy.dedupe_key(*args, **kwargs)), work)
            if first is not work:
                self._registry.check_open()
                return first
        self._works.append(work)
        self._registry.add(work)
        if queued is not None:
            prepare = policy.take_preparation()
            if prepare is not None:
                start_daemon(SENDER, prepare)
            if policy.on == "always" and not work.fits_before(self._ends_at()):
                self._registry.hand_on(work)
        return work

    # In the drain...

    def drain_begins(self, until: float, *, succeeded: bool) -> None:
        """Let those leave first that do not fit before *until*, in seconds since 1970: for their queues."""
        self._sending.hold()
        for work in self._works:
            if not work.fits_before(until) and work.is_wanted_after(succeeded=succeeded):
                self._registry.hand_on(work)
        self._sending.release()

    def drain_ends(self) -> None:
        """Wait until everything has been sent or the time is up, and end what is left."""
        self._ended_at = time.time()
        self._sending.finish()

    def work_was_lost(self, work: Work, report: TaskReport) -> None:
        """Have *work* told to the destination that it has for that, if it has one."""
        if not isinstance(work, SupervisedWork) or work.policy.on_failure is None or work.state == UNCONFIRMED:
            return  # of what its queue may have, nobody knows that it has failed
        try:
            record = FailureRecord(
                work.queued or work.policy.envelope(work.args, work.kwargs), report, self._invocation
            )
        except (TypeError, ValueError) as error:  # arguments that have no JSON form
            tell(log, logging.ERROR, "the failure of background task %s cannot be told: %s", work.name, error)
        else:
            sink = work.policy.on_failure
            self._lost.setdefault(id(sink), (sink, {}))[1][record] = work.policy

    def tell_losses(self) -> None:
        """Send the records of lost work to their destinations, and log those that have not arrived."""
        for sink, records in self._lost.values():
            reasons = reasons_within(sink, list(records), self._sent_until())
            for record, policy in records.items():
                if id(record) in reasons:
                    why = reasons[id(record)]
                    what = "the destination for the failure of background task %s has not taken it: %s: %s"
                    if isinstance(why, Unconfirmed):
                        what = "the destination for the failure of background task %s may have it, and may not: %s: %s"
                    tell(log, logging.ERROR, what, record.task, why, policy.loggable(record))

    def _ends_at(self) -> float:
        return min(self._registry.until, self._background_until)

    def _sent_until(self) -> float:
        until, deadline = self._ends_at(), self._invocation.deadline
        # Queues have their turn even when what was before them took their time as well: a handler at SIGTERM, say.
        ended_at = self._ended_at or max(until, time.time())
        return max(
            min(until + 2 * self._grace, (until + deadline) / 2),
            min(ended_at + self._grace, (ended_at + deadline) / 2),
        )
