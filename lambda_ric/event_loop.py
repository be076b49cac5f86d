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

import functools
import logging
import sys
import time
from contextvars import copy_context
from types import GeneratorType

from .context import current_invocation
from .interrupt import Interrupt, TimeUp
from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Coroutine
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
    return isinstance(value, GeneratorType) and bool(value.gi_code.co_flags & _ITERABLE_COROUTINE)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """
    Say whether calling *function* does no more than to make a coroutine.

    A wrapper around a coroutine function may do anything, so it is not one.
    """
    return _has_flag(function, _COROUTINE | _ITERABLE_COROUTINE)


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Say whether *function* yields, synchronously or not; a wrapper around one need not."""
    return _has_flag(function, _GENERATOR | _ASYNC_GENERATOR)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `functools.wraps` says that *function* wraps, at the innermost."""
    for _ in range(64):  # a chain of wrappers can be a circle
        function = getattr(function, "__wrapped__", function)
    return function


def discard(work: Any) -> None:
    """Close *work* if it is a coroutine: one that nobody awaits warns when it is collected, far from its cause."""
    if is_awaitable(work) and hasattr(work, "send") and hasattr(work, "close"):
        work.close()


def _raised(future: asyncio.Future[Any], error: BaseException) -> bool:
    return future.done() and not future.cancelled() and future.exception() is error


def _came_from_a_task(error: BaseException) -> bool:
    """Say whether *error* was raised in a task or callback of the loop; else a signal handler did."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_flags & _COROUTINE or code.co_qualname == "Handle._run":
            return True
        trace = trace.tb_next
    return False


def _has_flag(function: Any, flags: int) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__"):
        function = getattr(function, "__func__", None) or getattr(type(function), "__call__", None)  # noqa: B004
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & flags)


_UNSET = object()


class EventLoop:
    """The one loop, made when it is first needed; *interrupt* ends what runs on it too long."""

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._created: WeakKeyDictionary[asyncio.Task[Any], tuple[Invocation, str]]
        self._raised_beside: list[BaseException] = []

    @property
    def has_tasks(self) -> bool:
        """Whether there may be tasks that nobody awaits."""
        return self._loop is not None and len(self._created) > 0

    def owns(self, future: asyncio.Future[Any]) -> bool:
        """Say whether *future* belongs to this loop."""
        return future.get_loop() is self._loop

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
                what = "the event loop was closed by the function's code: what belonged to it is lost; made a new one"
                tell(log, logging.WARNING, what)
            from weakref import WeakKeyDictionary

            self._created = WeakKeyDictionary()
            self._loop = asyncio.new_event_loop()
            self._loop.set_task_factory(self._create_task)  # type: ignore[arg-type,unused-ignore]
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
        context = self._context_of_caller()
        # A wrapper around a coroutine could be cancelled before it has begun to await it.
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _result_of(awaitable)
        future = self.own(loop.create_task(coroutine, context=context))
        asked = False

        def ask_to_stop() -> None:
            nonlocal asked
            asked = True
            loop.call_soon_threadsafe(future.cancel)

        self.interrupt.ask_first(ask_to_stop)
        try:
            while True:
                try:
                    return loop.run_until_complete(future)
                except (SystemExit, KeyboardInterrupt) as error:
                    # That of any task goes through the loop. This one goes on, and gets it if it awaits the other.
                    if _raised(future, error) or not _came_from_a_task(error):
                        raise
                    self._raised_beside.append(error)
        except asyncio.CancelledError as cancelled:
            if asked:
                raise TimeUp().with_traceback(cancelled.__traceback__) from None
            raise
        finally:
            self.interrupt.ask_first(None)
            for variable, value in context.items():
                if variable.get(_UNSET) is not value:
                    variable.set(value)
            if not future.done():
                future.cancel()
            else:
                # Raised here: nobody else needs to tell it.
                self._raised_beside = [error for error in self._raised_beside if not _raised(future, error)]

    def _context_of_caller(self) -> Context:
        # The same one again, if it still holds what the caller sees: what one part sets, another can reset.
        seen = copy_context()
        last = self._context
        if last is None or len(last) != len(seen) or any(last.get(name) is not value for name, value in seen.items()):
            self._context = last = seen
        return last

    def go_on_with(self, coroutine: Coroutine[Any, Any, Any], context: Context | None) -> asyncio.Future[Any]:
        """Return a task for *coroutine*, which can reset what an earlier part has set in *context*."""
        return self.own(self.loop().create_task(coroutine, context=context))

    @property
    def context(self) -> Context | None:
        """That of the part that runs."""
        return self._context

    def settle(self, grace: float) -> None:
        """
        Let the loop go on once after it was interrupted.

        What was cancelled ends now; and a stop that was under way is carried
        out, which would otherwise stop whoever runs the loop next.
        """
        if self._loop is None or self._loop.is_closed():
            return
        self._loop.call_soon(self._loop.stop)
        try:
            with self.interrupt.at(time.time() + grace, again=grace):
                self._loop.run_forever()
        except (TimeUp, SystemExit, KeyboardInterrupt):
            pass  # of code whose time was up before
        except RuntimeError as error:
            log.warning("the event loop cannot be run: %s", error)

    def close(self) -> None:
        """Close the loop; a next use makes a new one."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def take_raised_beside(self) -> list[BaseException]:
        """Return what ended tasks that nobody awaited, and was to end the process: once."""
        raised, self._raised_beside = self._raised_beside, []
        return raised

    def cancel(self, futures: Collection[asyncio.Future[Any]], grace: float) -> None:
        """Cancel *futures*, and give them *grace* seconds to end."""
        import asyncio

        for future in futures:
            future.cancel()
        try:
            with self.interrupt.at(time.time() + grace, again=grace):
                self.run(asyncio.wait(futures, timeout=grace))
        except (TimeUp, asyncio.CancelledError):
            pass  # CancelledError: of code that cancels every task there is

    # Tasks that nobody awaits...

    def own(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Return *future*, which the runtime itself waits for: it is no orphan."""
        self._created.pop(future, None)  # type: ignore[call-overload]
        return future

    def orphans(self, invocation: Invocation) -> list[tuple[asyncio.Task[Any], str]]:
        """Return the unfinished tasks that *invocation* created, each with the line that did."""
        if self._loop is None:
            return []
        created = self._created.items()
        return [(task, line) for task, (creator, line) in created if creator is invocation and not task.done()]

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
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package == "lambda_ric":
            break  # what called us created nothing
        if package != "asyncio":
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"
