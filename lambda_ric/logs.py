"""
The function's log: its records, its errors, and the line about background work.

The formats are those of AWS's own Python runtime, which alarms and log
filters rely on.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time

from .context import invocation_of_record
from .failures import Failure, as_text, remade, stack_of, tell_with, traceback_text
from .log_sinks import JSON_FRAMES, TEXT_FRAMES, FrameSink, LineStream, StreamSink, sink_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TextIO

    from .background.summary import Summary
    from .background.work import Work
    from .context import InvocationScope
    from .process.log_listeners import LogListeners
    from .settings import Settings

log: logging.Logger = logging.getLogger("lambda_ric.logs")


class LambdaLoggerFilter(logging.Filter):
    """Tells every record which invocation it belongs to: *aws_request_id* and *tenant_id*."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.aws_request_id, record.tenant_id = getattr(record, _MADE_IN, None) or _ids()
        return True


def _noting_invocation(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """
    Return a record factory that notes in which invocation *make* makes a record.

    It may be handled elsewhere: by a thread that empties a queue, in another invocation. The note is not called
    *aws_request_id*, since a logging call may not bring an extra of a name that a record has already.
    """

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        setattr(record, _MADE_IN, _ids())
        return record

    return make_record


_MADE_IN = "_lambda_ric_made_in"
WRITTEN = "_lambda_ric_written"


def _ids() -> tuple[str, str | None]:
    invocation = invocation_of_record()
    return (invocation.request_id, invocation.tenant_id) if invocation else ("", None)


# Datadog and others know the handlers by these names, and by their attribute log_sink.
class LambdaLoggerHandler(logging.Handler):
    """Hands records to the sink."""

    def __init__(self, log_sink: StreamSink | FrameSink) -> None:
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*; an error while doing so is told on stderr."""
        if hasattr(record, WRITTEN):
            return  # one of the runtime's own, on its way through a queue of the function's
        try:
            self.log_sink.log_event(self.format(record), self.frame_type(record))
        except Exception:
            self.handleError(record)

    def frame_type(self, record: logging.LogRecord) -> bytes | None:
        """Return the type of frame for *record*: None leaves it to the sink."""
        return None


class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
    """Hands records to the sink, each with the frame type of its level."""

    def __init__(self, log_sink: StreamSink | FrameSink, frames: dict[int, int] = TEXT_FRAMES) -> None:
        super().__init__(log_sink)
        self._frames = frames

    def frame_type(self, record: logging.LogRecord) -> bytes | None:
        """Return that of its level, or the one that it brings along."""
        return getattr(record, "_frame_type", None) or self._frames[_level(record)].to_bytes(4, "big")


class TextFormatter(logging.Formatter):
    """Level, time, request id and message, separated by tabs."""

    converter: Callable[[float | None], time.struct_time] = time.gmtime

    def __init__(self) -> None:
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the event, with an error's traceback in further lines."""
        return super().format(record) + "\n"

    def formatException(self, ei: Any) -> str:
        """Return the traceback, as Python prints it, or less where that cannot be had."""
        return traceback_text(*ei)


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line."""
        event: dict[str, Any] = {
            "timestamp": timestamp(record.created),
            "level": logging.getLevelName(_level(record)),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        added: dict[str, Any] = {"stackInfo": record.stack_info}
        _, error, trace = record.exc_info or (None, None, None)
        if error is not None:
            failure = Failure(error)
            added |= failure.causes()
            event["stackTrace"] = stack_of(trace)
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
    _MADE_IN,
    WRITTEN,
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


def timestamp(seconds: float) -> str:
    """Return *seconds* since 1970 as the log has them, in UTC."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _level(record: logging.LogRecord) -> int:
    return min(50, max(0, record.levelno)) // 10 * 10


class Logs:
    """
    The log of this process: the root logger's handler, the standard streams, and the runtime's own events.

    What the runtime has to say, `tell` in `failures`, does not depend on the function's logging configuration. It is
    written to the sink at once, whatever became of loggers, levels, filters and handlers; or to the console of the
    function's, in its format, where that has taken the place of our handler. Other handlers hear of it, if the
    configuration lets them, from a thread that nobody waits for: `process.log_listeners`.
    """

    def __init__(
        self, settings: Settings, lines: type[LineStream] = LineStream, sink: StreamSink | FrameSink | None = None
    ) -> None:
        self._json = settings.json_logs
        self._kind_of_lines = lines
        self._frames = JSON_FRAMES if settings.json_logs else TEXT_FRAMES
        self._least = logging.getLevelNamesMapping().get(settings.log_level)
        self._sink = sink or sink_for(settings.telemetry_fd, self._frames[logging.ERROR])
        self._streams: list[LineStream] = []
        self._listeners: LogListeners | None = None
        self._grace = settings.deadline_margin / 4

        self.handler: LambdaLoggerHandler = LambdaLoggerHandler(self._sink)
        if settings.json_logs or settings.log_level:
            self.handler = LambdaLoggerHandlerWithFrameType(self._sink, self._frames)
        self._formatter = JsonFormatter() if settings.json_logs else TextFormatter()
        self._filter = LambdaLoggerFilter()
        self.handler.setFormatter(self._formatter)
        self.handler.addFilter(self._filter)
        self.main: logging.Handler | None = self.handler
        """The handler by which the function's records come into the log: that of AWS's runtime, where it is theirs."""
        self.consoles: list[Any] = []
        """Streams that lead into the log, besides those that are ours."""

    def install(self) -> None:
        """Take the root logger and the standard streams over."""
        root = logging.getLogger()
        root.addHandler(self.handler)
        if self._least is not None:
            root.setLevel(self._least)
        logging.setLogRecordFactory(_noting_invocation(logging.getLogRecordFactory()))
        sys.stdout = self._lines_of(sys.stdout)
        if isinstance(self._sink, StreamSink) and isinstance(sys.stdout, LineStream):
            self._sink.stream = sys.stdout
        sys.stderr = self._lines_of(sys.stderr)
        self.take_own_records()

    def take_own_records(self) -> None:
        """Write what the runtime has to say from now on."""
        os.register_at_fork(after_in_child=self._after_fork)
        tell_with(self.tell)

    def tell(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Write *record*, which the runtime has made for *logger*, and let the function's handlers hear of it."""
        setattr(record, _MADE_IN, _ids())
        is_wanted = _is_wanted(logger, record.levelno)
        handlers = _handlers_of(logger) if is_wanted else []
        consoles = [handler for handler in handlers if self._is_console(handler)]
        passes_later: logging.Logger | None = logger
        if consoles or self.handler.formatter is not self._formatter:
            record, passes_later = remade(logger, record), None
            if not _passes(logger, record):
                handlers, consoles, is_wanted = [], [], False
            told = [console for console in consoles if _is_told_by(console, record)]
            if self.main in handlers or not told:
                self.write_own(record)
        else:  # no code of the function's has a part in it
            self.write_own(record)
        listeners = [handler for handler in handlers if handler is not self.main and handler not in consoles]
        if listeners or (is_wanted and logging.Logger.callHandlers is not _CALL_HANDLERS):
            if self._listeners is None:
                from .process.log_listeners import LogListeners  # most functions have none

                self._listeners = LogListeners()
            self._listeners.tell(record, listeners, passes_later)

    def write_own(self, record: logging.LogRecord) -> None:
        """Write *record*, one of ours, if its level is wanted."""
        if record.levelno < (self._least or logging.WARNING):
            return
        self._filter.filter(record)
        try:
            text = self.handler.format(record)
        except BaseException:  # of a formatter that the function has given it
            text = self._formatter.format(record)
        self._sink.log_own(text, self.handler.frame_type(record))
        setattr(record, WRITTEN, True)

    def error(self, failure: Failure) -> None:
        """Write the error that ended an invocation, or the start of the environment, as one event."""
        frame_type = self._frames[logging.ERROR].to_bytes(4, "big")
        if not self._json:
            self._sink.log_own("\n".join(failure.lines()), frame_type)
            return
        invocation = invocation_of_record()
        event = {"timestamp": timestamp(time.time()), "level": "ERROR", **failure.as_dict(causes=True)}
        event["tenantId"] = invocation.tenant_id if invocation else None
        self._sink.log_own(_json_line(event).rstrip("\n"), frame_type)

    def summary(self, summary: Summary) -> None:
        """Write the line about background work; a warning when some of it did not succeed."""
        level = logging.INFO if summary.complete else logging.WARNING
        if level < (self._least or logging.NOTSET):
            return
        if self._json:
            event = {
                "timestamp": timestamp(time.time()),
                "level": logging.getLevelName(level),
                "message": "BACKGROUND",
                "requestId": summary.request_id,
                "background": summary.as_dict(),
            }
            text = _json_line(event)
        else:
            text = summary.text() + "\n"
        self._sink.log_own(text, self._frames[level].to_bytes(4, "big"))

    def metrics(self, namespace: str, works: Sequence[Work], request_id: str) -> None:
        """Write what became of *works* for CloudWatch, whatever the level of the log is."""
        from .background.metrics import documents  # most functions want none

        function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        for document in documents(works, namespace, function_name, request_id, time.time()):
            self._sink.log_own(_json_line(document), self._frames[logging.INFO].to_bytes(4, "big"))

    def flush(self, until: float = math.inf) -> None:
        """
        Write what is still held back; else it would come out in the next invocation.

        Log handlers of the function's that are busy with it have time until *until*, in seconds since 1970.
        """
        self.finish_telling(until)
        for stream in self._streams:
            if stream.held_back:
                try:
                    stream.end_lines()
                except Exception:
                    pass  # closed by the function
        for replaced in (sys.stdout, sys.stderr):
            if not isinstance(replaced, LineStream):
                try:
                    replaced.flush()
                except Exception:
                    pass  # closed, or None, or no stream at all

    def end_lines_of(self, invocation: InvocationScope) -> None:
        """Write what *invocation* has not completed, where there are others besides."""
        for stream in self._streams:
            try:
                stream.end_lines_of(invocation)
            except Exception:
                pass  # closed by the function

    def finish_telling(self, until: float) -> None:
        """Wait until log handlers of the function's have heard all there is, until *until*, seconds since 1970."""
        if self._listeners is None:
            return
        hanging = self._listeners.finish(4 * self._grace, until)
        if hanging is not None:
            names = ", ".join(sorted({type(handler).__name__ for handler in hanging})) or "what hears of all records"
            what = "%s does not return, and is waited for no longer: what such log handlers do not hear is in this log"
            self.write_own(logging.LogRecord(log.name, logging.WARNING, __file__, 0, what, (names,), None))

    def _is_console(self, handler: logging.Handler) -> bool:
        if type(handler) is not logging.StreamHandler:
            return False
        return isinstance(handler.stream, LineStream) or any(handler.stream is stream for stream in self.consoles)

    def _lines_of(self, stream: TextIO) -> TextIO:
        try:
            lines = self._kind_of_lines(stream, self._sink if isinstance(self._sink, FrameSink) else None)
        except (AttributeError, OSError):  # it is None, or in memory
            return stream
        self._streams.append(lines)
        return lines  # type: ignore[return-value]

    def _after_fork(self) -> None:
        self._listeners = None  # its thread is the parent's
        for stream in self._streams:
            stream.after_fork()
        if isinstance(self._sink, FrameSink):
            self._sink.after_fork()


def _is_wanted(logger: logging.Logger, level: int) -> bool:
    # As `Logger.isEnabledFor` says, but without the lock of the module, which a thread of the function's may hold.
    return not logger.disabled and level > logger.manager.disable and level >= logger.getEffectiveLevel()


def _passes(logger: logging.Logger, record: logging.LogRecord) -> bool:
    try:
        return bool(logger.filter(record))
    except BaseException:
        return False  # the function's own filter raises, or exits: then nobody else hears of it


def _handlers_of(logger: logging.Logger | None) -> list[logging.Handler]:
    """Return those that a record of *logger* comes to."""
    found: list[logging.Handler] = []
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


def _is_told_by(console: Any, record: logging.LogRecord) -> bool:
    """Write *record* as *console* would, which writes where we do; say whether it has been written."""
    try:
        if record.levelno < console.level or not console.filter(record):
            return False
        console.stream.write(console.format(record) + console.terminator)  # without its lock, which may be taken
        if not isinstance(console.stream, LineStream):
            console.stream.flush()
    except BaseException:
        return False
    return True


_CALL_HANDLERS = logging.Logger.callHandlers
