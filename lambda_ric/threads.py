"""
Threads that belong to the invocation that started them.

Before Python 3.14 a thread starts with an empty context, and a pool's thread
works for whoever submitted. Both then log without a request id, or with that
of another invocation. Here a thread gets the context variables of the code
that started it, as free-threaded 3.14 does by itself, and work submitted to a
thread pool those of the code that submitted it.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextvars import copy_context

from .failures import exc_info
from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextvars import Context
    from types import FrameType
    from typing import Any

log = logging.getLogger("lambda_ric.threads")

SENDER = "lambda_ric.overflow"
"""The name of the threads that send tasks to queues."""


def carry_context() -> None:
    """Give every thread that is started from now on the context of the code that starts it."""
    start = threading.Thread.start
    if getattr(start, "carries_context", False):
        return

    def start_in_context(thread: threading.Thread) -> None:
        context = copy_context()
        own_run = vars(thread).get("run")

        def run_in_context() -> None:
            del thread.run
            if own_run is not None:
                thread.run = own_run  # type: ignore[method-assign]
            # Set, not entered, so that the hook for exceptions below still sees it.
            for variable, value in context.items():
                variable.set(value)
            thread.run()

        thread.run = run_in_context  # type: ignore[method-assign]
        vars(thread)[_ORIGIN] = context, _line_of(sys._getframe(1))
        start(thread)

    start_in_context.carries_context = True  # type: ignore[attr-defined]
    threading.Thread.start = start_in_context  # type: ignore[method-assign,assignment]
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_exception


def start_daemon(name: str, call: Callable[..., object], *args: object) -> threading.Thread | None:
    """
    Return a thread that has begun with *call*, or None if no more threads are to be had.

    A daemon: one that hangs must not keep the process from ending.
    """
    thread = threading.Thread(target=call, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def left_running(belongs: Callable[[Context], bool]) -> list[tuple[threading.Thread, str]]:
    """
    Return the threads that are at work, and the line that started each: once, and only what *belongs* to the caller.

    *belongs* is asked with the context variables of the code that started a
    thread. One that waits for work, as those of a pool do, is not at work.
    """
    found = []
    frames = sys._current_frames()
    for thread in threading.enumerate():
        origin = vars(thread).get(_ORIGIN)
        if origin is None or thread.name.startswith("lambda_ric.") or not belongs(origin[0]):
            continue
        frame = frames.get(thread.ident or 0)
        if frame is not None and _is_at_work(frame):
            del vars(thread)[_ORIGIN]
            found.append((thread, origin[1]))
    return found


_ORIGIN = "_lambda_ric_origin"
# Modules in which a thread waits for what it is to do next.
_WAITING_FOR_WORK = frozenset(("asyncio", "concurrent", "queue", "selectors", "socketserver"))


def _is_at_work(frame: FrameType | None) -> bool:
    while frame is not None and _package_of(frame) == "threading":
        frame = frame.f_back
    if frame is None:
        return False
    # In a pool's thread this is the frame around a piece of work that has none of its own, being written in C.
    is_work_of_pool = _package_of(frame) == "concurrent" and frame.f_code.co_name == "run"
    return is_work_of_pool or _package_of(frame) not in _WAITING_FOR_WORK


def _line_of(frame: FrameType | None) -> str:
    while frame is not None and _package_of(frame) in ("threading", "concurrent", "lambda_ric"):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def carry_context_into_pools() -> None:
    """Do the same for work submitted to thread pools, once their module has been loaded."""
    module = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return
    executor: type[ThreadPoolExecutor] | None = getattr(module, "ThreadPoolExecutor", None)
    submit: Any = getattr(executor, "submit", None)
    if executor is None or getattr(submit, "carries_context", False):
        return

    def submit_in_context(
        pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = submit(pool, copy_context().run, function, *args, **kwargs)
        return future

    submit_in_context.carries_context = True  # type: ignore[attr-defined]
    executor.submit = submit_in_context  # type: ignore[assignment,method-assign]


def _log_exception(args: Any) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "an unknown thread"
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    tell(log, logging.ERROR, "exception in thread %s", name, exc_info=exc_info(error))
