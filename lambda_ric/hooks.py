"""
Functions that run around every invocation of this process, and at its two ends.

The decorators register them, in the order in which they are to run. Each may
be synchronous or asynchronous.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .background.report import TaskReport
    from .context import LambdaContext
    from .failures import Failure

    Startup = TypeVar("Startup", bound=Callable[[], Any])
    Before = TypeVar("Before", bound=Callable[[Any, LambdaContext], Any])
    After = TypeVar("After", bound="Callable[[Outcome], Any]")
    Freeze = TypeVar("Freeze", bound=Callable[[], Any])
    Thaw = TypeVar("Thaw", bound=Callable[[float], Any])
    Snapshot = TypeVar("Snapshot", bound=Callable[[], Any])
    Shutdown = TypeVar("Shutdown", bound=Callable[[], Any])
    TaskFailed = TypeVar("TaskFailed", bound=Callable[[TaskReport], Any])


class Outcome:
    """
    How an invocation went; what the hooks after it are called with.

    *result* is what the handler returned, before it was encoded; *error* is
    what it raised, or why its result could not be delivered; *duration* is
    the handler's time in seconds.
    """

    __slots__ = ("context", "duration", "error", "event", "result")

    def __init__(
        self,
        event: Any = None,
        context: LambdaContext | None = None,
        result: Any = None,
        error: BaseException | None = None,
        duration: float = 0.0,
    ) -> None:
        self.event: Any = event
        self.context: LambdaContext | None = context
        self.result: Any = result
        self.error: BaseException | None = error
        self.duration: float = duration

    @property
    def succeeded(self) -> bool:
        """Whether the caller has the handler's result."""
        return self.error is None

    def __repr__(self) -> str:
        how = "succeeded" if self.error is None else f"failed with {type(self.error).__name__}"
        return f"<Outcome: {how} after {self.duration:.3f} s>"


class Hooks:
    """The functions registered so far, by the moment at which they run."""

    def __init__(self) -> None:
        self.startup: list[Callable[[], Any]] = []
        self.before: list[Callable[[Any, LambdaContext], Any]] = []
        self.after: list[Callable[[Outcome], Any]] = []
        self.freeze: list[Callable[[], Any]] = []
        self.thaw: list[Callable[[float], Any]] = []
        self.snapshot: list[Callable[[], Any]] = []
        self.restore: list[Callable[[], Any]] = []
        self.shutdown: list[Callable[[], Any]] = []
        self.task_failed: list[Callable[[TaskReport], Any]] = []
        self.answer: Callable[[Any, float], None] | None = None
        """What calls `Serving.answer` with a handler, where names of AWS's runtime were asked for: `awslambdaric`."""
        self.init_error: Callable[[Callable[..., None], Failure, str | None], None] | None = None
        """Likewise what posts an init error: it is given the function that does, and what to call that with."""


PROCESS_HOOKS = Hooks()
"""Filled by the decorators below while the function's modules are imported."""


def on_startup(function: Startup) -> Startup:
    """
    Run *function* once, after the handler has been loaded and before the first event is asked for.

    If it raises, the environment is not started: that is an init error.
    """
    PROCESS_HOOKS.startup.append(_callable(function, "on_startup"))
    return function


def before_invoke(function: Before) -> Before:
    """
    Run *function* with the event and the context before every handler call.

    If it raises, the invocation fails with that error and the handler is not called.
    """
    PROCESS_HOOKS.before.append(_callable(function, "before_invoke"))
    return function


def after_invoke(function: After) -> After:
    """
    Run *function* with the `Outcome` after every response or error has been delivered.

    If it raises, that is logged: the caller has had the answer.
    """
    PROCESS_HOOKS.after.append(_callable(function, "after_invoke"))
    return function


def before_freeze(function: Freeze) -> Freeze:
    """
    Run *function* at the end of every invocation, after its background work and before the environment can be frozen.

    It is not told whether there will be a freeze: nobody knows. If it raises,
    that is logged.
    """
    PROCESS_HOOKS.freeze.append(_callable(function, "before_freeze"))
    return function


def after_thaw(function: Thaw) -> Thaw:
    """
    Run *function* before every invocation but the first, with the seconds since the environment last came to rest.

    That is a fraction of a millisecond when the next event was waiting, or
    hours. It runs before the before_invoke hooks, within the time of the
    handler. If it raises, that is logged, and the invocation goes on.
    """
    PROCESS_HOOKS.thaw.append(_callable(function, "after_thaw"))
    return function


def before_snapshot(function: Snapshot) -> Snapshot:
    """
    Run *function* as the last step of an init whose environment is saved for SnapStart; the last one registered first.

    It is called where there is a snapshot, and nowhere else. If it raises,
    that is an init error, and the version of the function is not published.
    """
    PROCESS_HOOKS.snapshot.append(_callable(function, "before_snapshot"))
    return function


def after_restore(function: Snapshot) -> Snapshot:
    """
    Run *function* in every environment that was restored from a snapshot, before its first event.

    Lambda gives all of these functions together 10 seconds. If it raises,
    the environment ends, and the caller that it was restored for gets an
    error.
    """
    PROCESS_HOOKS.restore.append(_callable(function, "after_restore"))
    return function


def on_task_failed(function: TaskFailed) -> TaskFailed:
    """
    Run *function* with a `TaskReport` for each piece of background work that was lost.

    That is what failed, was dropped or abandoned, or cancelled because its
    time was up. It runs after the drain, in what time is left; if it raises,
    that is logged.
    """
    PROCESS_HOOKS.task_failed.append(_callable(function, "on_task_failed"))
    return function


def on_shutdown(function: Shutdown) -> Shutdown:
    """
    Run *function* once, when the environment is shut down in an orderly way; the last one registered runs first.

    A promise it is not: Lambda kills an environment that failed, and gives
    all these functions together less than 300 ms. Register before the first
    event is asked for. If it raises, that is logged.
    """
    PROCESS_HOOKS.shutdown.append(_callable(function, "on_shutdown"))
    return function


def _callable(function: Any, decorator: str) -> Any:
    if not callable(function):
        raise TypeError(f"@{decorator} takes a function, not {type(function).__name__!r}")
    return function
