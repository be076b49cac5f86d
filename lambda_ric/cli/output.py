"""
What a person or a script gets to read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import sys
import time
from functools import lru_cache
from typing import Any, TextIO

from lambda_ric.emulator import Invocation, LogLine, Observer, read_json


def write(stream: TextIO, content: str | bytes) -> None:
    """Write *content* at once; a reader that has gone is no error."""
    try:
        if isinstance(content, bytes):
            stream.buffer.write(content)
        else:
            stream.write(content)
        stream.flush()
    except BrokenPipeError:
        # Nobody reads any longer (`| head`): let what follows, and Python's own flush at the end, go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show_line(line: LogLine) -> None:
    """Write a line of the log to stderr, with its time."""
    write(sys.stderr, _shown(line))


def _shown(line: LogLine) -> str:
    clock = f"{_clock(int(line.time))}.{int(line.time % 1 * 1000):03}"
    text = line.text.rstrip("\r")
    if "\r" in text or "\n" in text:
        # Lambda keeps lines that are joined by a carriage return together as one event.
        text = f"\n{' ' * 14}".join(text.replace("\r", "\n").split("\n"))
    return f"{clock}  {text}\n"


class Terminal(Observer):
    """
    Writes the log to stderr, and what the platform does beside it: all lines of one turn of the event loop at once.

    END, REPORT and the next START come in one turn, in which the runtime is given the next event: it is at work while
    they are written.
    """

    def __init__(self) -> None:
        self._lines: list[LogLine] = []

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Write *line* soon."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(line)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Write it like a line of the platform."""
        self.log(_as_line(kind, text), invocation, 0)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        write(sys.stderr, "".join(map(_shown, lines)))


class Notes(Observer):
    """Writes what the platform does beside the log, as far as it is of one of *kinds*."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Write it like a line of the platform."""
        if kind in self._kinds:
            show_line(_as_line(kind, text))


def _as_line(kind: str, text: str) -> LogLine:
    return LogLine(time.time(), f"{kind.upper()} {text}", platform=True)


class LogHandler(logging.Handler):
    """Writes what the emulator itself has to say like a line of the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*."""
        show_line(LogLine(record.created, f"EMULATOR {self.format(record)}", platform=True))


@lru_cache(maxsize=1)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def print_response(payload: bytes) -> None:
    """Write a response to stdout: as it was posted, or indented where a person reads it."""
    response, encoding = decode(payload)
    if encoding == "json" and sys.stdout.isatty():
        print_json(response)
    elif encoding == "base64" or payload.endswith(b"\n"):
        write(sys.stdout, payload)
    else:
        write(sys.stdout, payload + b"\n")


def print_json(value: Any) -> None:
    """Write *value* to stdout, on one line where a script reads it."""
    text = json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)
    # A lone surrogate becomes the escape that it was in the function's JSON.
    write(sys.stdout, text.encode(errors="backslashreplace") + b"\n")


def decode(payload: bytes) -> tuple[Any, str]:
    """Return what *payload* holds, and how it is to be read: json, text or base64."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
    try:
        value = read_json(text)
        json.dumps(value, allow_nan=False)  # a number that is too large for Python can only be shown as it came
    except ValueError:
        return text, "text"
    return value, "json"


def can_show(stream: TextIO, text: str) -> bool:
    """Return whether *stream* has all the characters of *text*."""
    try:
        text.encode(stream.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
