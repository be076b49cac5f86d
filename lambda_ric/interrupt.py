"""
Stopping code on the main thread when its time is up.

Python can interrupt what its main thread does, a blocking system call
included, in one way: a signal whose handler raises. The signal is SIGALRM; a
function that uses it itself keeps it, and is not interrupted.
"""

from __future__ import annotations

import signal
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType


class TimeUp(BaseException):
    """
    Raised into code that ran too long.

    Not an `Exception`, so that an ``except Exception`` of the function's does
    not swallow it.
    """


def stopped_at(time_up: TimeUp) -> TracebackType | None:
    """Return the traceback of *time_up* down to the line that was interrupted."""
    trace = time_up.__traceback__
    last = trace
    while last is not None and last.tb_next is not None:
        if last.tb_next.tb_frame.f_code is Interrupt._on_alarm.__code__:
            last.tb_next = None
            break
        last = last.tb_next
    return trace


class Interrupt:
    """
    An alarm clock for the main thread.

    As a context manager it raises *TimeUp* inside its block, and only there::

        with interrupt.at(time.time() + 3):
            handler(event, context)
    """

    def __init__(self) -> None:
        self._when = 0.0
        self._armed = False
        self._cancel: Callable[[], object] | None = None
        self._grace = 0.0
        self._handler = self._on_alarm
        self._on_main_thread = threading.current_thread() is threading.main_thread()

    def at(self, when: float) -> Interrupt:
        """Set the time, in seconds since 1970, at which the block that follows is interrupted."""
        self._when = when
        return self

    def __enter__(self) -> None:
        seconds = self._when - time.time()
        if seconds > _FAR or not self._is_usable():
            return
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _AT_ONCE))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._armed:
            # First, so that an alarm that has gone off but not been handled yet does nothing.
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def ask_first(self, cancel: Callable[[], object] | None, grace: float = 0.0) -> None:
        """
        Call *cancel* when the time is up, and raise only *grace* seconds after it.

        For code that can be asked to stop, as a coroutine can at its next await.
        """
        self._cancel = cancel
        self._grace = grace

    def _is_usable(self) -> bool:
        installed = signal.getsignal(signal.SIGALRM)
        if installed is self._handler:
            return True
        if not self._on_main_thread or installed not in (signal.SIG_DFL, signal.SIG_IGN):
            return False
        signal.signal(signal.SIGALRM, self._handler)
        return True

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._cancel is not None:
            cancel, self._cancel = self._cancel, None
            signal.setitimer(signal.ITIMER_REAL, max(self._grace, _AT_ONCE))
            cancel()
            return
        self._armed = False
        raise TimeUp


_AT_ONCE = 1e-6  # zero would switch the timer off
_FAR = 366 * 24 * 3600.0  # no deadline is known
