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
    from typing import Any

log = logging.getLogger("lambda_ric.threads")


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
        start(thread)

    start_in_context.carries_context = True  # type: ignore[attr-defined]
    threading.Thread.start = start_in_context  # type: ignore[method-assign,assignment]
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_exception


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
