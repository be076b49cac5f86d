"""
Threads that belong to the invocation that started them.

A thread starts with an empty context, unless Python 3.14's flag `thread_inherit_context` is set, and a pool's thread
works for whoever submits. Both would then log without a request id, or with that of another invocation, and could hand
no work over. So one context variable goes along with a thread that is started, and with work that is submitted to a
pool: that of the invocation.

The function's own variables do not. Values that are kept in context variables can belong to one thread, and can be
changed by whoever has them: a connection of sqlite3, the context of `decimal`, of which each thread has its own. A
pool's thread keeps what its initializer has set.
https://docs.python.org/3/library/decimal.html#working-with-threads
"""

from __future__ import annotations

import logging
import sys
import threading
from contextvars import copy_context

from .context import current_invocation
from .failures import exc_info, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextvars import Context
    from types import FrameType
    from typing import Any

    from .context import InvocationScope

log: logging.Logger = logging.getLogger("lambda_ric.threads")

_start = threading.Thread.start

SENDER = "lambda_ric.overflow"
"""The name of the threads that send tasks to queues."""


def carries_invocation() -> bool:
    """Say whether `carry_invocation` was called: whether a loop of this package serves the process."""
    return getattr(threading.Thread.start, "carries_invocation", False)


def carry_invocation() -> None:
    """Have every thread that is started from now on belong to the invocation of the code that starts it."""
    if carries_invocation():
        return
    start = threading.Thread.start

    def start_for_invocation(thread: threading.Thread) -> None:
        invocation = current_invocation.get()
        if invocation is not None:
            own_run = vars(thread).get("run")

            def run_for_invocation(thread: threading.Thread) -> None:
                del thread.run
                if own_run is not None:
                    thread.run = own_run  # type: ignore[method-assign]
                # For good, so that the hook for exceptions still sees it.
                current_invocation.set(invocation)
                try:
                    thread.run()
                except BaseException:
                    _carry_into_hook(thread, invocation)
                    raise

            # As a method: Sentry's `start`, where it was there before ours, wraps the function of one.
            thread.run = run_for_invocation.__get__(thread)  # type: ignore[method-assign]
            vars(thread)[ORIGIN] = invocation, _line_of(sys._getframe(1))
        start(thread)

    start_for_invocation.carries_invocation = True  # type: ignore[attr-defined]
    threading.Thread.start = start_for_invocation  # type: ignore[method-assign,assignment]
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_exception


def _carry_into_hook(thread: threading.Thread, invocation: InvocationScope) -> None:
    # From Python 3.14 on, a thread has left its context when the hook for its exception is called.
    invoke: Callable[[threading.Thread], object] | None = vars(thread).get("_invoke_excepthook")
    if invoke is not None:
        vars(thread)["_invoke_excepthook"] = lambda thread: _call_for(invocation, invoke, thread)


def start_daemon(name: str, call: Callable[..., object], *args: object) -> threading.Thread | None:
    """
    Return a thread of the runtime's own that has begun with *call*, or None if no more threads are to be had.

    A daemon: one that hangs must not keep the process from ending.
    """
    invocation = current_invocation.get()
    thread = threading.Thread(target=_call_for, args=(invocation, call, *args), name=name, daemon=True)
    try:
        # Not by way of those who have wrapped it, `carry_invocation` among them: to find the line that started it
        # would take a tenth of the time of an invocation with one function handed over.
        _start(thread)
    except RuntimeError:
        return None
    return thread


ORIGIN = "_lambda_ric_origin"
"""The attribute of a thread that says which invocation started it, and on which line."""


def _line_of(frame: FrameType | None) -> str:
    while frame is not None and package_of(frame) in ("threading", "concurrent", "lambda_ric"):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def package_of(frame: FrameType) -> str:
    """Return the first part of the name of the module that *frame* runs in."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def carry_invocation_into_pools() -> None:
    """Have work in thread pools belong to the invocation that submitted it, once their module has been loaded."""
    module = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return
    executor: type[ThreadPoolExecutor] | None = getattr(module, "ThreadPoolExecutor", None)
    submit: Any = getattr(executor, "submit", None)
    if executor is None or getattr(submit, "carries_invocation", False):
        return

    def submit_for_invocation(
        pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = submit(pool, _call_for, current_invocation.get(), function, *args, **kwargs)
        return future

    submit_for_invocation.carries_invocation = True  # type: ignore[attr-defined]
    executor.submit = submit_for_invocation  # type: ignore[assignment,method-assign]


def _call_for(invocation: InvocationScope | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    before = current_invocation.set(invocation)
    try:
        return function(*args, **kwargs)
    finally:
        current_invocation.reset(before)


def context_of_work() -> Context:
    """
    Return a copy of the context variables of this moment, for work that is handed over.

    It can run at the same time as the code that handed it over, and as others who did: so it gets a decimal context of
    its own, which decimal keeps in such a variable, and changes in place.
    """
    context = copy_context()
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        context.run(lambda: decimal.setcontext(decimal.getcontext().copy()))
    return context


def _log_exception(args: Any) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "an unknown thread"
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    tell(log, logging.ERROR, "exception in thread %s", name, exc_info=exc_info(error))
