"""
What the slots of one worker share, and the state of the worker.

    serving ──leave──▶ leaving ──its last poller ends──▶ ended
       │                  │
       └──── drain ───────┴──▶ draining ──nobody is at work──▶ ended

How many pollers there are, which of them run late or are detached, and whether the worker leaves, is guarded by the
lock; nothing of the function's is called while it is held. A worker that leaves takes one more event on each connection
that has asked for one: the platform would give it to nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from contextvars import Context

from lambda_ric.callables import name_of
from lambda_ric.failures import exc_info, tell
from lambda_ric.threads import start_daemon

from .loops import MainLoop
from .turns import Desk, SlotServing
from .watch import Watch
from .worker import Post

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Protocol

    from lambda_ric.logs import Logs
    from lambda_ric.runtime import Runtime
    from lambda_ric.settings import Address, Settings

    class AtWork(Protocol):
        """Whoever serves invocations, one at a time."""

        serving: SlotServing | None
        """What it is at."""

    class Runner(AtWork, Protocol):
        """Whoever does so in a thread."""

        def run(self) -> None:
            """Do all that there is to do; never raises."""


log: logging.Logger = logging.getLogger("lambda_ric.managed")


class Pool:
    """All slots of this worker, as its *post* has them, for the function of *runtime*."""

    def __init__(self, runtime: Runtime, settings: Settings, logs: Logs, post: Post) -> None:
        self.runtime = runtime
        self.post = post
        self.logs = logs
        self.address: Address = post.address
        self.detaches: bool = settings.detaches
        self.watch: Watch = Watch()
        self.main_loop: MainLoop = MainLoop(runtime.event_loop)
        self._fate_of_orphans = settings.orphans
        self.is_leaving: bool = False
        """Whether no more events are to be asked for."""
        self._lock = threading.Lock()
        self._pollers: set[AtWork] = set()
        self._late: set[object] = set()
        """Pollers and tasks that are still at work though their time is up."""
        self._detached: set[AtWork] = set()
        self._drains = False
        self._code = 0

    def desk(self, slot: int) -> Desk:
        """Return a new desk for *slot*."""
        return Desk(self.runtime, self.post, slot, self.watch, self.main_loop, self.left_behind, self._fate_of_orphans)

    def run(self) -> int:
        """Stay until the worker has left; return its exit code. What a signal handler raises comes out here."""
        self.main_loop.run()
        return self._code

    def drain(self, until: float) -> None:
        """Ask for no more events, and let what is at work end until *until*, in seconds since 1970."""
        self.is_leaving = self._drains = True
        now = time.time()
        with self._lock:
            pollers = list(self._pollers)
        for poller in pollers:
            serving = poller.serving
            if serving is not None:
                serving.hurry(now + (until - now) / 3, now + (until - now) * 0.8)
        if self._is_busy():
            self.main_loop.run(until - now)

    def add(self, poller: AtWork) -> None:
        """Take note that *poller* serves here."""
        with self._lock:
            self._pollers.add(poller)

    def start(self, poller: Runner) -> None:
        """Have *poller* run, in a thread that belongs to no invocation."""
        self.add(poller)
        if Context().run(start_daemon, "lambda_ric.slot", poller.run) is None:
            with self._lock:
                self._pollers.discard(poller)
            tell(
                log, logging.ERROR, "no thread could be started for a slot: another worker takes the place of this one"
            )
            self.leave("no thread is to be had")

    def ended(self, poller: AtWork) -> None:
        """Take note that *poller* has ended."""
        with self._lock:
            self._pollers.discard(poller)
            self._late.discard(poller)
            self._detached.discard(poller)
            is_last = not self._pollers
        if is_last or (self._drains and not self._is_busy()):
            self.main_loop.stop()

    def detach(self, poller: AtWork) -> bool:
        """Say whether *poller* may finish beside its slot: not if as many do as there are slots."""
        with self._lock:
            if len(self._detached) >= len(self.post.slots) or self.is_leaving:
                return False
            self._detached.add(poller)
            return True

    def left_behind(self, task: asyncio.Task[Any]) -> None:
        """Take note, on the event loop, that *task* goes on though nobody waits for it; its end is told."""
        left_at = time.time()

        def ended(task: asyncio.Task[Any]) -> None:
            error = None if task.cancelled() else task.exception()
            what = "%s, for which nobody waited any longer, has ended %.1f s after that: what came of it is lost"
            told = exc_info(error) if error is not None else None
            tell(log, logging.WARNING, what, name_of(task), time.time() - left_at, exc_info=told)

        task.add_done_callback(ended)
        self.runs_on(task)

    def runs_on(self, task: asyncio.Task[Any]) -> None:
        """Take note, on the event loop, that *task* runs late, until it ends."""

        def ended(task: asyncio.Task[Any]) -> None:
            with self._lock:
                self._late.discard(task)

        if not task.done():
            self.runs_late(task)
            task.add_done_callback(ended)

    def runs_late(self, what: object) -> None:
        """Take note that *what*, a poller or a task, is still at work though its time is up."""
        with self._lock:
            self._late.add(what)
            is_full = len(self._late) >= len(self.post.slots)
        if is_full:
            self.leave("as many handlers as it has slots are at work though their time is up")

    def leave(self, reason: str) -> None:
        """Have another worker in the place of this one, which ends what it has begun."""
        with self._lock:
            if self.is_leaving:
                return
            self.is_leaving = True
        tell(log, logging.WARNING, "the worker is replaced by a new one: %s", reason)
        self.post.leave()

    def end(self, code: int) -> None:
        """End the worker with that *code*."""
        self.is_leaving = True
        self._code = code
        self.main_loop.stop()

    def _is_busy(self) -> bool:
        with self._lock:
            return any(poller.serving is not None for poller in self._pollers)
