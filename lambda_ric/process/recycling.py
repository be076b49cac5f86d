"""
Whether the process serves another event, and what becomes of it when it does not.

    served ──┬── it was interrupted ──┬── a start fits into the time left ──▶ replaced
             │                        └── it does not ─────────────────────▶ ended
             ├── it is worn out ──┬── a start fits ──▶ replaced
             │                    └── it does not ───▶ goes on, and is asked again after the next event
             └── neither ──▶ goes on

It is replaced by a fresh interpreter under the same process id, which Lambda does not notice; or it exits, and Lambda
starts another one. Both have to leave as little behind as the end of an environment does: no descriptor with a
half-read answer or an open transaction, no lock on a file, no child that shares one of them, no signal that is ignored.

Loaded when a setting asks for it, or after the first interruption.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import logging
import os
import sys
import time

from lambda_ric.failures import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from lambda_ric.settings import Settings, Start

log: logging.Logger = logging.getLogger("lambda_ric.recycling")


class Recycling:
    """
    Looks after every event whether it was the last one for this process, which was *start*ed with *settings*.

    Its init took *init_seconds*, and the functions that run at its end may take *closing_seconds*.
    """

    def __init__(self, settings: Settings, start: Start, init_seconds: float, closing_seconds: float) -> None:
        self.is_due: bool = False
        """Whether the process has served its last event."""
        self.replaces: bool = False
        """Whether there is time to replace it; else it ends."""
        self._after = settings.recycle_after
        self._above_mb = settings.recycle_above_mb
        self._on_error = settings.recycle_on_error
        self._telemetry_fd = settings.telemetry_fd
        self._start = start
        # What replaces a process was itself started with the processor of an invocation.
        slower = _slower_than_init(settings.memory_mb) if settings.recycled == "no" else 1.0
        self._needed = _MARGIN * slower * (init_seconds + _INTERPRETER) + closing_seconds
        self._served = 0
        self._has_failed = self._is_put_off = False
        memory = _resident_mb() if self._above_mb else 0
        if memory > self._above_mb:
            what = "the function has %d MB in memory before its first event: LAMBDA_RIC_RECYCLE_ABOVE_MB=%d is not used"
            tell(log, logging.WARNING, what, memory, self._above_mb)
            self._above_mb = 0

    def look(self, deadline: float, *, failed: bool, interrupted: bool) -> None:
        """
        Look at the process after an event that had to end at *deadline*, in seconds since 1970.

        *interrupted* is whether nothing of the process may be used any more.

        Raises:
            SystemExit: It was its last one.
        """
        self._served += 1
        self._has_failed = self._has_failed or failed
        reason = INTERRUPTED if interrupted else self._is_worn_out()
        if not reason:
            return
        # To Lambda the last invocation goes on until the new process asks for an event.
        left = deadline - time.time()
        times = f"a start may take {self._needed:.1f} s, and the function's timeout leaves {max(left, 0):.1f} s"
        if left >= self._needed:
            tell(log, logging.WARNING, "the process is replaced by a new one: %s", reason)
            self.is_due = self.replaces = True
            raise SystemExit
        if interrupted:
            tell(log, logging.WARNING, "the process ends, and Lambda starts a new one: %s; %s", reason, times)
            self.is_due = True
            raise SystemExit
        if not self._is_put_off:
            tell(log, logging.WARNING, "the process is not replaced yet, though %s: %s", reason, times)
            self._is_put_off = True

    def replace(self, *, registered: bool) -> None:
        """
        Become a new process, which need not register an extension if one is *registered*.

        It gets what this one got when it was started. Returns, with an error
        in the log, only if the system refuses.
        """
        start = self._start
        environ = {**start.environ, b"LAMBDA_RIC_RECYCLED": b"registered" if registered else b"yes"}
        self._end_children()
        try:
            start.hide_descriptors_opened_since()
            if self._telemetry_fd is not None:
                os.set_inheritable(self._telemetry_fd, True)
            _forget_signals(start)
            os.umask(start.umask)
            os.chdir(start.directory)
            os.execve(sys.executable, sys.orig_argv, environ)
        except (OSError, ValueError) as error:
            tell(log, logging.ERROR, "the process cannot be replaced, and ends: %s", error)

    def end(self) -> NoReturn:
        """Exit, as if it were killed: no destructor, no `atexit` function, no thread finishes what it was at."""
        self._end_children()
        os._exit(EXIT_AFTER_INTERRUPTION)

    def _end_children(self) -> None:
        try:
            from .children import end_all  # a process that goes on does not need it

            end_all(self._start.since_boot)
        except (OSError, ImportError) as error:
            tell(log, logging.WARNING, "child processes may go on: %s", error)

    def _is_worn_out(self) -> str:
        if self._after and self._served >= self._after:
            return f"it has served {self._served} (LAMBDA_RIC_RECYCLE_AFTER)"
        if self._on_error and self._has_failed:
            return "an invocation failed (LAMBDA_RIC_RECYCLE_ON_ERROR)"
        if self._above_mb and (memory := _resident_mb()) > self._above_mb:
            return f"it has {memory} MB in memory (LAMBDA_RIC_RECYCLE_ABOVE_MB)"
        return ""


EXIT_AFTER_INTERRUPTION = 1

INTERRUPTED = "it was interrupted, and what that has left half-done is unknown (LAMBDA_RIC_AFTER_TIMEOUT=replace)"

# The share of a processor grows with the memory, up to a whole one:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html. During its init a function has a whole one.
_MB_OF_ONE_CPU = 1769
# Seconds until Python runs our first line, which nobody has measured.
_INTERPRETER = 0.05
_MARGIN = 1.5


def _slower_than_init(memory_mb: int) -> float:
    return max(1.0, _MB_OF_ONE_CPU / memory_mb) if memory_mb else 1.0


def _forget_signals(start: Start) -> None:
    """Undo what would be inherited: timers, signals that are ignored, held back or on their way."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    for number in signal.valid_signals() - _LEFT_ALONE:
        try:
            signal.signal(number, signal.SIG_IGN)  # which drops one that has not been delivered yet
            signal.signal(number, signal.SIG_DFL)
        except OSError:
            pass  # nobody may handle it
    signal.pthread_sigmask(signal.SIG_SETMASK, start.signal_mask)


# Python ignores the first two; a terminal, or who starts a process in the background, says so of the others.
_LEFT_ALONE = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}


def _resident_mb() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:  # macOS
        return 0
