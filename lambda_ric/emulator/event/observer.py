"""
Who wants to know what happens: the log on the terminal, the page in the browser.
"""

from __future__ import annotations

from collections.abc import Callable

from .invocation import Invocation
from .log_line import LogLine


class Observer:
    """Is told of everything that it has a method of its own for, at once; it must neither wait nor raise."""

    def changed(self, invocation: Invocation) -> None:
        """Something has happened to *invocation*."""

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """A line was written in *environment*, during *invocation* if there was one."""

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """The platform did something that is neither: it throttled, retried, dropped, reset, shut down."""


class Observers(Observer):
    """Several observers, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._of_changes: list[Observer] = []
        self._of_lines: list[Observer] = []
        self._of_notes: list[Observer] = []
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Tell *observer* as well from now on, and not of what it passes over: this is done for every event."""
        kind = type(observer)
        if kind.changed is not Observer.changed:
            self._of_changes.append(observer)
        if kind.log is not Observer.log:
            self._of_lines.append(observer)
        if kind.note is not Observer.note:
            self._of_notes.append(observer)

    def discard(self, observer: Observer) -> None:
        """Tell *observer* nothing any more."""
        for told in (self._of_changes, self._of_lines, self._of_notes):
            if observer in told:
                told.remove(observer)

    def changed(self, invocation: Invocation) -> None:
        """Call every observer that wants to know of changes."""
        for observer in self._of_changes:
            observer.changed(invocation)

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Call every observer of lines."""
        for observer in self._of_lines:
            observer.log(line, invocation, environment)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Call every observer of notes."""
        for observer in self._of_notes:
            observer.note(kind, text, invocation)


class LogObserver(Observer):
    """Hands on the lines of the log, and nothing else."""

    def __init__(self, on_log: Callable[[LogLine], None]) -> None:
        self._on_log = on_log

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Hand it on."""
        self._on_log(line)
