"""
What went wrong, told three ways: to the caller, to X-Ray, and to the log.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from itertools import groupby
from types import TracebackType

from .errors import (
    ContextDecodeError,
    EventDecodeError,
    HandlerLoadError,
    HandlerTimeoutError,
    LambdaRICError,
    ResultEncodeError,
)
from .interrupt import TimeUp
from .log_sinks import last_resort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

# Lambda takes error documents of up to 1 MiB on managed instances. The two that
# follow fit into it even if every character has to be written as an escape.
_MAX_DOCUMENT_BYTES = 1024 * 1024
_MAX_MESSAGE = 64 * 1024
_MAX_STACK = 96 * 1024
_MAX_ENTRY = 4096
_MAX_TYPE = 256
# RAPID crops a cause of more than 64 KiB itself, and not at frames.
_MAX_CAUSE_BYTES = 64 * 1024
# A chain of causes can be a circle, a group can hold thousands, and so can notes.
_MAX_CAUSES = 8
_MAX_NOTES = 20
# As in Python's own tracebacks.
_REPEATED = 3

_PACKAGE = os.path.dirname(__file__) + os.sep
# Modules whose frames stand between this package and the function's own code.
_BETWEEN = frozenset(("asyncio", "concurrent", "importlib", "threading"))

# Lambda keeps the lines of one event together, but drops leading spaces of lines that end in a carriage return.
_INDENT = "\N{NO-BREAK SPACE}"


class Failure:
    """An exception, described once and for all: nothing of it can raise later."""

    def __init__(self, error: BaseException, request_id: str = "") -> None:
        self._described = _Description(error, set())
        self.error_type: str = self._described.error_type
        self.message: str = self._described.message
        self.request_id = request_id

    @property
    def error_type_header(self) -> str:
        """The type as the platform's metrics want it: ``<category>.<reason>``."""
        return self.error_type if "." in self.error_type else f"Function.{self.error_type}"

    @property
    def stack(self) -> list[str]:
        """The lines of the traceback, one string a frame, without this package's own frames."""
        return self._described.stack

    def as_dict(self, *, causes: bool) -> dict[str, Any]:
        """Return the error in the form that AWS's own runtime gives it, *causes* in further keys."""
        document: dict[str, Any] = {
            "errorMessage": self.message,
            "errorType": self.error_type,
            "requestId": self.request_id,
            "stackTrace": self.stack,
        }
        if causes:
            document |= self.causes()
        return document

    def causes(self) -> dict[str, Any]:
        """Return the notes, the cause and the members of a group, as far as there are any."""
        return self._described.causes()

    def document(self, *, causes: bool = False, limit: int = _MAX_DOCUMENT_BYTES) -> bytes:
        """Return the body of an error response, without the causes and cut down if it has over *limit* bytes."""
        content = self.as_dict(causes=causes)
        while True:
            document = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
            if len(document) <= limit:
                return document
            if causes:
                return self.document(limit=limit)
            # The innermost frames say most, and the start of a message.
            content["stackTrace"] = content["stackTrace"][len(content["stackTrace"]) // 2 + 1 :]
            content["errorMessage"] = content["errorMessage"][: max(256, len(content["errorMessage"]) // 2)]

    def xray_cause(self) -> str:
        """Return the cause for X-Ray, JSON of ASCII characters, cut down to what X-Ray takes."""
        described = self._described
        kind = "LambdaValidationError" if described.is_fault else self.error_type
        frames = [] if described.is_fault else described.frames
        message = self.message
        while True:
            stack = [{"label": frame.name, "path": frame.filename, "line": frame.lineno} for frame in frames]
            cause = {
                "working_directory": _working_directory(),
                "exceptions": [{"message": message, "type": kind, "stack": stack}],
                "paths": sorted({frame.filename for frame in frames}),
            }
            text = json.dumps(cause)
            if len(text) <= _MAX_CAUSE_BYTES:
                return text
            # The innermost frames say most, and the start of a message.
            frames = frames[len(frames) // 2 + 1 :]
            message = message[: max(1024, len(message) // 2)]

    def lines(self) -> list[str]:
        """Return the lines of the log event, causes, notes and members of groups included."""
        described = ": ".join(part for part in (self.error_type, self.message) if part)
        first = f"[ERROR] {described}" if described else "[ERROR]"
        return first.splitlines() + self._described.traceback_lines()


class _Description:
    def __init__(self, error: BaseException, seen: set[int]) -> None:
        seen.add(id(error))
        self.error_type = _error_type(error)
        self.message = as_text(error)
        self.notes = _notes(error)
        self.cause: _Description | None = None
        self.members: list[_Description] = []
        self.members_left_out = 0
        self.is_fault = isinstance(error, (ContextDecodeError, EventDecodeError, ResultEncodeError))

        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if isinstance(cause, TimeUp):
            cause = None  # that it was interrupted is told by the error itself
        if isinstance(error, LambdaRICError) and not isinstance(error, HandlerTimeoutError):
            # Its text tells the cause already. A module that cannot be imported is shown where it failed.
            origin = cause if isinstance(error, HandlerLoadError) else None
            self.frames = _frames(origin.__traceback__ if origin else error.__traceback__)
            self.stack = _syntax_error(cause) if isinstance(cause, SyntaxError) else _formatted(self.frames)
            return
        fault = _fault_of_aws(error)
        if fault is not None:
            self.is_fault, self.frames = True, []
            self.error_type, self.message, self.stack = fault
            return
        self.frames = _frames(error.__traceback__)
        self.stack = _formatted(self.frames)
        if cause is not None and id(cause) not in seen and len(seen) < _MAX_CAUSES:
            self.cause = _Description(cause, seen)
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                if len(seen) >= _MAX_CAUSES:
                    self.members_left_out += 1
                elif id(member) not in seen:
                    self.members.append(_Description(member, seen))

    def causes(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if self.notes:
            told["notes"] = self.notes
        if self.cause is not None:
            told["cause"] = self.cause._as_dict()
        if self.members:
            told["exceptions"] = [member._as_dict() for member in self.members]
        if self.members_left_out:
            told["exceptionsLeftOut"] = self.members_left_out
        return told

    def _as_dict(self) -> dict[str, Any]:
        return {
            "errorMessage": self.message,
            "errorType": self.error_type,
            "stackTrace": self.stack,
            **self.causes(),
        }

    def traceback_lines(self) -> list[str]:
        lines = ["Traceback (most recent call last):"] if self.stack else []
        for entry in self.stack:
            lines += [_indented(line) for line in entry.splitlines()]
        for note in self.notes:
            lines += note.splitlines()
        if self.cause is not None:
            lines += f"Caused by {self.cause.error_type}: {self.cause.message}".splitlines()
            lines += self.cause.traceback_lines()
        for number, member in enumerate(self.members, 1):
            lines += f"Exception {number} of the group, {member.error_type}: {member.message}".splitlines()
            lines += member.traceback_lines()
        if self.members_left_out:
            lines.append(f"{self.members_left_out} more exceptions of the group are left out")
        return lines


def _error_type(error: BaseException) -> str:
    kind = type(error)
    # Ours carry Lambda's own name for what happened; an exception of the function keeps its class's.
    if isinstance(error, LambdaRICError) and kind.__module__.startswith("lambda_ric."):
        return error.error_type
    return kind.__name__[:_MAX_TYPE]


def _fault_of_aws(error: Any) -> tuple[str, str, list[str]] | None:
    """Return type, message and stack of an error of AWS's own runtime, whose class lets code name them."""
    module = sys.modules.get("awslambdaric.lambda_runtime_exception") or sys.modules.get(f"{__package__}.awslambdaric")
    if module is None or not isinstance(error, module.FaultException):
        return None
    return as_text(error.exception_type)[:_MAX_TYPE], as_text(error.msg), [as_text(line) for line in error.trace or ()]


def as_text(thing: object) -> str:
    """Return ``str(thing)``, whatever it raises and however long it is."""
    try:
        text = str(thing)
    except BaseException:  # a __str__ of the function's may raise anything
        return f"<unprintable {type(thing).__name__} object>"
    if len(text) > _MAX_MESSAGE:
        return f"{text[:_MAX_MESSAGE]}… ({len(text) - _MAX_MESSAGE} characters left out)"
    return text


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, list):
        return []
    told = [as_text(note) for note in notes[:_MAX_NOTES]]
    return told if len(notes) <= _MAX_NOTES else [*told, f"{len(notes) - _MAX_NOTES} more notes are left out"]


def exc_info(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return what a logging call takes, without the frames above the function's own code."""
    return type(error), error, _trimmed(error.__traceback__)


def traceback_text(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> str:
    """Return what Python prints for an exception, or less where that cannot be had; it ends without a line's end."""
    try:
        return "".join(traceback.format_exception(kind, error, trace)).removesuffix("\n")
    except Exception:  # from Python 3.15 on it loads a module, for which a process can have no descriptor left
        described = f"{kind.__name__ if kind else kind}: {as_text(error)}"
        return "".join(("Traceback (most recent call last):\n", *_formatted(_frames(trace)), described))


def stack_of(trace: TracebackType | None) -> list[str]:
    """Return what Python prints for *trace*, one string a frame, or less where that cannot be had."""
    try:
        return traceback.format_tb(trace)
    except Exception:  # as above
        return _formatted(_frames(trace))


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    trimmed = _trimmed(trace)
    try:
        return traceback.extract_tb(trimmed)
    except Exception:  # the source cannot be read: a file's name may be anything, and a loader the function's own
        return [
            traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, lookup_line=False, line="")
            for frame, line in traceback.walk_tb(trimmed)
        ]


def _trimmed(trace: TracebackType | None) -> TracebackType | None:
    # Above the function's own code, and where that goes through @blocking.
    kept: list[TracebackType] = []
    below_ours = True
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            below_ours = True
        elif not (below_ours and _is_between(trace.tb_frame)):
            below_ours = False
            kept.append(trace)
        trace = trace.tb_next
    rebuilt: TracebackType | None = None
    for entry in reversed(kept):
        # An interruption can strike at an instruction that the compiler has added, which has no line.
        line = entry.tb_lineno or entry.tb_frame.f_code.co_firstlineno
        rebuilt = TracebackType(rebuilt, entry.tb_frame, entry.tb_lasti, line)
    return rebuilt


def _is_between(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.partition(".")[0] in _BETWEEN


def _formatted(frames: list[traceback.FrameSummary]) -> list[str]:
    # As `traceback.format_list` does it, but without the carets that mark a column: AWS's runtime has none, and they
    # take a line a frame. And without its colours, which Python 3.15 loads in the time of the first handler that fails.
    entries: list[str] = []
    for (filename, line, name), same in groupby(frames, key=lambda frame: (frame.filename, frame.lineno, frame.name)):
        repeated = [frame.line for frame in same]
        source = f"    {repeated[0]}\n" if repeated[0] else ""
        entries += [f'  File "{filename}", line {line}, in {name}\n{source}'] * min(len(repeated), _REPEATED)
        more = len(repeated) - _REPEATED
        if more > 0:
            entries.append(f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n")
    return _shortened_stack(entries)


def _syntax_error(error: SyntaxError) -> list[str]:
    return [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']


def _shortened_stack(entries: list[str]) -> list[str]:
    entries = [entry if len(entry) <= _MAX_ENTRY else f"{entry[:_MAX_ENTRY]}…\n" for entry in entries]
    if sum(map(len, entries)) <= _MAX_STACK:
        return entries
    half = _MAX_STACK // max(map(len, entries)) // 2
    return [*entries[:half], f"  [{len(entries) - 2 * half} frames left out]\n", *entries[-half:]]


def _indented(line: str) -> str:
    text = line.lstrip(" ")
    return _INDENT * (len(line) - len(text)) + text


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it may have been removed
        return ""


def tell(logger: logging.Logger, level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """
    Write a record of the runtime's own. Never raises, and waits for nothing but the log itself.

    While the process serves events it is written whatever the function's code does to its logging configuration:
    `Logs.install` sees to that. In a test of a function it is an ordinary record.
    """
    caller = sys._getframe(1)
    code = caller.f_code
    # By no factory of the function's, which may raise, or hang.
    _write(
        logger,
        logging.LogRecord(logger.name, level, code.co_filename, caller.f_lineno, message, args, exc_info, code.co_name),
    )


def remade(logger: logging.Logger, record: logging.LogRecord) -> logging.LogRecord:
    """Return *record* as the function has *logger* make one: with what its formatters expect, if it can be had."""
    told = record.exc_info
    where = record.pathname, record.lineno
    try:
        made = logger.makeRecord(
            record.name, record.levelno, *where, record.msg, record.args or (), told, record.funcName
        )
        vars(made).update({name: value for name, value in vars(record).items() if name in _OF_MOMENT or name[0] == "_"})
    except BaseException:
        return record
    return made


# What a record that is made later, and by another thread, would have in another way.
_OF_MOMENT = frozenset(
    ("created", "msecs", "process", "processName", "relativeCreated", "taskName", "thread", "threadName")
)


def tell_with(write: Callable[[logging.Logger, logging.LogRecord], None]) -> None:
    """Have *write*, which never raises, write all records of the runtime's own from now on."""
    global _write
    _write = write


def _write_as_any_other(logger: logging.Logger, record: logging.LogRecord) -> None:
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(remade(logger, record))
    except Exception:
        tell_on_stderr(f"{record.getMessage()}\n{traceback_text(*sys.exc_info())}\n")


_write = _write_as_any_other


def tell_on_stderr(text: str) -> None:
    """Write *text* where Python tells of its troubles, whatever became of that."""
    try:
        sys.stderr.write(text)
    except Exception:  # replaced as well
        last_resort(text)
