"""
What users hold of a piece of background work.
"""

from __future__ import annotations

from .work import CANCELLED, FAILED, SUCCEEDED, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic

    from typing_extensions import TypeVar

    from .work import State

    Result = TypeVar("Result", default=Any, covariant=True)
else:  # typing is not worth its import at a cold start
    Result = None

    class Generic:
        __slots__ = ()

        def __class_getitem__(cls, parameters):  # noqa: ANN001, ANN204
            return cls


def cannot_cancel(work: Work) -> bool:
    """Return False: *work* has ended already."""
    return False


class BackgroundTask(Generic[Result]):
    """
    One piece of work that runs after the response; what `wait_until` returns.

    Its *state* is ``pending``, ``running``, or one of the seven ends:
    ``succeeded``; ``overflowed``, a queue has taken it; ``unconfirmed``, it was
    sent to its queue and no answer was heard in time; ``failed``, it raised;
    ``cancelled``; ``abandoned``, it was still running when the time was up and
    could not be stopped; ``dropped``, it had not been started by then.
    """

    __slots__ = ("_cancel", "_work")

    def __init__(self, work: Work, cancel: Callable[[Work], bool]) -> None:
        self._work = work
        self._cancel = cancel

    @property
    def name(self) -> str:
        """The name of the function, the coroutine or the registered task."""
        return self._work.name

    @property
    def kind(self) -> str:
        """``task`` for what was handed over; else ``hook`` or ``continuation``, the rest of a generator handler."""
        return self._work.kind

    @property
    def state(self) -> State:
        """Where it is between hand-over and end."""
        return self._work.state

    @property
    def attempts(self) -> int:
        """How often it has been begun; more than once only by the policy of a registered task."""
        return self._work.attempts

    @property
    def handed_over_at(self) -> float:
        """When it was handed over, in seconds since 1970."""
        return self._work.handed_over_at

    @property
    def started_at(self) -> float:
        """When it was begun, in seconds since 1970; zero if it never was."""
        return self._work.started_at

    @property
    def ended_at(self) -> float:
        """When it ended, in seconds since 1970; zero before that."""
        return self._work.ended_at

    def done(self) -> bool:
        """Say whether it has ended, in whichever way."""
        return self._work.has_ended

    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self._work.state == CANCELLED

    def result(self) -> Result:
        """
        Return what it returned, or raise what it raised.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        error = self.exception()
        if error is not None:
            raise error
        result: Result = self._work.result
        return result

    def exception(self) -> BaseException | None:
        """
        Return what it raised, or None when it succeeded.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        if self.state not in (SUCCEEDED, FAILED):
            raise RuntimeError(f"background task {self.name!r} has no result: it is {self.state}")
        return self._work.exception

    def cancel(self) -> bool:
        """
        Cancel it, and say whether that was possible.

        What has not been started will not be; a running coroutine is asked to
        stop at its next await; a function that runs in a thread goes on.
        """
        return self._cancel(self._work)

    def __eq__(self, other: object) -> bool:
        """Say whether *other* is a handle on the same piece of work."""
        return isinstance(other, BackgroundTask) and other._work is self._work

    def __hash__(self) -> int:
        return hash(self._work)

    def __repr__(self) -> str:
        return f"<BackgroundTask {self.name!r}: {self.state}>"
