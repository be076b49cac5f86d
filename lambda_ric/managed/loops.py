"""
The one event loop of a worker, and how the slots in its threads use it.

    not there ──the first who needs it──▶ made on the main thread ──▶ runs until the worker ends

It runs on the main thread, so that signal handlers and clients find it where they do elsewhere. A slot hands it a
coroutine and waits; the main thread never waits for a slot. What a slot waits for too long it leaves behind: it is not
cancelled, and ends by itself (see `watch`). Background work is cancelled at the end of its time, as everywhere: that is
asyncio's own contract, and `background.coroutines` does it.
"""

from __future__ import annotations

import _queue
import logging
import sys
import threading
import time
from contextvars import Context

from lambda_ric.callables import name_of
from lambda_ric.event_loop import EventLoop, came_from_a_task, traceback_of
from lambda_ric.failures import tell
from lambda_ric.interrupt import TimeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from typing import Any, NoReturn

    from lambda_ric.context import InvocationScope

    from .watch import SlotInterrupt

log: logging.Logger = logging.getLogger("lambda_ric.managed")


class StillRuns(TimeUp):
    """Raised in whoever has waited too long for what goes on: nothing was interrupted."""

    runs_on = True


class MainLoop:
    """The loop of *event_loop*, which any thread may ask for, and the main thread runs."""

    def __init__(self, event_loop: EventLoop) -> None:
        self._event_loop = event_loop
        self._calls: Any = _queue.SimpleQueue()
        """What wakes the main thread while it has no loop; a signal handler may put something in."""
        self._made = threading.Event()
        self._wanted = "asyncio" in sys.modules
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_to_end = False

    # On the main thread...

    def run(self, seconds: float | None = None) -> None:
        """
        Run the loop, or wait for somebody who wants it, until `stop`, or for so many *seconds*.

        What a signal handler raises comes out here.
        """
        until = None if seconds is None else time.monotonic() + seconds
        self._has_to_end = False
        while not self._has_to_end:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            if self._wanted:
                self._run_loop(left)
                continue
            try:
                self._calls.get(timeout=left)
            except _queue.Empty:
                return

    def make(self) -> asyncio.AbstractEventLoop:
        """Return the loop, made if need be, which the next `run` runs."""
        self._wanted = True
        self._loop = loop = self._event_loop.loop()
        self._made.set()
        return loop

    def _run_loop(self, seconds: float | None) -> None:
        loop = self.make()
        timer = None if seconds is None else loop.call_later(seconds, loop.stop)
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # Of a task, whose invocation is told; else of a signal handler.
            if not came_from_a_task(error):
                raise
        finally:
            if timer is not None:
                timer.cancel()

    # ...and from any.

    def stop(self) -> None:
        """Have `run` return."""
        self._has_to_end = True
        self._wake()

    def _wake(self) -> None:
        self._calls.put(None)
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(loop.stop)
            except RuntimeError:
                pass  # it is closed

    @property
    def current(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if there is one by now."""
        return self._loop

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the loop, made if need be."""
        loop = self._loop
        if loop is None or loop.is_closed():
            self._made.clear()
            self._wanted = True
            self._wake()
            self._made.wait()
            loop = self._loop
        assert loop is not None
        return loop


class SlotLoop(EventLoop):
    """
    The event loop as a slot in a thread sees it; *interrupt* is the slot's own.

    *left_behind* is called on the loop with what the slot does not wait for any longer.
    """

    def __init__(
        self,
        interrupt: SlotInterrupt,
        main: MainLoop,
        left_behind: Callable[[asyncio.Task[Any]], object],
        fate_of_orphans: str,
    ) -> None:
        super().__init__(interrupt)
        # Nothing stands still here: tasks that nobody awaits go on, and are worth no warning.
        self._looks_for_orphans = fate_of_orphans != "warn"
        self._left_behind = left_behind
        self._main = main
        self._slot = interrupt
        self._waiting: Any = None
        """Where the thread waits at this moment for a coroutine: a queue."""

    def has_tasks_of(self, invocation: InvocationScope) -> bool:
        """Say whether *invocation* has left tasks that nobody awaits, and that somebody is to act on."""
        return self.has_orphans(invocation)

    def _left(self) -> list[tuple[asyncio.Task[Any], InvocationScope]]:
        if not self._looks_for_orphans:
            return []
        self._loop = self._main.current
        return super()._left()

    def owns(self, future: asyncio.Future[Any]) -> bool:
        """Say whether *future* belongs to the loop."""
        return future.get_loop() is self._main.current

    def begin_invocation(self, context: Context | None = None) -> None:
        """Forget the context of the invocation before; that of this one is *context*, if it begins on the loop."""
        self._context = context

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        self._loop = loop = self._main.get()
        return loop

    def task(self, coroutine: Coroutine[Any, Any, Any], context: Context | None) -> asyncio.Task[Any]:
        """Return a task for *coroutine* that the runtime itself waits for: it is no orphan."""
        import asyncio

        loop = self.loop()
        if asyncio._get_running_loop() is loop:
            return self.own(asyncio.Task(coroutine, loop=loop, context=context))
        made: Any = _queue.SimpleQueue()
        loop.call_soon_threadsafe(lambda: made.put(self.own(asyncio.Task(coroutine, loop=loop, context=context))))
        task: asyncio.Task[Any] = made.get()
        return task

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """
        Run *awaitable* to its end and return its result.

        Raises:
            StillRuns: The time was up before the end; it goes on.
            RuntimeError: The loop itself calls this.
        """
        import asyncio

        if asyncio._get_running_loop() is not None:
            raise RuntimeError("this is code on the event loop, and would wait for itself: await it")
        loop = self.loop()
        context = self._context_of_caller()
        coroutine: Any = awaitable if asyncio.iscoroutine(awaitable) else _result_of(awaitable)
        waiting: Any = _queue.SimpleQueue()
        timed = self._slot.is_of_this_thread
        if timed:
            self._waiting = waiting

        task: asyncio.Task[Any] | None = None

        def start() -> None:
            nonlocal task
            task = self.own(asyncio.Task(coroutine, loop=loop, context=context))
            task.add_done_callback(waiting.put)

        try:
            loop.call_soon_threadsafe(start)
            done = waiting.get()
        finally:
            if timed:
                self._waiting = None
            for variable, value in context.items():
                if variable.get(None) is not value:
                    variable.set(value)
        if done is None:
            # It runs at the latest when the loop, if it is blocked, goes on.
            loop.call_soon_threadsafe(lambda: task is not None and self._left_behind(task))
            raise StillRuns().with_traceback(traceback_of(coroutine))
        return done.result()

    @property
    def is_waiting(self) -> bool:
        """Whether the thread of the slot waits for a coroutine."""
        return self._waiting is not None

    def stop_waiting(self) -> bool:
        """Have the thread of the slot wait no longer; say whether it did wait."""
        waiting = self._waiting
        if waiting is None:
            return False
        waiting.put(None)
        return True

    def run_until(self, task: asyncio.Task[None], is_so: Callable[[], bool]) -> NoReturn:
        """Raise a RuntimeError: the loop is not at hand."""
        raise RuntimeError("the event loop runs in another thread")

    @property
    def is_at_hand(self) -> bool:
        """Return False: it is always running."""
        return False

    @property
    def may_be_waited_for(self) -> bool:
        """Whether the calling thread is that of the slot."""
        return self._slot.is_of_this_thread

    def settle(self, grace: float) -> None:
        """Do nothing, whatever the seconds: nothing was interrupted."""

    def hear_signals(self, seconds: float) -> None:
        """Do nothing, whatever the seconds: the loop runs, and hears by itself."""

    def close(self) -> None:
        """Do nothing: it is the loop of others, too."""

    def cancel(self, futures: Collection[asyncio.Future[Any]], grace: float) -> None:
        """Cancel *futures*, and give them *grace* seconds to end."""
        import asyncio

        async def cancelled() -> None:
            for future in futures:
                future.cancel()
            await asyncio.wait(futures, timeout=grace)

        try:
            with self._slot.at(time.time() + 2 * grace, again=grace):
                self.run(cancelled())
        except (TimeUp, asyncio.CancelledError):
            what = "the event loop is blocked: %s could not be cancelled"
            tell(log, logging.ERROR, what, ", ".join(name_of(future) for future in futures))


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
