"""
Stopping code on the main thread when its time is up.

Python can interrupt what its main thread does, a blocking system call included, in one way: a signal whose handler
raises. Of the signals that a timer sends, one counts real time, and a process has it once: SIGALRM, by ITIMER_REAL. The
function may want it, too. So it is shared. What the function sees of it through the module `signal` is its own handler
and its own timer, which it has set at import or in an invocation, and which go on from one invocation to the next. The
system's timer is set to whichever of the two times comes first:

    time of        its alarm goes to
    the runtime    the block of `Interrupt`, and to nothing else
    the function   the handler that `signal.signal` was given; without one the process ends, as it does everywhere
    nobody         the handler of the function's, if it has one: somebody has sent the signal

For that five functions of the module are replaced before the function's code is imported: `signal`, `getsignal`,
`alarm`, `setitimer` and `getitimer`, each only for this signal and this timer. What goes past them is seen when the
next block begins: a handler that was installed in another way becomes the function's. There are two ways to keep the
signal for good, and the soft deadline off: a handler of asyncio's, whose loop hears of every SIGALRM, and a mask that
blocks it. A sixth function, `pthread_sigmask`, tells of masks: to ask for it in each block would take a hundredth of
the instructions of an empty invocation.

A block, from `Interrupt.__enter__` to `__exit__`:

    idle ──enter──▶ armed ──its time──▶ asked ──again──▶ raised ──again──▶ raised …
      ▲               │                   │                 │
      └────exit───────┴───────────────────┴─────────────────┘   after "raised", or after "asked" and a cancellation that
                                                                was swallowed, the block ends with TimeUp in any case
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import math
import os
import sys
import threading
import time
from _thread import get_ident  # as it is before a library replaces it: gevent has it tell greenlets apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any


class TimeUp(BaseException):
    """
    Raised into code that ran too long.

    Not an `Exception`, so that an ``except Exception`` of the function's does
    not swallow it.
    """

    runs_on = False
    """Whether the code goes on all the same, and only nobody waits for it any longer."""


def stopped_at(time_up: TimeUp) -> TracebackType | None:
    """Return the traceback of *time_up* down to the line that was interrupted."""
    trace = time_up.__traceback__
    last = trace
    while last is not None and last.tb_next is not None:
        if last.tb_next.tb_frame.f_code is _SharedAlarm._on_alarm.__code__:
            last.tb_next = None
            break
        last = last.tb_next
    return trace


def share_alarm() -> None:
    """Share SIGALRM and its timer with the function, whose code is not imported yet."""
    _ALARM.share()


class _SharedAlarm:
    """
    SIGALRM and ITIMER_REAL of this process, and what they are set to; times are those of `time.monotonic`.

    *handler*, *due* and *interval* are the function's. The main thread writes them, in calls of the function's and in
    the signal's handler; other threads may set the function's timer.
    """

    def __init__(self) -> None:
        self._is_shared = self._is_blocked = False
        self._on_signal = self._on_alarm
        self._handler: Any = signal.SIG_DFL
        self._due = math.inf
        self._interval = 0.0
        self._our_due = math.inf
        self._ring: Callable[[FrameType | None], None] | None = None
        self._strays_until = 0.0

    def share(self) -> None:
        """Give the function a view of its own of the signal and the timer, from now on."""
        if self._is_shared:
            return
        self._is_shared = True
        self._look_at_mask()
        self._take_timer()
        self._become(_getsignal(signal.SIGALRM))
        os.register_at_fork(after_in_child=self._forget_timers)
        # `signal` has three of them from `_signal` as they are; its functions of the other names call those.
        modules: list[Any] = [signal, sys.modules.get("signal", signal)]
        for module in modules:
            module.alarm, module.setitimer, module.getitimer = self.alarm, self.setitimer, self.getitimer
        signal.signal, signal.getsignal, signal.pthread_sigmask = self.signal, self.getsignal, self.pthread_sigmask

    # What the runtime does with it, on the main thread...

    def set(self, seconds: float, ring: Callable[[FrameType | None], None]) -> bool:
        """
        Call *ring*, which may raise, with the frame that runs in so many *seconds*; once.

        Say whether its alarm is heard.
        """
        if _getsignal(signal.SIGALRM) is not self._on_signal:
            self.share()
            self._look()
            if self._handler is _ELSEWHERE:
                return False
            _signal(signal.SIGALRM, self._on_signal)
        self._our_due, self._ring = time.monotonic() + seconds, ring
        # What `_set_timer` would do; this, `stop`, and comparisons in the place of `min` and `max`, here and in
        # `environment.TimeLimits`, save 5 % of the instructions of an empty invocation.
        if self._our_due < self._due:
            _setitimer(signal.ITIMER_REAL, seconds, _LOST)
        else:
            self._set_timer()
        return not self._is_blocked

    def stop(self) -> None:
        """Do not call it, even if its time has come."""
        if self._ring is not None:
            now = time.monotonic()
            if now + _EARLY >= self._our_due:
                self._strays_until = now + 2 * _LOST
            self._our_due, self._ring = math.inf, None
            if self._due == math.inf:
                _setitimer(signal.ITIMER_REAL, 0)
            else:
                self._set_timer()

    def _look(self) -> None:
        """See what has gone past the functions that we replace."""
        installed = _getsignal(signal.SIGALRM)
        if installed is not self._on_signal and installed is not self._handler and not self._is_elsewhere(installed):
            self._become(installed)

    def _look_at_mask(self) -> None:
        self._is_blocked = signal.SIGALRM in _pthread_sigmask(signal.SIG_BLOCK, ())

    def _is_elsewhere(self, installed: Any) -> bool:
        return self._handler is _ELSEWHERE and _keeps_signal(installed)

    def _become(self, handler: Any) -> None:
        """Take *handler* for the function's."""
        was_elsewhere = self._handler is _ELSEWHERE
        if was_elsewhere:
            self._take_timer()
        self._handler = _ELSEWHERE if _keeps_signal(handler) else handler
        if self._handler is _ELSEWHERE and not was_elsewhere:
            self._our_due, self._ring = math.inf, None
            _setitimer(signal.ITIMER_REAL, *self._state())

    def _take_timer(self) -> None:
        remaining, self._interval = _getitimer(signal.ITIMER_REAL)
        self._due = time.monotonic() + remaining if remaining else math.inf

    def _set_timer(self) -> None:
        due = min(self._due, self._our_due)
        if due == math.inf:
            _setitimer(signal.ITIMER_REAL, 0)
        else:
            # One that goes off just before the main thread begins to wait for a lock wakes nobody: there is a next one.
            _setitimer(signal.ITIMER_REAL, max(due - time.monotonic(), _AT_ONCE), _LOST)

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_theirs, is_ours = now + _EARLY >= self._due, now + _EARLY >= self._our_due
        if not (is_theirs or is_ours) and now < self._strays_until:
            return  # a repetition of ours that was on its way already
        if is_theirs:
            self._due = max(self._due + self._interval, now) if self._interval else math.inf
        ring = None
        if is_ours:
            ring, self._our_due = self._ring, math.inf
            self._strays_until = now + 2 * _LOST
        self._set_timer()
        try:
            if is_theirs or not is_ours:
                self._call_theirs(signum, frame, is_due=is_theirs)
        finally:
            if ring is not None:
                ring(frame)

    def _call_theirs(self, signum: int, frame: FrameType | None, *, is_due: bool) -> None:
        if callable(self._handler):
            self._handler(signum, frame)
        elif self._handler == signal.SIG_DFL and is_due:
            _signal(signal.SIGALRM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGALRM)

    def _forget_timers(self) -> None:
        # A child process inherits none.
        self._due = self._our_due = math.inf
        self._ring = None

    # ...and what the function does with it, through the module `signal`. Other signals, other timers, and arguments
    # that are none, go to Python's own functions.

    def signal(self, signalnum: int, handler: Any, /) -> Any:
        """As `signal.signal`."""
        is_known = callable(handler) or handler in (signal.SIG_DFL, signal.SIG_IGN)
        if signalnum != signal.SIGALRM or not is_known or get_ident() != MAIN_THREAD:
            return _signal(signalnum, handler)
        self._look()
        before = self.getsignal(signalnum)
        self._become(handler)
        _signal(signal.SIGALRM, handler if self._handler is _ELSEWHERE else self._on_signal)
        return before

    def getsignal(self, signalnum: int, /) -> Any:
        """As `signal.getsignal`."""
        installed = _getsignal(signalnum)
        return self._handler if installed is self._on_signal else installed

    def alarm(self, seconds: int, /) -> int:
        """As `signal.alarm`."""
        if self._handler is _ELSEWHERE or not isinstance(seconds, int) or not -(2**31) <= seconds < 2**31:
            return int(_alarm(seconds))
        remaining, _ = self.setitimer(signal.ITIMER_REAL, seconds % 2**32)  # what C makes of it: it is unsigned there
        return max(round(remaining), 1) if remaining else 0

    def setitimer(self, which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
        """As `signal.setitimer`."""
        is_ours = which == signal.ITIMER_REAL and self._handler is not _ELSEWHERE
        if not (is_ours and _is_time(seconds) and _is_time(interval)):
            before: tuple[float, float] = _setitimer(which, seconds, interval)
            return before
        before = self.getitimer(which)
        self._due = time.monotonic() + seconds if seconds else math.inf
        self._interval = float(interval)
        self._set_timer()
        return before

    def pthread_sigmask(self, how: int, mask: Any, /) -> Any:
        """As `signal.pthread_sigmask`."""
        before = _pthread_sigmask(how, mask)
        if get_ident() == MAIN_THREAD:
            self._look_at_mask()
        return before

    def getitimer(self, which: int, /) -> tuple[float, float]:
        """As `signal.getitimer`."""
        if which != signal.ITIMER_REAL or self._handler is _ELSEWHERE:
            state: tuple[float, float] = _getitimer(which)
            return state
        return self._state()

    def _state(self) -> tuple[float, float]:
        if self._due == math.inf:
            return 0.0, 0.0
        return max(self._due - time.monotonic(), _AT_ONCE), self._interval


_signal, _getsignal = signal.signal, signal.getsignal
_alarm, _setitimer, _getitimer = signal.alarm, signal.setitimer, signal.getitimer
_pthread_sigmask = signal.pthread_sigmask

# In the place of the function's handler: one that cannot be called by us alone.
_ELSEWHERE = object()


def is_of_event_loop(handler: Any) -> bool:
    """
    Say whether *handler* stands for one of `loop.add_signal_handler`.

    It does nothing itself: asyncio and uvloop hear of a signal by a pipe, which the system's handler writes to.
    https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    """
    return str(getattr(handler, "__module__", "")).partition(".")[0] in ("asyncio", "uvloop")


def loop_handles_sigterm() -> bool:
    """Say whether SIGTERM has a handler of an event loop's."""
    handler = _getsignal(signal.SIGTERM)
    return callable(handler) and is_of_event_loop(handler)


def _keeps_signal(handler: Any) -> bool:
    return handler is None or is_of_event_loop(handler)


def _is_time(seconds: Any) -> bool:
    return isinstance(seconds, (int, float)) and 0 <= seconds < 2**32


class Interrupt:
    """
    An alarm clock for the main thread.

    As a context manager it raises *TimeUp* inside its block, and only there::

        with interrupt.at(time.time() + 3, again=0.1):
            handler(event, context)

    A block into which it has raised ends with the first of these *TimeUp*,
    whatever the code in it makes of them.
    """

    def __init__(self) -> None:
        self.has_raised: bool = False
        """Whether it ever did: code of the function's was then left at any line, with whatever it was at."""
        self.when_impossible: Callable[[], object] | None = None
        """Called at the beginning of a block that cannot be interrupted, since something keeps SIGALRM for itself."""
        self._raised: list[TimeUp] = []
        self._own_code = False
        self._when = 0.0
        self._due = 0.0  # what the alarm was set to; less than *_when* in a block that was put off
        self._again = 0.0
        self._armed = False
        self._cancel: Callable[[], object] | None = None
        self._place: object = None
        self._cpu_time = 0.0
        self._looks = self._looks_alike = 0
        self._had_locked = False

    def at(self, when: float, *, again: float, own_code: bool = False) -> Interrupt:
        """
        Set the time, in seconds since 1970, at which the block that follows is interrupted.

        It is interrupted anew every *again* seconds until it ends: code can
        swallow what is raised into it, and go on to the next thing that blocks.
        With *own_code* the block is the runtime's, and leaves nothing half-done.
        """
        self._when = when
        self._again = again
        self._own_code = own_code
        return self

    def __enter__(self) -> None:
        seconds = self._when - time.time()
        if seconds > _FAR or get_ident() != MAIN_THREAD:
            return
        self._armed = True
        self._due = self._when
        self._looks = 0
        is_heard = _ALARM.set(seconds if seconds > _AT_ONCE else _AT_ONCE, self._on_time)
        if not is_heard and self.when_impossible is not None:
            self.when_impossible()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._armed:
            # First, so that an alarm that has gone off but not been handled yet does nothing.
            self._armed = False
            _ALARM.stop()
            raised, self._raised = self._raised, []
            if raised and (error in raised[1:] or not isinstance(error, TimeUp)):
                raise raised[0] from (None if isinstance(error, TimeUp) else error)

    def bring_forward(self, when: float) -> None:
        """Interrupt the block that runs at *when* already, in seconds since 1970; a signal handler may call it."""
        if self._armed and when < self._when:
            self._when = self._due = when
            _ALARM.set(max(when - time.time(), _AT_ONCE), self._on_time)

    @property
    def raised(self) -> TimeUp | None:
        """What has been raised first in the block that runs: a task of the event loop keeps it to itself."""
        return self._raised[0] if self._raised else None

    def hold(self) -> bool:
        """
        Leave the block that runs in peace until `put_off` says when it is interrupted.

        Returns:
            Whether it has a time at all, and has neither been interrupted nor asked to stop: else nothing has changed.
        """
        if not self._armed or self._raised or self._cancel is None:
            return False
        self._cancel = None
        self._when = time.time() + _FAR
        return True

    def put_off(self, when: float) -> None:
        """Interrupt the block that runs at *when*, in seconds since 1970, and not at the time that it had before."""
        self._when = when
        if when < self._due:
            self._due = when
            _ALARM.set(max(when - time.time(), _AT_ONCE), self._on_time)

    def ask_first(self, cancel: Callable[[], object] | None) -> None:
        """
        Call *cancel* when the time is up, and raise only at the alarm after that.

        For code that can be asked to stop, as a coroutine can at its next await.
        """
        self._cancel = cancel

    def ask(self) -> None:
        """Ask code that runs off the main thread, where no alarm is heard, to stop, if it can be asked."""
        if self._cancel is not None:
            self._cancel()

    def has_asked(self) -> None:
        """Count the time until the alarm after that from now: the code has just been asked to stop."""
        if self._armed:
            _ALARM.set(max(self._again, _A_MOMENT), self._on_time)

    def _on_time(self, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._due < self._when:
            self._due = self._when
            _ALARM.set(max(self._when - time.time(), _AT_ONCE), self._on_time)
            return
        if frame is not None and self._has_to_wait(frame):
            _ALARM.set(_A_MOMENT, self._on_time)
            return
        self._looks = 0
        _ALARM.set(max(self._again, _A_MOMENT), self._on_time)
        if self._cancel is None:
            self.has_raised = self.has_raised or not self._own_code
            self._raised.append(TimeUp())
            raise self._raised[-1]
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
        had_locked, has_locked = self._had_locked, _has_locked(frame)
        self._had_locked = has_locked
        # Python looks for signals between a call that takes a lock and the code that is to let go of it, from 3.14 on
        # also between `with` and its block: what has just stopped to stand still for a lock goes on first.
        stands_still = stands_still and (had_locked or not has_locked)
        self._looks += 1
        self._looks_alike = self._looks_alike + 1 if stands_still else 0
        return self._looks_alike < _ENOUGH_LOOKS_ALIKE and self._looks < _MOST_LOOKS * (2 if has_locked else 1)


def _has_locked(frame: FrameType) -> bool:
    """Say whether this thread has a lock of the module, or of the object, whose code is in *frame*."""
    attributes = getattr(frame.f_locals.get("self"), "__dict__", {})
    locks: list[Any] = [attributes.get("lock"), attributes.get("_lock"), frame.f_globals.get("_lock")]
    return any(lock._is_owned() for lock in locks if isinstance(lock, _RLOCK))


_RLOCK: Any = type(threading.RLock())

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
MAIN_THREAD = threading.main_thread().ident
_ALARM = _SharedAlarm()
_A_MOMENT = 0.001
_LOST = 0.01
_EARLY = 0.0002  # by so much a timer seems to be early, since it and the clock are rounded differently
_MOST_LOOKS = 100
_ENOUGH_LOOKS_ALIKE = 5
_AT_ONCE = 1e-6  # zero would switch the timer off
_FAR = 366 * 24 * 3600.0  # no deadline is known
