"""
Envelopes on their way to queues and destinations, within a time.
"""

from __future__ import annotations

import logging
import threading
import time

from lambda_ric.background.work import DROPPED, OVERFLOWED, UNCONFIRMED
from lambda_ric.failures import as_text, tell
from lambda_ric.threads import SENDER, start_daemon

from .sink import Unconfirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambda_ric.background.registry import Registry

    from .attempts import SupervisedWork
    from .envelope import Envelope
    from .sink import Sink

log: logging.Logger = logging.getLogger("lambda_ric.background")

NOT_SENT = "there was no time left to send it"
NOT_HEARD = Unconfirmed("no answer was heard in time")

# Seconds. What leaves for the same queue within a moment of each other goes together: a request is dearer than what it
# carries.
_A_MOMENT = 0.001
_LONGEST_GATHERING = 0.01

# Seconds that are kept for hearing a sink that takes all of its time; a quarter of the time, where that is less.
_HEARING = 0.05


class Sending:
    """
    Work that leaves for its queue.

        waiting ──▶ under way ┬─ its sink took it ──────────▶ overflowed
           │                  ├─ its sink gave a reason ────▶ dropped
           │                  └─ nobody knows ──────────────▶ unconfirmed
           └── the time is up ───────────────────────────────▶ dropped

    What leaves at about the same time is given to its sink in one call, in a thread of its own, so that a sink that
    hangs does not take anybody else's time. `_changed` guards which work is waiting and which under way: who moves work
    from there to its end holds it, so each has one end, and what has been called lost is never sent.

    *registry* is told of the ends; *until* returns when they are all known, in seconds since 1970.
    """

    def __init__(self, registry: Registry, until: Callable[[], float]) -> None:
        self._registry = registry
        self._until = until
        self._changed = threading.Condition()
        self._left: set[SupervisedWork] = set()
        self._waiting: dict[int, dict[SupervisedWork, None]] = {}
        self._under_way: set[SupervisedWork] = set()
        self._senders = 0
        self._held = self._is_last_call = False

    def send(self, work: SupervisedWork) -> None:
        """Have *work* sent to its queue, together with what leaves for that in a moment; unless it has left before."""
        sink = work.policy.overflow
        assert sink is not None
        assert work.queued is not None
        with self._changed:
            if work in self._left:
                return
            work.queued.attempt = 1 + work.attempts
            waiting = self._waiting.setdefault(id(sink), {})
            is_first = not waiting
            waiting[work] = None
            self._left.add(work)
            if not is_first:
                return
            self._senders += 1
        if start_daemon(SENDER, self._send_to, sink) is None:
            self._send_to(sink, gathering=False)

    def hold(self) -> None:
        """Send nothing before `release`: more is about to leave."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Send what has left since `hold`."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything was sent and answered, or the time is up; and end what is left."""
        with self._changed:
            self._is_last_call = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._senders, max(0.0, self._until() - time.time()))
            for works in self._waiting.values():
                for work in works:
                    self._end(work, NOT_SENT)
            self._waiting = {}
            for work in self._under_way:
                self._end(work, NOT_HEARD)
            self._under_way = set()

    def _send_to(self, sink: Sink, *, gathering: bool = True) -> None:
        with self._changed:
            if gathering:
                self._gather(sink)
            works = self._waiting.pop(id(sink), {})
            self._under_way.update(works)
        envelopes = [work.queued for work in works if work.queued is not None]
        reasons = _reasons(sink, envelopes, self._until()) if envelopes else {}
        with self._changed:
            for work in works:
                if work in self._under_way:
                    self._under_way.discard(work)
                    self._end(work, reasons.get(id(work.queued)))
            self._senders -= 1
            self._changed.notify_all()

    def _gather(self, sink: Sink) -> None:
        """Wait while more work leaves for *sink*; hold the lock."""
        longest = time.monotonic() + _LONGEST_GATHERING
        while not self._is_last_call:
            before = len(self._waiting.get(id(sink), ()))
            self._changed.wait(None if self._held else _A_MOMENT)
            is_all = len(self._waiting.get(id(sink), ())) == before or time.monotonic() >= longest
            if is_all and not self._held:
                return

    def _end(self, work: SupervisedWork, reason: str | None) -> None:
        """End *work*, which was not taken for that *reason*, or was; hold the lock, so that there is one end of it."""
        if work.has_ended or work.queued is None:
            return
        if reason is None:
            self._registry.end(work, OVERFLOWED)
            return
        is_open = isinstance(reason, Unconfirmed)
        what = "background task %s is lost, its queue has not taken it: %s: %s"
        if is_open:
            what = "background task %s is unconfirmed, its queue may have it, and may not: %s: %s"
        tell(log, logging.ERROR, what, work.name, reason, work.policy.loggable(work.queued))
        self._registry.end(work, UNCONFIRMED if is_open else DROPPED)


def reasons_within(sink: Sink, envelopes: Sequence[Envelope], until: float) -> dict[int, str]:
    """
    Send *envelopes*, and return at *until* the reasons of those that were not taken, whatever *sink* does.

    *until* is in seconds since 1970; the reasons are by the identity of the envelope.
    """
    answers: list[dict[int, str]] = []

    def send() -> None:
        answers.append(_reasons(sink, envelopes, until))

    thread = start_daemon(SENDER, send)
    if thread is None:
        send()
    else:
        thread.join(max(0.0, until - time.time()))
    return answers[0] if answers else {id(envelope): NOT_HEARD for envelope in envelopes}


def _reasons(sink: Sink, envelopes: Sequence[Envelope], until: float) -> dict[int, str]:
    left = max(0.0, until - time.time())
    try:
        # A sink that takes all of its time is still heard.
        refused = sink.send(envelopes, left - min(_HEARING, left / 4))
        return {id(envelope): why for envelope, why in refused}
    except BaseException as error:  # a sink of the function's own may raise anything, and return anything
        # It may have done so half-way.
        why = Unconfirmed(f"its sink did not say: {type(error).__name__}: {as_text(error)}")
        return {id(envelope): why for envelope in envelopes}
