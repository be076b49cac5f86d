"""
What wakes the extension's thread: a pipe, into which the main thread and the worker write, and Python for signals.

Python writes the number of a signal into it in the signal's own handler, so also while the main thread is in C code:
https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd

The descriptor for that is one a process. One that an event loop has set is left to it, and SIGTERM is heard of when
the main thread is back in Python.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import logging
import os
import select

from lambda_ric.failures import tell
from lambda_ric.process.shutdown_notice import hold_sigterm_back, let_sigterm_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

log: logging.Logger = logging.getLogger("lambda_ric.extension")


class Wakeups:
    """The pipe; any thread may write, one reads."""

    def __init__(self) -> None:
        self.has_to_end: bool = False
        """Whether there was a SIGTERM: the process ends when it is at rest, or soon."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._readable = select.poll()
        self._readable.register(self._read, select.POLLIN)
        self._handler = self._on_sigterm
        self._gave_way = self._watches_forks = False

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._put(b"\0")

    def wait(self, seconds: float | None) -> None:
        """Wait until somebody wakes us, or for so many *seconds*; for ever if that is None."""
        self._readable.poll(None if seconds is None else max(seconds, 0) * 1000)
        try:
            received = os.read(self._read, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in received:
            self.has_to_end = True

    def listen(self) -> None:
        """Hear of SIGTERM from now on, unless it is the function's own business; to be called on the main thread."""
        if self._gave_way:
            return
        try:
            if signal.getsignal(signal.SIGTERM) is not self._handler:
                self._take_sigterm()
            before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            if before not in (-1, self._write):
                signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        except ValueError as error:  # this is not the main thread
            self._give_way(f"it cannot be heard: {error}")

    def _take_sigterm(self) -> None:
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            self._give_way("it has a handler of the function's own, which is kept")
            return
        signal.signal(signal.SIGTERM, self._handler)
        if not self._watches_forks:
            self._watches_forks = True
            # A child process shares the pipe: its own SIGTERM must not end this one.
            os.register_at_fork(
                before=hold_sigterm_back, after_in_parent=let_sigterm_through, after_in_child=self._leave_to_default
            )

    def _give_way(self, why: str) -> None:
        self._gave_way = True
        what = "SIGTERM will end the process without its on_shutdown hooks, and in the middle of background work: %s"
        tell(log, logging.WARNING, what, why)

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._put(bytes([signum]))

    def _put(self, data: bytes) -> None:
        try:
            os.write(self._write, data)
        except BlockingIOError:
            pass  # it is full: whoever reads it wakes up anyway

    def _leave_to_default(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)  # one of an event loop's is the parent's as well
        let_sigterm_through()
