"""
Replacing the process between two invocations: a fresh interpreter under the same process id.

Loaded when a setting asks for it.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import logging
import math
import os
import sys
import time

from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .protocol import Invocation
    from .settings import Settings

log = logging.getLogger("lambda_ric.recycling")


class Recycling:
    """Decides before each poll whether the process is worn out; made before the function's code is loaded."""

    def __init__(self, settings: Settings) -> None:
        self.due = False
        """Whether the process is to be replaced now."""
        self._after = settings.recycle_after
        self._above_mb = settings.recycle_above_mb
        self._on_error = settings.recycle_on_error
        self._telemetry_fd = settings.telemetry_fd
        self._environ = _environ_at_start()
        self._directory = os.getcwd()
        self._began_at = time.time()
        self._needed = 0.0
        self._served = 0
        self._deadline = math.inf
        self._postponed = False

    def initialised(self) -> None:
        """Take this moment for the end of the start, to know how long one takes."""
        self._needed = _TIMES * (time.time() - self._began_at) + _AT_LEAST
        memory = _resident_mb() if self._above_mb else 0
        if memory > self._above_mb:
            what = "the function has %d MB in memory before its first event: LAMBDA_RIC_RECYCLE_ABOVE_MB=%d is not used"
            tell(log, logging.WARNING, what, memory, self._above_mb)
            self._above_mb = 0

    def wait(self, next_event: Callable[[], Invocation], failed: Callable[[], bool]) -> Invocation:
        """
        Return what *next_event* returns.

        Raises:
            SystemExit: It was not asked, for the process is *due*.
        """
        reason = self._reason(failed) if self._served else ""
        if reason and self._is_time_left(reason):
            tell(log, logging.WARNING, "the process is replaced by a new one: %s", reason)
            self.due = True
            raise SystemExit
        invocation = next_event()
        self._served += 1
        self._deadline = invocation.deadline
        return invocation

    def replace(self, *, registered: bool) -> None:
        """
        Become a new process, which need not register an extension if one is *registered*.

        It gets what this one got when it was started. Returns, with an error
        in the log, only if the system refuses.
        """
        environ = {**self._environ, b"LAMBDA_RIC_RECYCLED": b"registered" if registered else b"yes"}
        try:
            if self._telemetry_fd is not None:
                os.set_inheritable(self._telemetry_fd, True)
            # They would go on, and end a process that does not expect them.
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            os.chdir(self._directory)
            os.execve(sys.executable, sys.orig_argv, environ)
        except (OSError, ValueError) as error:
            tell(log, logging.ERROR, "the process cannot be replaced, and ends: %s", error)

    def _reason(self, failed: Callable[[], bool]) -> str:
        if self._after and self._served >= self._after:
            return f"it has served {self._served} (LAMBDA_RIC_RECYCLE_AFTER)"
        if self._on_error and failed():
            return "its last invocation failed (LAMBDA_RIC_RECYCLE_ON_ERROR)"
        if self._above_mb and (memory := _resident_mb()) > self._above_mb:
            return f"it has {memory} MB in memory (LAMBDA_RIC_RECYCLE_ABOVE_MB)"
        return ""

    def _is_time_left(self, reason: str) -> bool:
        # To Lambda the last invocation goes on until the new process asks for an event.
        left = self._deadline - time.time()
        if left >= self._needed:
            return True
        if not self._postponed:
            tell(
                log,
                logging.WARNING,
                "the process is not replaced yet, though %s: a start may take %.1f s, and the function's timeout "
                "leaves %.1f s",
                reason,
                self._needed,
                left,
            )
            self._postponed = True
        return False


def _environ_at_start() -> dict[bytes, bytes]:
    # As it was before sitecustomize: OpenTelemetry's, for one, takes its own directory out of PYTHONPATH.
    try:
        with open("/proc/self/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:  # macOS
        return dict(os.environb)
    return {name: value for name, equals, value in (variable.partition(b"=") for variable in variables) if equals}


def _resident_mb() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:  # macOS
        return 0


# During its init Lambda gives a function more of a processor than in an invocation.
_TIMES = 3
_AT_LEAST = 1.0
