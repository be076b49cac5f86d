"""
One piece of work, from its hand-over to its end; `BackgroundTask` is what users see of it.

Only `registry` moves it from one state to the next, with the lock of the registry held; `registry` has the table.
"""

from __future__ import annotations

import functools
from collections import deque
from contextvars import Context

from lambda_ric.callables import is_awaitable, is_coroutine_function, is_generator_function, name_of
from lambda_ric.threads import context_of_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any, Final, Literal

    End = Literal["succeeded", "overflowed", "unconfirmed", "failed", "cancelled", "abandoned", "dropped"]
    State = Literal["pending", "running"] | End

PENDING: Final = "pending"
RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
ABANDONED: Final = "abandoned"
DROPPED: Final = "dropped"
OVERFLOWED: Final = "overflowed"
UNCONFIRMED: Final = "unconfirmed"
ENDS: tuple[End, ...] = (SUCCEEDED, OVERFLOWED, UNCONFIRMED, FAILED, CANCELLED, ABANDONED, DROPPED)


NO_TIME = "there was no time left"
NO_THREAD = "all threads are taken by work of earlier invocations"
"""The reasons of ends that the work itself has no part in."""


class OutOfTime(Exception):
    """Raised by a piece of work that has no time to go on here, though it might elsewhere."""


class Slot:
    """A limit that several pieces of work share: *most* of them run at the same time, or as many as there are."""

    __slots__ = ("held_back", "most", "running")

    def __init__(self, most: int | None) -> None:
        self.most: int | None = most
        self.running: int = 0
        self.held_back: deque[Work] = deque()
        """Those whose turn it was when *most* were running, in their order."""

    @property
    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        return self.most is not None and self.running >= self.most


class Work:
    """
    A function to call, or an awaitable to await, and how that went.

    *on* says after which outcome of the invocation it is wanted, *slot* which
    other work it shares a limit with. *elsewhere*, if there is such a place,
    sends it to where it runs when it has no time here, and has the registry
    told what came of that.
    """

    __slots__ = (
        "attempts", "awaitable", "call", "context", "elsewhere", "ended_at", "ended_late", "exception", "future",
        "handed_over_at", "is_asynchronous", "is_leaving", "kind", "mention_from", "metric_name", "name", "on",
        "reason", "result", "slot", "started_at", "state",
    )  # fmt: skip

    def __init__(self, name: str, kind: str = "task", call: Callable[[], Any] | None = None) -> None:
        self.name: str = name
        self.metric_name: str = name
        """The dimension of its metrics: one of few, where *name* has in it what a client has sent."""
        self.kind: str = kind
        self.call = call
        self.awaitable: Any = None
        self.is_asynchronous: bool = False
        """Whether it runs on the event loop; else in a thread."""
        self.future: Any = None
        """What is at work for it, and can be asked to stop: of asyncio or of concurrent.futures."""
        self.context: Context = context_of_work()
        self.on: str = "always"
        self.slot: Slot | None = None
        self.elsewhere: Callable[[], None] | None = None

        self.state: State = PENDING
        self.is_leaving: bool = False
        """Whether it is on its way to where it runs later: then nobody begins or cancels it any more."""
        self.result: Any = None
        self.exception: BaseException | None = None
        self.reason: str = ""
        """Why it came to no good end, if there is more to say than its state does."""
        self.attempts: int = 1
        self.handed_over_at: float = 0.0
        self.started_at: float = 0.0
        self.ended_at: float = 0.0
        self.mention_from: float = 0.0
        """How many seconds it takes to be mentioned in the log when it succeeds."""
        self.ended_late: threading.Event | None = None
        """Set when the thread of an abandoned one has ended after all."""

    @property
    def has_ended(self) -> bool:
        """Whether it is in one of its last states."""
        return self.state in ENDS

    @property
    def is_mentioned(self) -> bool:
        """Whether the log has it: what is part of every invocation is worth a word only when it took its time."""
        return self.state != SUCCEEDED or self.ended_at - self.started_at >= self.mention_from

    @property
    def was_cut_off(self) -> bool:
        """Whether there was no time for it, or no more."""
        return self.reason == NO_TIME

    @property
    def was_lost(self) -> bool:
        """Whether it came to no good end, or nobody knows; who cancels it in time, wants that."""
        return self.was_cut_off or self.state in (FAILED, ABANDONED, DROPPED, UNCONFIRMED)

    def is_wanted_after(self, *, succeeded: bool) -> bool:
        """Say whether it is to run after an invocation that *succeeded*, or did not."""
        return self.on == "always" or (self.on == "success") == succeeded

    def wait_after_abandonment(self, seconds: float) -> bool:
        """Wait for the thread of an abandoned one, and say whether it has ended."""
        return self.ended_late is not None and self.ended_late.wait(min(max(0.0, seconds), _AN_HOUR))

    # The transitions, for the registry...

    def begin(self, now: float) -> None:
        """Go on to running."""
        self.state, self.started_at = RUNNING, now

    def end(
        self, state: End, now: float, result: Any = None, exception: BaseException | None = None, reason: str = ""
    ) -> None:
        """Go on to *state*, one of the last ones."""
        self.state, self.ended_at, self.result, self.exception, self.reason = state, now, result, exception, reason

    def let_go(self) -> None:
        """Forget the work itself, and with it the invocation: only how it ended is of use from now on."""
        self.call = self.awaitable = self.future = self.elsewhere = self.slot = None
        self.context = Context()


_AN_HOUR = 3600.0


def work_of(thing: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
    """
    Return *thing*, a function with its arguments or something to await, as a piece of work.

    Raises:
        TypeError: It is nothing that can be run or awaited.
    """
    to_await = is_awaitable(thing)
    if to_await or is_future(thing):
        if args or kwargs:
            raise TypeError("wait_until takes arguments for a function, not for what a call of one returned")
        work = Work(name_of(thing))
        work.awaitable = thing
        work.is_asynchronous = to_await
        return work
    if not callable(thing) or is_generator_function(thing):
        raise TypeError(
            "wait_until takes a function and its arguments, a coroutine, a task or a future, not "
            + (
                f"the generator {name_of(thing)!r}"
                if callable(thing)
                else f'{type(thing).__name__!r}. Do not call it yourself: wait_until(send_receipt, "o-17"), and not '
                'wait_until(send_receipt("o-17"))'
            )
        )
    work = Work(name_of(thing), call=functools.partial(thing, *args, **kwargs) if args or kwargs else thing)
    work.is_asynchronous = is_coroutine_function(thing)
    return work


def is_future(thing: Any) -> bool:
    """Say whether *thing* is a future of a pool, which nobody can await."""
    return hasattr(type(thing), "add_done_callback") and not is_awaitable(thing)


def runs_already(awaitable: Any) -> bool:
    """Say whether *awaitable* is a task or another future: at work whether or not anybody awaits it."""
    return hasattr(type(awaitable), "get_loop")
