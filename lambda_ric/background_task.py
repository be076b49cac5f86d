"""
One piece of background work, and the sum of those of one invocation.
"""

from __future__ import annotations

import functools
import threading
from contextvars import Context, copy_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

PENDING, RUNNING = "pending", "running"
SUCCEEDED, FAILED, CANCELLED, ABANDONED, DROPPED = "succeeded", "failed", "cancelled", "abandoned", "dropped"
OVERFLOWED = "overflowed"
ENDS = (SUCCEEDED, OVERFLOWED, FAILED, CANCELLED, ABANDONED, DROPPED)


class BackgroundTask:
    """
    One piece of work that runs after the response; what `wait_until` returns.

    Its *state* is ``pending``, ``running``, or one of the six ends:
    ``succeeded``; ``overflowed``, a queue has taken it; ``failed``, it raised;
    ``cancelled``; ``abandoned``, it was still running when the time was up and
    could not be stopped; ``dropped``, it had not been started by then.
    """

    def __init__(self, name: str, kind: str = "task") -> None:
        self.name = name
        self.kind = kind
        self.state = PENDING
        self.attempts = 1
        self.handed_over_at = 0.0
        self.started_at = 0.0
        self.ended_at = 0.0
        self.mention_from = 0.0
        """How many seconds it takes to be mentioned in the log when it succeeds."""
        self._context = copy_context()
        self._call: Callable[[], Any] | None = None
        self._awaitable: Awaitable[Any] | None = None
        self._result: Any = None
        self._exception: BaseException | None = None
        self._cancel: Callable[[], bool] = cannot_cancel
        self._ended_late: threading.Event | None = None

    @property
    def mentioned(self) -> bool:
        """Whether the log has it: what is part of every invocation is worth a word only when it took its time."""
        return self.state != SUCCEEDED or self.ended_at - self.started_at >= self.mention_from

    def was_lost(self, until: float) -> bool:
        """Say whether it came to no good end, *until* being the end of the time; who cancels it, wants that."""
        if self.state == CANCELLED:
            return self.ended_at >= until
        return self.state in (FAILED, ABANDONED, DROPPED)

    def is_wanted_after(self, *, succeeded: bool) -> bool:
        """Say whether it is to run after an invocation that *succeeded*, or did not."""
        return True

    def is_out_of_time(self, error: BaseException) -> bool:
        """Say whether *error* means that there is no time for it here."""
        return False

    def done(self) -> bool:
        """Say whether it has ended, in whichever way."""
        return self.state in ENDS

    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self.state == CANCELLED

    def result(self) -> Any:
        """
        Return what it returned, or raise what it raised.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        error = self.exception()
        if error is not None:
            raise error
        return self._result

    def exception(self) -> BaseException | None:
        """
        Return what it raised, or None when it succeeded.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        if self.state not in (SUCCEEDED, FAILED):
            raise RuntimeError(f"background task {self.name!r} has no result: it is {self.state}")
        return self._exception

    def cancel(self) -> bool:
        """
        Cancel it, and say whether that was possible.

        What has not been started will not be; a running coroutine is asked to
        stop at its next await; a function that runs in a thread goes on.
        """
        return self._cancel()

    def wait_after_abandonment(self, seconds: float) -> bool:
        """Wait for the thread of an abandoned task, and say whether it has ended."""
        return self._ended_late is not None and self._ended_late.wait(min(max(0.0, seconds), _AN_HOUR))

    def let_go(self) -> None:
        """Forget the work itself, and with it the invocation: only how it ended is of use from now on."""
        self._call = self._awaitable = None
        self._context = Context()

    def __repr__(self) -> str:
        return f"<BackgroundTask {self.name!r}: {self.state}>"


class Summary:
    """What became of the background work of one invocation, in numbers and names."""

    def __init__(self, request_id: str, tasks: list[BackgroundTask], seconds: float) -> None:
        self.request_id = request_id
        self.milliseconds = round(seconds * 1000, 2)
        self.names = {end: [task.name for task in tasks if task.state == end] for end in ENDS}
        self.total = len(tasks)

    @property
    def complete(self) -> bool:
        """Whether everything succeeded."""
        return len(self.names[SUCCEEDED]) == self.total

    def text(self) -> str:
        """Return the line for the log, in the manner of Lambda's own REPORT line."""
        parts = [
            f"BACKGROUND RequestId: {self.request_id}",
            f"Duration: {self.milliseconds:.2f} ms",
            f"Tasks: {self.total}",
        ]
        parts.append(f"Succeeded: {len(self.names[SUCCEEDED])}")
        parts += [
            f"{end.capitalize()}: {len(self.names[end])} ({', '.join(_some(self.names[end]))})"
            for end in ENDS[1:]
            if self.names[end]
        ]
        return "\t".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the same as the JSON log line has it."""
        counts = {end: len(names) for end, names in self.names.items()}
        names = {end: _some(names) for end, names in self.names.items() if end != SUCCEEDED and names}
        return {"durationMs": self.milliseconds, "tasks": self.total, **counts, "names": names}


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], f"and {len(names) - _MOST_NAMES} more"]


_MOST_NAMES = 20
_AN_HOUR = 3600.0


def name_of(work: Any) -> str:
    """Return the name of a function, a coroutine or a task, as the log has it."""
    if hasattr(type(work), "get_coro"):
        work = work.get_coro()
    while isinstance(work, functools.partial):
        work = work.func
    name = getattr(work, "__qualname__", None) or type(work).__qualname__
    return str(name).rpartition("<locals>.")[2]


def cannot_cancel() -> bool:
    """Say that this cannot be cancelled."""
    return False
