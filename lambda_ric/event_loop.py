"""
The environment's one event loop, and every question about what is asynchronous.

asyncio costs a cold start more than the rest of the runtime together, so it
is loaded when the first awaitable appears, or used when the function's own
code has loaded it. The loop is made once, lives on the main thread as long as
the environment, and is never closed: clients and tasks of the function's stay
with it. It is set as current before every synchronous call, because
`asyncio.run` and `Runner` clear it, and Mangum and Powertools ask for it.
"""

from __future__ import annotations

import logging
import sys
from contextvars import copy_context

from .context import current_invocation
from .interrupt import Interrupt, TimeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context
    from types import FrameType
    from typing import Any, TypeGuard
    from weakref import WeakKeyDictionary

    from .protocol import Invocation

log = logging.getLogger("lambda_ric.event_loop")

# From inspect, whose import costs as much as the rest of this package.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def is_awaitable(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Say whether *value* can be awaited."""
    if hasattr(type(value), "__await__"):
        return True
    code = getattr(value, "gi_code", None)
    return code is not None and bool(code.co_flags & _ITERABLE_COROUTINE)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """
    Say whether calling *function* does no more than to make a coroutine.

    A wrapper around a coroutine function may do anything, so it is not one.
    """
    return _has_flag(function, _COROUTINE | _ITERABLE_COROUTINE, "func")


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Say whether *function*, or what it wraps, yields: synchronously or not."""
    return _has_flag(function, _GENERATOR | _ASYNC_GENERATOR, "func", "__wrapped__")


def _has_flag(function: Any, flags: int, *inner: str) -> bool:
    for _ in range(64):  # a chain of wrappers can be a circle
        wrapped = next((getattr(function, name) for name in inner if callable(getattr(function, name, None))), None)
        if wrapped is None:
            break
        function = wrapped
    if not hasattr(function, "__code__"):
        function = getattr(function, "__func__", None) or getattr(type(function), "__call__", None)
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & flags)


class EventLoop:
    """
    The one loop, made when it is first needed.

    *grace* is how long a coroutine that is out of time may take to react to
    its cancellation, in seconds, before it is interrupted like other code.
    """

    def __init__(self, interrupt: Interrupt, grace: float) -> None:
        self._interrupt = interrupt
        self.grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._created: WeakKeyDictionary[asyncio.Task[Any], tuple[Invocation, str]]

    @property
    def in_use(self) -> bool:
        """Whether there is a loop."""
        return self._loop is not None

    def begin_invocation(self) -> None:
        """Make the loop the current one, if asyncio has been loaded by now."""
        self._context = None
        if "asyncio" in sys.modules:
            self.loop()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, made the current one of this thread."""
        import asyncio

        if self._loop is None or self._loop.is_closed():
            if self._loop is not None:
                log.warning(
                    "the event loop was closed by the function's code: what belonged to it is lost; made a new one"
                )
            from weakref import WeakKeyDictionary

            self._created = WeakKeyDictionary()
            self._loop = asyncio.new_event_loop()
            self._loop.set_task_factory(self._create_task)  # type: ignore[arg-type]
        asyncio.set_event_loop(self._loop)
        return self._loop

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """
        Run *awaitable* to its end and return its result.

        Raises:
            TimeUp: The interrupt that is set went off before the end.
        """
        import asyncio

        loop = self.loop()
        if self._context is None:
            # One for all parts of an invocation: what the first part sets, the part after the response can reset.
            self._context = copy_context()
        future = self.own(loop.create_task(_result_of(awaitable), context=self._context))
        asked = False

        def ask_to_stop() -> None:
            nonlocal asked
            asked = True
            loop.call_soon_threadsafe(future.cancel)

        self._interrupt.ask_first(ask_to_stop, self.grace)
        try:
            return loop.run_until_complete(future)
        except asyncio.CancelledError as cancelled:
            if asked:
                raise TimeUp().with_traceback(cancelled.__traceback__) from None
            raise
        finally:
            self._interrupt.ask_first(None)

    # Tasks that nobody awaits...

    def own(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Return *future*, which the runtime itself waits for: it is no orphan."""
        self._created.pop(future, None)  # type: ignore[call-overload]
        return future

    def orphans(self, invocation: Invocation) -> list[tuple[asyncio.Task[Any], str]]:
        """Return the unfinished tasks that *invocation* created, each with the line that did."""
        if self._loop is None:
            return []
        left = [
            (task, line) for task, (creator, line) in self._created.items() if creator is invocation and not task.done()
        ]
        for task, _ in left:
            del self._created[task]
        return left

    def _create_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        import asyncio

        task = asyncio.Task(coroutine, loop=loop, **options)
        invocation = current_invocation.get()
        if invocation is not None:
            self._created[task] = invocation, _line_of_caller()
        return task


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _line_of_caller() -> str:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith(("asyncio.", "lambda_ric.")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"
