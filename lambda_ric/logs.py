"""
The function's log: what Lambda reads from this process, whole events at a time.

Lambda takes every line on stdout and stderr for an event of its own, unless
its lines are joined by carriage returns; managed runtimes have a descriptor
for frames instead. The formats are those of AWS's own Python runtime, which
alarms and log filters rely on.
"""

from __future__ import annotations

import io
import json
import logging
import os
import select
import sys
import threading
import time
import traceback

from .context import current_invocation
from .failures import Failure, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from .background_task import Summary
    from .settings import Settings

log = logging.getLogger("lambda_ric.logs")

_TEXT_FRAMES = {0: 0xA55A0003, 10: 0xA55A000B, 20: 0xA55A000F, 30: 0xA55A0013, 40: 0xA55A0017, 50: 0xA55A001B}
_JSON_FRAMES = {0: 0xA55A0002, 10: 0xA55A000A, 20: 0xA55A000E, 30: 0xA55A0012, 40: 0xA55A0016, 50: 0xA55A001A}


# Where events go...


class StreamSink:
    """Writes to whatever `sys.stdout` is at that moment."""

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        """Write *msg* as it is, as `print` would."""
        try:
            sys.stdout.write(msg)
        except Exception:  # the function closed its stdout, or put something else in its place
            _last_resort(msg)

    def log_event(self, text: str, frame_type: bytes | None = None) -> None:
        """Write *text* as one event of its own."""
        event = text.rstrip("\n").replace("\n", "\r") + "\n"
        if isinstance(sys.stdout, LineStream):
            try:
                sys.stdout.write_event(event)
            except Exception:
                _last_resort(event)
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
        kind = frame_type or _TEXT_FRAMES[0].to_bytes(4, "big")
        microseconds = time.time_ns() // 1000
        try:
            # A frame that does not fit into the pipe is written in parts.
            with self._lock:
                _write(self._descriptor, kind + len(text).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + text)
        except OSError:
            _last_resort(msg)

    log_event = log

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
    errors = "backslashreplace"

    def __init__(self, stream: TextIO, frames: FrameSink | None) -> None:
        self._stream = stream
        self._stream.reconfigure(line_buffering=True)  # type: ignore[attr-defined]  # for prints to sys.__stdout__
        self._descriptor = stream.fileno()
        self._frames = frames
        self._held: dict[int, list[str]] = {}
        # The thread whose line has been written up to somewhere in its middle, because it asked for that.
        self._unfinished: int | None = None
        # Whether anything may have to be written before a freeze: asked between every answer and the next poll.
        self.held_back = self._buffer_is_known = False
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


def _last_resort(text: str) -> None:
    try:
        _write(2, _encoded(text))
    except OSError:
        pass  # there is no place left to write to


# ...and what they look like.


class LambdaLoggerFilter(logging.Filter):
    """Tells every record which invocation it belongs to: *aws_request_id* and *tenant_id*."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        invocation = current_invocation.get()
        record.aws_request_id = invocation.request_id if invocation else ""
        record.tenant_id = invocation.tenant_id if invocation else None
        return True


# Datadog and others know the handlers by these names, and by their attribute log_sink.
class LambdaLoggerHandler(logging.Handler):
    """Hands records to the sink."""

    def __init__(self, log_sink: StreamSink | FrameSink) -> None:
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*; an error while doing so is told on stderr."""
        try:
            self.log_sink.log_event(self.format(record), self._frame_type(record))
        except Exception:
            self.handleError(record)

    def _frame_type(self, record: logging.LogRecord) -> bytes | None:
        return None


class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
    """Hands records to the sink, each with the frame type of its level."""

    def __init__(self, log_sink: StreamSink | FrameSink, frames: dict[int, int] = _TEXT_FRAMES) -> None:
        super().__init__(log_sink)
        self._frames = frames

    def _frame_type(self, record: logging.LogRecord) -> bytes | None:
        return getattr(record, "_frame_type", None) or self._frames[_level(record)].to_bytes(4, "big")


class TextFormatter(logging.Formatter):
    """Level, time, request id and message, separated by tabs."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the event, with an error's traceback in further lines."""
        return super().format(record) + "\n"


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line."""
        event: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": logging.getLevelName(_level(record)),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        added: dict[str, Any] = {"stackInfo": record.stack_info}
        _, error, trace = record.exc_info or (None, None, None)
        if error is not None:
            failure = Failure(error)
            added |= failure.causes()
            event["stackTrace"] = traceback.format_tb(trace)
            event["errorType"] = type(error).__name__
            event["errorMessage"] = failure.message
        event["requestId"] = getattr(record, "aws_request_id", None)
        if error is not None:
            event["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        if getattr(record, "tenant_id", None) is not None:
            event["tenantId"] = record.tenant_id  # type: ignore[attr-defined]
        extras = {key: value for key, value in vars(record).items() if key not in _RESERVED}
        # What AWS's runtime does not tell comes last, and not in place of what the function's code tells.
        for key, value in (*extras.items(), *added.items()):
            event.setdefault(key, value)
        return _json_line(event)


# The attributes that every record has: https://docs.python.org/3/library/logging.html#logrecord-attributes
_RESERVED = {
    *vars(logging.makeLogRecord({})),
    "message",
    "asctime",
    "aws_request_id",
    "tenant_id",
    "_frame_type",
}


def _json_line(event: dict[str, Any]) -> str:
    told = {key: value for key, value in event.items() if value is not None}
    try:
        return _ENCODER.encode(told) + "\n"
    except (TypeError, ValueError, RecursionError):
        return _ENCODER.encode(_with_json_form(told, ())) + "\n"


def _with_json_form(value: Any, within: tuple[int, ...]) -> Any:
    """Return *value* with what has no place in JSON as text: such keys, circles, NaN."""
    if isinstance(value, (dict, list, tuple)) and id(value) not in within and len(within) < _DEEPEST:
        within = (*within, id(value))
        if not isinstance(value, dict):
            return [_with_json_form(item, within) for item in value]
        return {as_text(key): _with_json_form(item, within) for key, item in value.items()}
    try:
        _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return as_text(value)
    return value


_DEEPEST = 50
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_text)


def _timestamp(seconds: float) -> str:
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _level(record: logging.LogRecord) -> int:
    return min(50, max(0, record.levelno)) // 10 * 10


class Logs:
    """The log of this process: the root logger's handler, the standard streams, and the runtime's own events."""

    def __init__(self, settings: Settings) -> None:
        self._json = settings.json_logs
        self._frames = _JSON_FRAMES if settings.json_logs else _TEXT_FRAMES
        self._least = logging.getLevelNamesMapping().get(settings.log_level)
        self._sink = _sink(settings.telemetry_fd, self._frames[logging.ERROR])
        self._streams: list[LineStream] = []

        self.handler = LambdaLoggerHandler(self._sink)
        if settings.json_logs or settings.log_level:
            self.handler = LambdaLoggerHandlerWithFrameType(self._sink, self._frames)
        self.handler.setFormatter(JsonFormatter() if settings.json_logs else TextFormatter())
        self.handler.addFilter(LambdaLoggerFilter())

    def install(self) -> None:
        """Take the root logger and the standard streams over."""
        root = logging.getLogger()
        root.addHandler(self.handler)
        if self._least is not None:
            root.setLevel(self._least)
        sys.stdout = self._lines_of(sys.stdout)
        sys.stderr = self._lines_of(sys.stderr)
        os.register_at_fork(after_in_child=self._after_fork)

    def error(self, failure: Failure) -> None:
        """Write the error that ended an invocation, or the start of the environment, as one event."""
        if not self._json:
            self._sink.log_error(failure.lines())
            return
        invocation = current_invocation.get()
        event = {"timestamp": _timestamp(time.time()), "level": "ERROR", **failure.as_dict(causes=True)}
        event["tenantId"] = invocation.tenant_id if invocation else None
        self._sink.log_error([_json_line(event).rstrip("\n")])

    def summary(self, summary: Summary) -> None:
        """Write the line about background work; a warning when some of it did not succeed."""
        level = logging.INFO if summary.complete else logging.WARNING
        if level < (self._least or logging.NOTSET):
            return
        if self._json:
            event = {
                "timestamp": _timestamp(time.time()),
                "level": logging.getLevelName(level),
                "message": "BACKGROUND",
                "requestId": summary.request_id,
                "background": summary.as_dict(),
            }
            text = _json_line(event)
        else:
            text = summary.text() + "\n"
        self._sink.log_event(text, self._frames[level].to_bytes(4, "big"))

    def flush(self) -> None:
        """Write what is still held back; else it would come out in the next invocation."""
        for stream in self._streams:
            if stream.held_back:
                try:
                    stream.end_lines()
                except Exception:
                    pass  # closed by the function
        for replaced in (sys.stdout, sys.stderr):
            if type(replaced) is not LineStream:
                try:
                    replaced.flush()
                except Exception:
                    pass  # closed, or None, or no stream at all

    def _lines_of(self, stream: TextIO) -> TextIO:
        try:
            lines = LineStream(stream, self._sink if isinstance(self._sink, FrameSink) else None)
        except (AttributeError, OSError):  # it is None, or in memory
            return stream
        self._streams.append(lines)
        return lines  # type: ignore[return-value]

    def _after_fork(self) -> None:
        for stream in self._streams:
            stream.after_fork()
        if isinstance(self._sink, FrameSink):
            self._sink.after_fork()


def _sink(descriptor: int | None, error_frame: int) -> StreamSink | FrameSink:
    if descriptor is not None:
        try:
            return FrameSink(descriptor, error_frame)
        except OSError:
            pass  # a wrapper has closed it on the way here; Lambda reads stdout as well
    return StreamSink()


def tell(logger: logging.Logger, level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log; whatever the function's own handlers and filters raise, work goes on."""
    try:
        logger.log(level, message, *args, exc_info=exc_info, stacklevel=2)
    except Exception:
        text = f"{message % args}\n{traceback.format_exc()}"
        try:
            sys.stderr.write(text)
        except Exception:  # replaced as well
            _last_resort(text)
