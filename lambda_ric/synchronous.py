"""
`@blocking`: an asynchronous handler, or one that streams, as one plain call.
"""

from __future__ import annotations

import functools
import sys
import threading

from .event_loop import is_awaitable
from .handover import BLOCKING, handover_of
from .payloads import is_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def blocking(handler: Callable[..., Any]) -> Callable[..., Any]:
    """
    Make of *handler* a function that returns when all of its work is done.

    For the decorators of other libraries, which take a call for the whole of
    an invocation: put it innermost. A coroutine runs on the environment's
    event loop until its result is there. An iterator or a
    `StreamingResponse` is sent to its end, and the call then returns None:
    the caller of the function has been answered.

    Calling it raises RuntimeError outside of an invocation, in another thread
    than the main one, or while the event loop runs, where it would block it.
    """

    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:
        name = f"{getattr(handler, '__qualname__', 'a handler')}, which is @blocking,"
        handover = handover_of(name)
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{name} was called in a thread: the event loop belongs to the main thread")
        if "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:
            raise RuntimeError(f"{name} was called while the event loop runs, and would stop it: await the handler")
        result = handler(*args, **kwargs)
        while is_awaitable(result):
            result = handover.environment.event_loop.run(result)
        if is_stream(result):
            return handover.stream(result)
        return result

    setattr(run, BLOCKING, True)
    return run
