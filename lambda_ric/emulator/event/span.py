"""
The pieces of an invocation, as the runtime tells them over the side channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

# What is kept of one invocation; the side channel belongs to the function, which may write to it without end.
MAX_SPANS = 10_000


@dataclass(frozen=True, slots=True)
class Span:
    """
    One piece of an invocation as the runtime reported it: its handler, a hook, a background task.

    Its *state* is ``running``, and its *end* nan, until it has ended; ``killed`` is what ended with the environment.
    The *reason* is why it failed, as far as its runtime tells: the exception.
    """

    kind: str
    name: str
    state: str
    start: float
    end: float
    reason: str = ""


class Spans:
    """All pieces of one invocation, in the order in which they were first heard of."""

    __slots__ = ("_known", "_running")

    def __init__(self) -> None:
        self._known: list[Span] = []
        # Where those stand that have not ended, by what makes two reports the same.
        self._running: dict[tuple[str, str, float], int] = {}

    def add(self, span: Span) -> None:
        """Keep *span*, in the place of what was known of it before."""
        key = span.kind, span.name, span.start
        place = self._running.get(key) if span.state == "running" else self._running.pop(key, None)
        if place is not None:
            self._known[place] = span
        elif len(self._known) < MAX_SPANS:
            if span.state == "running":
                self._running[key] = len(self._known)
            self._known.append(span)

    def extend(self, spans: Iterable[Span]) -> None:
        """Keep *spans*, which have ended."""
        for span in spans:
            self.add(span)

    def kill(self, now: float) -> None:
        """Say of those that have not ended that they have now, with their environment."""
        for place in self._running.values():
            self._known[place] = replace(self._known[place], state="killed", end=now)
        self._running.clear()

    @property
    def all(self) -> list[Span]:
        """The pieces as they are now."""
        return list(self._known)
