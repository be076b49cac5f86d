"""
The log of an environment, line by line.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# What is kept of the log of one invocation: the end of it. A function that never stops printing costs no more.
MAX_LINES = 2000
MAX_CHARACTERS = 1024 * 1024


class LogLine(NamedTuple):
    """One log event: when it was read, and its text, in which ``\\r`` stands for a line break."""

    time: float
    text: str
    platform: bool = False
    """Whether Lambda, not the function, wrote it: START, END, REPORT and the like."""


class Log:
    """The last lines of the log of one invocation."""

    __slots__ = ("_lines", "size")

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self.size: int = 0
        """Characters of all lines that are kept."""

    def add(self, line: LogLine) -> None:
        """Keep *line*, and forget the oldest ones beyond the limits."""
        self._lines.append(line)
        self.size += len(line.text)
        while len(self._lines) > MAX_LINES or (self.size > MAX_CHARACTERS and len(self._lines) > 1):
            self.size -= len(self._lines.popleft().text)

    @property
    def lines(self) -> list[LogLine]:
        """The lines, the oldest first."""
        return list(self._lines)

    def tail(self, size: int) -> bytes:
        """Return the last *size* bytes, as UTF-8."""
        found: deque[bytes] = deque()
        left = size
        for line in reversed(self._lines):
            if left <= 0:
                break
            found.appendleft(f"{line.text}\n".encode(errors="replace"))
            left -= len(found[0])
        return b"".join(found)[-size:]
