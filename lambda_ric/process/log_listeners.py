"""
The function's own log handlers, which hear of the runtime's records as they hear of all others.

A handler may wait for a collector that never answers. Within a handler's time the soft deadline ends that; after the
response nothing does, and the main thread has to ask Lambda for the next event. So they are called on a daemon thread,
one record after the other. The thread ends when it has no more to tell: one that waits would make every fork of the
function's that of a process with threads.

    silent ──tell()──▶ telling ──all is told──▶ silent
                         │  ▲
  finish() has seen it   │  │a handler has returned after all
          standing still ▼  │
                        hanging

Nobody waits for handlers that hang. What they have not heard is in the log all the same: the runtime writes it first.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections import deque
from contextvars import copy_context

from lambda_ric.failures import remade, tell_on_stderr, traceback_text
from lambda_ric.threads import start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    _Telling = tuple[Context, logging.LogRecord, Sequence[logging.Handler], logging.Logger | None]


class LogListeners:
    """All of them; *hanging* are the names of those that have not returned in time."""

    def __init__(self) -> None:
        # Guards everything below. No code of the function's is called while it is held.
        self._changed = threading.Condition()
        self._records: deque[_Telling] = deque(maxlen=_MOST)
        self._is_telling = False
        self._hangs = False
        self._told_now: Sequence[logging.Handler] | None = None
        self._told_since = 0.0
        self._thread: threading.Thread | None = None

    def tell(
        self, record: logging.LogRecord, handlers: Sequence[logging.Handler], logger: logging.Logger | None = None
    ) -> None:
        """
        Have *handlers* called with *record*, in a copy of the caller's context, without waiting for them.

        If there is a *logger*, with a record as the function has that make one, and if its filters let it pass.
        """
        with self._changed:
            self._records.append((copy_context(), record, handlers, logger))
            if self._is_telling:
                return
            self._thread = start_daemon("lambda_ric.logging", self._tell_all)
            self._is_telling = self._thread is not None

    def finish(self, still: float, until: float) -> Sequence[logging.Handler] | None:
        """
        Wait until everything is told; but not on if a handler has stood still for *still* seconds.

        Nor beyond *until*, in seconds since 1970, nor ten seconds.

        Returns:
            The handlers that are waited for no longer, at the first time; else None.
        """
        until = min(until, time.time() + _LONGEST)
        with self._changed:
            if self._hangs or not self._is_telling:
                return None
            used = -1.0
            while used < (used := self._cpu_time()) and (now := time.time()) < until:
                if self._changed.wait_for(lambda: not self._is_telling, min(still, until - now)):
                    return None
            handlers = self._told_now
            if handlers is None or time.monotonic() - self._told_since < still / 10:
                return None  # the thread has not had its turn yet, or only just: nobody stands still
            self._hangs = True
        # It would wait for the lock of the handler at the end of the process.
        atexit.unregister(logging.shutdown)
        return handlers

    def _cpu_time(self) -> float:
        """Return the seconds that the thread, which tells, has computed for: waiting for a collector adds none."""
        assert self._thread is not None
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def _tell_all(self) -> None:
        while True:
            with self._changed:
                if not self._records:
                    self._is_telling, self._told_now = False, None
                    self._changed.notify_all()
                    return
                context, record, handlers, logger = self._records.popleft()
                self._told_now, self._told_since = handlers, time.monotonic()
            try:
                context.run(_call, record, handlers, logger)
            except BaseException:
                tell_on_stderr(f"a log handler of the function's failed:\n{traceback_text(*sys.exc_info())}\n")
            self._hangs = False


def _call(record: logging.LogRecord, handlers: Sequence[logging.Handler], logger: logging.Logger | None) -> None:
    if logger is not None:
        record = remade(logger, record)
        if not logger.filter(record):
            return
    # A logger, so that those hear of it, too, who have replaced Logger.callHandlers: Sentry's integration does.
    audience = logging.Logger(record.name)  # noqa: LOG001
    audience.handlers = [*handlers] or [logging.NullHandler()]
    audience.callHandlers(record)


_MOST = 1000
_LONGEST = 10.0  # seconds
