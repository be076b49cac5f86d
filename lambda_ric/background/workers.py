"""
Functions, in threads: as many as there is work for, up to a limit; each ends when there is no more.
"""

from __future__ import annotations

import threading
import time

from lambda_ric.callables import is_awaitable
from lambda_ric.threads import start_daemon

from .work import SUCCEEDED, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .registry import Registry

NAME = "lambda_ric.background"


class Threads:
    """
    The places for background work in threads of this process, *most* of them.

    A thread has its place until it ends, be that invocations later: so those that hang for good are never more than
    *most*. The lock guards the number of places alone, and nothing is called while it is held.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.abandoned: list[Work] = []
        """Work of the last invocation that had not ended with it."""
        self._free = most
        self._lock = threading.Lock()
        self._on_free: Callable[[], object] = _do_nothing

    @property
    def has_none_free(self) -> bool:
        """Whether no thread can be started."""
        return self._free == 0

    def take(self) -> bool:
        """Take a place for a thread, and say whether there was one."""
        with self._lock:
            if self._free == 0:
                return False
            self._free -= 1
            return True

    def give_back(self) -> None:
        """Give the place of a thread back that has ended; whoever waits for one is called."""
        with self._lock:
            self._free += 1
        self._on_free()

    def return_unused(self) -> None:
        """Give a place back that was taken for nothing."""
        with self._lock:
            self._free += 1

    def remember(self, abandoned: list[Work]) -> None:
        """Take note of the work of an invocation that had not ended with it."""
        self.abandoned = abandoned

    def call_when_free(self, on_free: Callable[[], object] | None) -> None:
        """Call *on_free*, and none that was given before, when a place becomes free."""
        self._on_free = on_free or _do_nothing


class Workers:
    """The *threads* that call what *registry* has for them; how many there are is guarded by its lock."""

    def __init__(self, registry: Registry, threads: Threads) -> None:
        self._registry = registry
        self._places = threads
        self._running = 0

    @property
    def is_stuck(self) -> bool:
        """Whether none of them runs, and none can be started, since all places are taken by threads that hang."""
        # Those of the last invocation are given the time of this one to end.
        return self._running == 0 and self._places.has_none_free and not self._places.abandoned

    def start(self) -> None:
        """Start a thread for each piece of work whose turn it is, as far as there may be more of them."""
        registry = self._registry
        while registry.calls and self._places.take():
            with registry.lock:
                work = self._next()
                if work is not None:
                    self._running += 1
            if work is None:
                self._places.return_unused()
                return
            if start_daemon(NAME, self._run, work) is None:  # no more threads are to be had
                with registry.lock:
                    self._running -= 1
                    others = self._running
                    if others:
                        registry.calls.put_back(work)
                    else:
                        registry.calls.leave(work)
                self._places.return_unused()
                if others:
                    return
                registry.fail(work, RuntimeError("no thread could be started"))

    def _next(self) -> Work | None:
        return self._registry.calls.take() if time.time() < self._registry.until else None

    def _run(self, work: Work | None) -> None:
        registry = self._registry
        while work is not None:
            self._call(work)
            with registry.lock:
                registry.calls.leave(work)
                work = self._next()
                if work is None:
                    self._running -= 1
        self._places.give_back()

    def _call(self, work: Work) -> None:
        registry = self._registry
        if work.call is None or not registry.begin(work):
            return
        try:
            result = work.context.run(work.call)
        except BaseException as error:  # SystemExit would end this thread only, and silently
            work.context.run(registry.fail, work, error)
            return
        if is_awaitable(result):
            registry.go_on_in_loop(work, result)
        else:
            work.context.run(registry.end, work, SUCCEEDED, result)


def _do_nothing() -> None:
    pass
