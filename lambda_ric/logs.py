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
import sys
import threading
import time
import traceback

from .context import current_invocation
from .failures import Failure, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

    from .background import Summary
    from .settings import Settings

log = logging.getLogger("lambda_ric.logs")

_TEXT_FRAMES = {0: 0xA55A0003, 10: 0xA55A000B, 20: 0xA55A000F, 30: 0xA55A0013, 40: 0xA55A0017, 50: 0xA55A001B}
_JSON_FRAMES = {0: 0xA55A0002, 10: 0xA55A000A, 20: 0xA55A000E, 30: 0xA55A0012, 40: 0xA55A0016, 50: 0xA55A001A}


# Where events go...


class StreamSink:
    """Writes events to whatever `sys.stdout` is at that moment."""

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        """Write *msg* as it is."""
        stream = sys.stdout
        try:
            if isinstance(stream, LineStream):
                stream.write_event(msg)
            else:
                stream.write(msg)
        except (OSError, ValueError, AttributeError):
            _last_resort(msg)  # the function closed its stdout, or put something else in its place

    def log_error(self, message_lines: Iterable[str]) -> None:
        """Write *message_lines* as one event."""
        self.log("\r".join(message_lines) + "\n")


class FrameSink:
    """
    Writes events as frames to the descriptor that Lambda handed to the runtime.

    A frame is its type, its length and the microseconds since 1970, big-endian, and its text.
    """

    def __init__(self, descriptor: int, error_frame: int) -> None:
        self._descriptor = descriptor
        self._error_frame = error_frame

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        """Write one frame."""
        text = msg.encode("utf-8", "backslashreplace")
        kind = frame_type or _TEXT_FRAMES[0].to_bytes(4, "big")
        microseconds = time.time_ns() // 1000
        try:
            _write(self._descriptor, kind + len(text).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + text)
        except OSError:
            _last_resort(msg)

    def log_error(self, message_lines: Iterable[str]) -> None:
        """Write *message_lines* as one frame."""
        self.log("\n".join(message_lines), self._error_frame.to_bytes(4, "big"))


class LineStream(io.TextIOBase):
    """
    A standard stream that hands its lines on whole.

    What a thread prints is held back until its line is complete, so that
    lines of two threads never mix, and each line costs one write.
    """

    def __init__(self, stream: TextIO, write: Callable[[str], None]) -> None:
        self._stream = stream
        self._write = write
        self._unfinished: dict[int, str] = {}
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
                whole = self._unfinished.pop(thread, "") + whole + newline
            if rest:
                self._unfinished[thread] = self._unfinished.get(thread, "") + rest
            if newline:
                self._write(whole)
        return len(text)

    def write_event(self, text: str) -> None:
        """Write *text* at once and as one, beside what is still incomplete."""
        with self._lock:
            self._write(text)

    def flush(self) -> None:
        """Write what this thread has not completed, too."""
        self._flush((threading.get_ident(),))

    def flush_all(self) -> None:
        """Write what any thread has not completed."""
        self._flush(tuple(self._unfinished))

    def _flush(self, threads: tuple[int, ...]) -> None:
        with self._lock:
            for thread in threads:
                text = self._unfinished.pop(thread, "")
                if text:
                    self._write(text)
        self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Say whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _last_resort(text: str) -> None:
    try:
        _write(2, text.encode("utf-8", "backslashreplace"))
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
            self.log_sink.log(self.format(record), self._frame_type(record))
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
    """One event a record: level, time, request id and message, separated by tabs."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self, line_break: str) -> None:
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        self._line_break = line_break

    def format(self, record: logging.LogRecord) -> str:
        """Return the event, its lines joined so that it stays one."""
        return super().format(record).rstrip("\n").replace("\n", self._line_break) + "\n"


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line."""
        message = record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage()
        event: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": logging.getLevelName(_level(record)),
            "message": message,
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[1] is not None:
            kind, error, trace = record.exc_info
            failure = Failure(error)
            event["stackTrace"] = traceback.format_tb(trace)
            event["errorType"] = kind.__name__
            event["errorMessage"] = failure.message
        event["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info and record.exc_info[1] is not None:
            event["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
            event |= failure.causes()
        if record.stack_info:
            event["stackInfo"] = record.stack_info
        event["tenantId"] = getattr(record, "tenant_id", None)
        for key, value in vars(record).items():
            if key not in _RESERVED and key not in event:
                event[key] = value
        return _json_line(event)


# The attributes that every record has: https://docs.python.org/3/library/logging.html#logrecord-attributes
_RESERVED = {
    *vars(logging.makeLogRecord({})),
    "message",
    "asctime",
    "aws_request_id",
    "tenant_id",
    "_frame_type",
    "taskName",
}


def _json_line(event: dict[str, Any]) -> str:
    told = {key: value for key, value in event.items() if value is not None}
    try:
        return _ENCODER.encode(told) + "\n"
    except (TypeError, ValueError, RecursionError):
        # A key or a circle that JSON does not have: better as text than not at all.
        return _ENCODER.encode({key: as_text(value) for key, value in told.items()}) + "\n"


def _timestamp(seconds: float) -> str:
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _level(record: logging.LogRecord) -> int:
    return min(50, max(0, record.levelno)) // 10 * 10


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=as_text)


class Logs:
    """The log of this process: the root logger's handler, the standard streams, and the runtime's own events."""

    def __init__(self, settings: Settings) -> None:
        self._json = settings.json_logs
        frames = _JSON_FRAMES if settings.json_logs else _TEXT_FRAMES
        self._frames = frames
        levels = logging.getLevelNamesMapping()
        self._least = levels.get(settings.log_level, logging.NOTSET)
        self._sink: StreamSink | FrameSink
        if settings.telemetry_fd is None:
            self._sink = StreamSink()
        else:
            self._sink = FrameSink(settings.telemetry_fd, frames[logging.ERROR])

        self.handler = LambdaLoggerHandler(self._sink)
        if settings.json_logs or settings.log_level:
            self.handler = LambdaLoggerHandlerWithFrameType(self._sink, frames)
        line_break = "\r" if settings.telemetry_fd is None else "\n"
        self.handler.setFormatter(JsonFormatter() if settings.json_logs else TextFormatter(line_break))
        self.handler.addFilter(LambdaLoggerFilter())

    def install(self) -> None:
        """Take the root logger and the standard streams over."""
        root = logging.getLogger()
        root.addHandler(self.handler)
        if self._least:
            root.setLevel(self._least)
        if sys.stdout is not None:
            sys.stdout = LineStream(sys.stdout, self._writer(sys.stdout))
        if sys.stderr is not None:
            sys.stderr = LineStream(sys.stderr, self._writer(sys.stderr))

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
        if level < self._least:
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
        self._sink.log(text, self._frames[level].to_bytes(4, "big"))

    def flush(self) -> None:
        """Write what is still held back; else it would come out in the next invocation."""
        for stream in (sys.stdout, sys.stderr):
            try:
                if isinstance(stream, LineStream):
                    stream.flush_all()
                elif stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                pass  # closed by the function

    def _writer(self, stream: TextIO) -> Callable[[str], None]:
        if isinstance(self._sink, FrameSink):
            return self._sink.log
        descriptor = stream.fileno()

        def write(text: str) -> None:
            stream.flush()  # what was written to stream.buffer comes first
            _write(descriptor, text.encode("utf-8", "backslashreplace"))

        return write
