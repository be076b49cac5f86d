"""
Who wants to know what happens: the log on the terminal, the page in the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .invocation import Invocation
from .lines import LogLine


class Observer(Protocol):
    """Is told of everything at once; it must neither wait nor raise."""

    def changed(self, invocation: Invocation) -> None:
        """Something has happened to *invocation*."""

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """A line was written in *environment*, during *invocation* if there was one."""

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """The platform did something that is neither: it throttled, retried, dropped, froze, reset, shut down."""


class Observers:
    """Several observers, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Tell *observer* as well from now on."""
        self._observers.append(observer)

    def changed(self, invocation: Invocation) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.changed(invocation)

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.log(line, invocation, environment)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.note(kind, text, invocation)


class LogObserver:
    """Hands on the lines of the log, and nothing else."""

    def __init__(self, on_log: Callable[[LogLine], None] | None) -> None:
        self._on_log = on_log

    def changed(self, invocation: Invocation) -> None:
        """Pass over it."""

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Hand it on."""
        if self._on_log is not None:
            self._on_log(line)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Pass over it."""
