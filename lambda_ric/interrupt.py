"""
Stopping code on the main thread when its time is up.

Python can interrupt what its main thread does, a blocking system call
included, in one way: a signal whose handler raises. The signal is SIGALRM; a
function that uses it itself keeps it, and is not interrupted.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
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

        with interrupt.at(time.time() + 3, again=0.1):
            handler(event, context)
    """

    def __init__(self) -> None:
        self._when = 0.0
        self._again = 0.0
        self._armed = False
        self._cancel: Callable[[], object] | None = None
        self._place: object = None
        self._cpu_time = 0.0
        self._looks = self._looks_alike = 0
        self._handler = self._on_alarm

    def at(self, when: float, *, again: float) -> Interrupt:
        """
        Set the time, in seconds since 1970, at which the block that follows is interrupted.

        It is interrupted anew every *again* seconds until it ends: code can
        swallow what is raised into it, and go on to the next thing that blocks.
        """
        self._when = when
        self._again = again
        return self

    def __enter__(self) -> None:
        seconds = self._when - time.time()
        if seconds > _FAR or not self._is_usable():
            return
        self._armed = True
        self._looks = 0
        signal.setitimer(signal.ITIMER_REAL, seconds if seconds > _AT_ONCE else _AT_ONCE, _LOST)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._armed:
            # First, so that an alarm that has gone off but not been handled yet does nothing.
            self._armed = False
            if signal.getsignal(signal.SIGALRM) is self._handler:  # else the timer is the function's by now
                signal.setitimer(signal.ITIMER_REAL, 0)

    def ask_first(self, cancel: Callable[[], object] | None) -> None:
        """
        Call *cancel* when the time is up, and raise only at the alarm after that.

        For code that can be asked to stop, as a coroutine can at its next await.
        """
        self._cancel = cancel

    def _is_usable(self) -> bool:
        if threading.get_ident() != _MAIN_THREAD:
            return False
        installed = signal.getsignal(signal.SIGALRM)
        if installed is self._handler:
            return True
        of_another = getattr(installed, "__func__", None) is Interrupt._on_alarm
        if not of_another and installed not in (signal.SIG_DFL, signal.SIG_IGN):
            return False
        signal.signal(signal.SIGALRM, self._handler)
        return True

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if frame is not None and self._has_to_wait(frame):
            signal.setitimer(signal.ITIMER_REAL, _A_MOMENT, _LOST)
            return
        self._looks = 0
        signal.setitimer(signal.ITIMER_REAL, max(self._again, _A_MOMENT), _LOST)
        if self._cancel is None:
            raise TimeUp
        cancel, self._cancel = self._cancel, None
        cancel()

    def _has_to_wait(self, frame: FrameType) -> bool:
        """
        Say whether the code in *frame* may have taken a lock, or be half-way through a change.

        That is so in modules that lock in Python code, while they move: an
        exception in the wrong place would leave the lock behind, and block
        the function's other threads for good. What stands still waits for
        something, and may be interrupted. In the callbacks of weak references
        Python would swallow the exception.
        """
        module = frame.f_globals.get("__name__")
        if module == __name__:
            return True
        if not isinstance(module, str) or module.partition(".")[0] not in _LOCKING:
            return False
        place, cpu_time = (frame.f_code, frame.f_lasti), time.thread_time()
        stands_still = place == self._place and cpu_time - self._cpu_time < _A_MOMENT / 5
        self._place, self._cpu_time = place, cpu_time
        self._looks += 1
        self._looks_alike = self._looks_alike + 1 if stands_still else 0
        return self._looks < _MOST_LOOKS and self._looks_alike < _ENOUGH_LOOKS_ALIKE


_LOCKING = frozenset(
    [
        "_frozen_importlib",
        "_frozen_importlib_external",
        "_weakrefset",
        "asyncio",
        "importlib",
        "lambda_ric",
        "logging",
        "threading",
        "weakref",
    ]
)
_MAIN_THREAD = threading.main_thread().ident
_A_MOMENT = 0.001
# An alarm that goes off just before the main thread begins to wait for a lock wakes nobody: there is a next one.
_LOST = 0.01
_MOST_LOOKS = 100
_ENOUGH_LOOKS_ALIKE = 5
_AT_ONCE = 1e-6  # zero would switch the timer off
_FAR = 366 * 24 * 3600.0  # no deadline is known
