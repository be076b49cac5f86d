"""
Background work that came to no good end, told to the log, and to those who asked: hooks, and destinations.
"""

from __future__ import annotations

import logging

from lambda_ric.failures import tell

from .work import ABANDONED, DROPPED, FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .work import State, Work

log: logging.Logger = logging.getLogger("lambda_ric.background")


class TaskReport:
    """
    One piece of background work that has failed, was dropped, cancelled or abandoned, or is unconfirmed.

    *state* is which of these; *error* what it raised, if it has failed. *args*
    and *kwargs* are those of a registered task, else empty.
    """

    def __init__(self, work: Work, request_id: str) -> None:
        self.name: str = work.name
        self.kind: str = work.kind
        self.state: State = work.state
        self.attempts: int = work.attempts
        self.error: BaseException | None = work.exception if work.state == FAILED else None
        self.args: tuple[Any, ...] = getattr(work, "args", ())
        self.kwargs: dict[str, Any] = getattr(work, "kwargs", {})
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"<TaskReport: {self.kind} {self.name} {self.state}>"


def tell_loss(work: Work, cause: str, remedy: str) -> None:
    """
    Log that *work* was lost, as an error.

    *cause* is what ended its time; *remedy* says how there would be more of
    it, if there is a way.
    """
    left = seconds(work.ended_at - work.started_at) if work.started_at else "no time"
    remedies = [remedy] if remedy else []
    if work.kind == "task":
        remedies.append("give it overflow=")
    what = "background %s %s was %s: %s left it %s" + (f"; {', or '.join(remedies)}" if remedies else "")
    if work.state == ABANDONED and not work.is_asynchronous:
        what += "; its thread cannot be stopped, and goes on for as long as the process does"
    elif work.state == ABANDONED:
        what += "; it was cancelled, and went on all the same"
    how = "dropped" if work.state == DROPPED else "cut off"
    tell(log, logging.ERROR, what, work.kind, work.name, how, cause, left)


def tell_want_of_threads(work: Work, most: int) -> None:
    """Log that *work* was dropped, as an error: all the threads that there may be, *most* of them, hang."""
    what = (
        "background %s %s was dropped: %d threads of earlier invocations still run (LAMBDA_RIC_MAX_THREADS), and leave "
        "it none; find out what they wait for, and give that a timeout"
    )
    tell(log, logging.ERROR, what, work.kind, work.name, most)


def seconds(number: float) -> str:
    """Return a number of seconds as people read it."""
    return f"{max(0.0, number):.2g} s" if number < 10 else f"{number:.0f} s"
