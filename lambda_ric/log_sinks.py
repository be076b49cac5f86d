"""
The ways out of this process for its log: standard streams, whole lines at a time, or Lambda's descriptor for frames.

Lambda takes every line on stdout and stderr for an event of its own, unless
its lines are joined by carriage returns. Nothing that the function does to
its streams may end the loop: what cannot be written goes to descriptor 2.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

TEXT_FRAMES = {0: 0xA55A0003, 10: 0xA55A000B, 20: 0xA55A000F, 30: 0xA55A0013, 40: 0xA55A0017, 50: 0xA55A001B}
JSON_FRAMES = {0: 0xA55A0002, 10: 0xA55A000A, 20: 0xA55A000E, 30: 0xA55A0012, 40: 0xA55A0016, 50: 0xA55A001A}


def sink_for(descriptor: int | None, error_frame: int) -> StreamSink | FrameSink:
    """Return where events go: to the *descriptor* that Lambda handed over, or to stdout."""
    if descriptor is not None:
        try:
            return FrameSink(descriptor, error_frame)
        except OSError:
            pass  # a wrapper has closed it on the way here; Lambda reads stdout as well
    return StreamSink()


class StreamSink:
    """Writes to whatever `sys.stdout` is at that moment."""

    def __init__(self) -> None:
        self.stream: LineStream | None = None
        """Where the runtime's own events go, whatever `sys.stdout` becomes."""

    def log_own(self, text: str, frame_type: bytes | None = None) -> None:
        """Write *text*, an event of the runtime's own, also while the function has put another stream in place."""
        if self.stream is not None:
            try:
                self.stream.write_event(as_event(text))
                return
            except Exception:
                pass  # the function has closed or detached it
        self.log_event(text)

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        """Write *msg* as it is, as `print` would."""
        try:
            sys.stdout.write(msg)
        except Exception:  # the function closed its stdout, or put something else in its place
            last_resort(msg)

    def log_event(self, text: str, frame_type: bytes | None = None) -> None:
        """Write *text* as one event of its own."""
        event = as_event(text)
        if isinstance(sys.stdout, LineStream):
            try:
                sys.stdout.write_event(event)
            except Exception:
                last_resort(event)
        else:
            self.log(event)

    def log_error(self, message_lines: Iterable[str]) -> None:
        """Write *message_lines* as one event."""
        self.log_event("\n".join(message_lines))


class FrameSink:
    """
    Writes frames to the descriptor that Lambda handed to the runtime.

    A frame is its type, its length and the microseconds since 1970, big-endian, and its text.
    """

    def __init__(self, descriptor: int, error_frame: int) -> None:
        os.set_inheritable(descriptor, False)  # a child process must not write into a frame of ours
        self._descriptor = descriptor
        self._error_frame = error_frame
        self._lock = threading.RLock()

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        """Write *msg* as it is, in a frame of its own."""
        text = _encoded(msg)
        kind = frame_type or TEXT_FRAMES[0].to_bytes(4, "big")
        microseconds = time.time_ns() // 1000
        try:
            # A frame that does not fit into the pipe is written in parts.
            with self._lock:
                _write(self._descriptor, kind + len(text).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + text)
        except OSError:
            last_resort(msg)

    log_event = log
    log_own = log

    def log_error(self, message_lines: Iterable[str]) -> None:
        """Write *message_lines* as one frame."""
        self.log("\n".join(message_lines), self._error_frame.to_bytes(4, "big"))

    def after_fork(self) -> None:
        """Make the sink usable in a child process, whatever other threads were doing with it."""
        self._lock = threading.RLock()


class LineStream(io.TextIOBase):
    """
    A standard stream that hands its lines on whole: to the descriptor of *stream*, or to *frames*.

    What a thread prints is held back until its line is complete, so that
    lines of two threads never mix, and each print costs one write.
    """

    encoding = "utf-8"
    errors: str | None = "backslashreplace"

    def __init__(self, stream: TextIO, frames: FrameSink | None) -> None:
        self._stream = stream
        self._stream.reconfigure(line_buffering=True)  # type: ignore[attr-defined]  # for prints to sys.__stdout__
        self._descriptor = stream.fileno()
        self._frames = frames
        self._held: dict[int, list[str]] = {}
        # The thread whose line has been written up to somewhere in its middle, because it asked for that.
        self._unfinished: int | None = None
        # Whether anything may have to be written before a freeze: asked between every answer and the next poll.
        self.held_back: bool = False
        self._buffer_is_known = False
        # Re-entrant: a signal handler of the function's may print.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Take *text*, and write what is complete by now."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread = threading.get_ident()
        with self._lock:
            whole, newline, rest = text.rpartition("\n")
            if newline:
                whole = self._take(thread) + whole + newline
            if rest:
                self.held_back = True
                self._held.setdefault(thread, []).append(rest)
            if newline:
                self._put(whole, thread)
        return len(text)

    def write_event(self, text: str) -> None:
        """Write *text*, a line, at once, beside what is still incomplete."""
        with self._lock:
            self._put(text, None)

    def flush(self) -> None:
        """Write what this thread has not completed, too."""
        with self._lock:
            self._put(self._take(threading.get_ident()), threading.get_ident())
            self._stream.flush()

    def end_lines(self) -> None:
        """Write what any thread has not completed, each as a line, and what others wrote to the stream underneath."""
        if self._held or self._unfinished is not None:
            with self._lock:
                for thread in tuple(self._held):
                    self._put(self._take(thread) + "\n", thread)
                if self._unfinished is not None:
                    self._put("\n", self._unfinished)
        self._stream.flush()
        self.held_back = self._buffer_is_known

    def end_lines_of(self, invocation: object) -> None:
        """Write what *invocation* has not completed: here there is one at a time."""
        self.end_lines()

    def _take(self, thread: int) -> str:
        return "".join(self._held.pop(thread, ()))

    def _put(self, text: str, thread: int | None) -> None:
        if not text:
            return
        if self._frames is not None:
            for line in text.removesuffix("\n").split("\n"):
                self._frames.log(line + "\n")
            return
        if self._unfinished is not None and self._unfinished != thread:
            text = "\n" + text
        if text.endswith("\n"):
            self._unfinished = None
        else:
            self._unfinished, self.held_back = thread, True
        self._stream.flush()  # what was written to the buffer of the stream comes first
        _write(self._descriptor, _encoded(text))

    def close(self) -> None:
        """Write what this thread has not completed; the stream stays open, as long as Lambda reads it."""
        self.flush()

    def detach(self) -> Any:
        """Return the binary stream underneath, for a text stream of the function's own to be put upon it."""
        self.flush()
        return self._stream.detach()  # type: ignore[attr-defined]

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Say whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._descriptor

    def after_fork(self) -> None:
        """Make the stream usable in a child process: what is held back, its parent writes."""
        self._lock = threading.RLock()
        self._held.clear()
        self._unfinished = None

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # whoever knows it may write to it, past this class, at any time
            self.held_back = self._buffer_is_known = True
        return getattr(self._stream, name)


def as_event(text: str) -> str:
    """Return *text* as one event for Lambda, which takes every line for one."""
    return text.rstrip("\n").replace("\n", "\r") + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            # The function made it non-blocking, asyncio's connect_write_pipe does: wait here instead.
            writable = select.poll()
            writable.register(descriptor, select.POLLOUT)
            writable.poll()


def last_resort(text: str) -> None:
    """Write *text* to descriptor 2, whatever became of the streams."""
    try:
        _write(2, _encoded(text))
    except OSError:
        pass  # there is no place left to write to
