"""
Awaitables, on the environment's event loop, which runs for as long as there are any. Loaded with the first.
"""

from __future__ import annotations

import asyncio
import time

from lambda_ric.callables import discard
from lambda_ric.interrupt import TimeUp

from .work import SUCCEEDED, Work, runs_already

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambda_ric.event_loop import EventLoop

    from .registry import Registry


class Coroutines:
    """Awaits what *registry* has for the event loop; what is interrupted is interrupted anew after *grace* seconds."""

    def __init__(self, registry: Registry, event_loop: EventLoop, grace: float) -> None:
        self.awaited: set[asyncio.Future[None]] = set()
        """What has begun and not ended; it goes on whenever the loop runs."""
        self._registry = registry
        self._event_loop = event_loop
        self._grace = grace
        self._failed_runs = 0

    def run(self) -> None:
        """Run the loop until nothing is left for it, or the time is up; never raises."""
        try:
            # Whoever waits here stops waiting at that time; a coroutine that never awaits is interrupted.
            with self._event_loop.interrupt.at(self._registry.until, again=self._grace):
                self._event_loop.run(self._await_all())
        except (TimeUp, asyncio.CancelledError):
            pass  # CancelledError: of code that cancels every task there is
        except Exception as error:
            # A stop() of the function's code ends one run. What ends them all has made the loop unusable.
            self._failed_runs += 1
            if self._failed_runs >= _MOST_FAILED_RUNS or self._event_loop.is_lost:
                self.awaited.clear()
                self._registry.fail_coroutines(error)

    async def _await_all(self) -> None:
        registry = self._registry
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        registry.wake_with(lambda: loop.call_soon_threadsafe(changed.set))
        try:
            while time.time() < registry.until:
                changed.clear()
                while (work := self._next()) is not None:
                    self._start(work, loop, changed)
                if not self.awaited:
                    return
                async with asyncio.timeout(min(registry.until - time.time(), _AN_HOUR)):
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            registry.wake_with(None)

    def _next(self) -> Work | None:
        with self._registry.lock:
            return self._registry.coroutines.take()

    def _start(self, work: Work, loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
        registry = self._registry
        with registry.lock:  # so that nobody cancels it between its beginning and its future
            if not registry.begin(work):
                registry.coroutines.leave(work)
                return
            # By no factory of the function's: it may know no contexts.
            future = asyncio.Task(self._run(work), loop=loop, context=work.context)
            registry.begin(work, future)
        self._event_loop.own(future)
        self.awaited.add(future)

        def ended(future: asyncio.Future[None]) -> None:
            self.awaited.discard(future)
            with registry.lock:
                registry.coroutines.leave(work)
            if future.cancelled() and not work.has_ended:  # before its first step
                discard(work.awaitable)
                registry.stopped(work)
            changed.set()

        future.add_done_callback(ended)

    async def _run(self, work: Work) -> None:
        registry = self._registry
        awaitable = work.awaitable
        try:
            if awaitable is None:
                assert work.call is not None
                awaitable = work.call()
            result = await awaitable
        except TimeUp:
            registry.stopped(work)
        except asyncio.CancelledError as error:
            itself = asyncio.current_task()
            if (itself is not None and itself.cancelling()) or _was_cancelled(awaitable):
                registry.stopped(work)
            else:  # nobody cancelled it: some code below let the exception through
                registry.fail(work, error)
        except BaseException as error:  # SystemExit would end the event loop
            registry.fail(work, error)
        else:
            if registry.is_time_up and self._was_interrupted():  # whatever it returned then
                registry.stopped(work)
            else:
                registry.end(work, SUCCEEDED, result)

    def _was_interrupted(self) -> bool:
        itself = asyncio.current_task()
        return bool(itself is not None and itself.cancelling()) or self._event_loop.interrupt.has_raised


def _was_cancelled(awaitable: Any) -> bool:
    return runs_already(awaitable) and bool(awaitable.cancelled())


_MOST_FAILED_RUNS = 100
_AN_HOUR = 3600.0
