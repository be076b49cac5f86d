"""
Sinks of a function's own that fail, each in a way of its own.

Loaded by the function of *places* whose tasks go there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lambda_ric.tasks.envelope import Envelope

from .hostile import Unprintable


class Failing:
    """A sink that does what *send* does, and *check* if there is one."""

    def __init__(self, send: Callable[[Sequence[Envelope]], Any], check: Callable[[Envelope], None] | None) -> None:
        self._send = send
        self._check = check

    def check(self, envelope: Envelope) -> None:
        if self._check is not None:
            self._check(envelope)

    def send(self, envelopes: Sequence[Envelope], within: float) -> Any:
        return self._send(envelopes)


class SinkFault(NamedTuple):
    """One way to fail; if there is *another* sink, that is the second task's."""

    title: str
    sink: Failing
    another: Failing | None = None


SINKS: dict[str, SinkFault] = {}


def fault(title: str) -> Callable[[Callable[[Sequence[Envelope]], Any]], None]:
    """Add a function to the faults: it is the `send` of a sink."""

    def add(send: Callable[[Sequence[Envelope]], Any]) -> None:
        SINKS[send.__name__] = SinkFault(title, Failing(send, None))

    return add


@fault("`send` of an own sink raises")
def raises(envelopes: Sequence[Envelope]) -> None:
    raise ValueError("broken")


@fault("`send` raises an exception whose `__str__` raises")
def raises_without_text(envelopes: Sequence[Envelope]) -> None:
    raise Unprintable


@fault("`send` calls `sys.exit()`")
def exits(envelopes: Sequence[Envelope]) -> None:
    sys.exit(3)


@fault("`send` never returns")
def hangs(envelopes: Sequence[Envelope]) -> None:
    threading.Event().wait()


@fault("`send` returns `None`")
def returns_nothing(envelopes: Sequence[Envelope]) -> None:
    return None


@fault("`send` returns what was not taken, without reasons")
def returns_envelopes(envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
    return envelopes


@fault("`send` takes half of the tasks")
def takes_half(envelopes: Sequence[Envelope]) -> list[tuple[Envelope, str]]:
    return [(envelope, "no room") for envelope in envelopes if envelope.args == [2]]


def _no_room(envelope: Envelope) -> None:
    raise ValueError("no room")


WORKING = Failing(lambda envelopes: [], None)
SINKS["refuses"] = SinkFault("`check` raises", Failing(lambda envelopes: [], _no_room))
SINKS["hangs_beside"] = SinkFault("`send` of one of two sinks never returns", SINKS["hangs"].sink, WORKING)
