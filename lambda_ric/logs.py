"""
The function's log: its records, its errors, and the line about background work.

The formats are those of AWS's own Python runtime, which alarms and log
filters rely on.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback

from .context import current_invocation
from .failures import Failure, as_text
from .streams import JSON_FRAMES, TEXT_FRAMES, FrameSink, LineStream, StreamSink, sink_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from .background_task import BackgroundTask, Summary
    from .settings import Settings

log = logging.getLogger("lambda_ric.logs")


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

    def __init__(self, log_sink: StreamSink | FrameSink, frames: dict[int, int] = TEXT_FRAMES) -> None:
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
        self._frames = JSON_FRAMES if settings.json_logs else TEXT_FRAMES
        self._least = logging.getLevelNamesMapping().get(settings.log_level)
        self._sink = sink_for(settings.telemetry_fd, self._frames[logging.ERROR])
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

    def metrics(self, namespace: str, tasks: Sequence[BackgroundTask], request_id: str) -> None:
        """Write what became of *tasks* for CloudWatch, whatever the level of the log is."""
        from .metrics import documents  # most functions want none

        function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        for document in documents(tasks, namespace, function_name, request_id, time.time()):
            self._sink.log_event(_json_line(document), self._frames[logging.INFO].to_bytes(4, "big"))

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
