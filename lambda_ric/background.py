"""
The work of one invocation after its response: what was handed over, and its drain.

After the response nothing can fail the invocation: whatever a piece of work
raises, `SystemExit` included, is logged under its name and never leaves this
module. Callables run in worker threads, coroutines on the environment's event
loop, and both at the same time; the main thread waits for all of them.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from contextvars import copy_context

from .event_loop import EventLoop, is_awaitable, is_coroutine_function
from .failures import exc_info
from .interrupt import Interrupt, TimeUp
from .spans import Spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Awaitable, Callable
    from typing import Any

    from .protocol import Invocation
    from .settings import Settings

log = logging.getLogger("lambda_ric.background")

PENDING, RUNNING = "pending", "running"
SUCCEEDED, FAILED, CANCELLED, ABANDONED, DROPPED = "succeeded", "failed", "cancelled", "abandoned", "dropped"
ENDS = (SUCCEEDED, FAILED, CANCELLED, ABANDONED, DROPPED)


class BackgroundTask:
    """
    One piece of work that runs after the response; what `wait_until` returns.

    Its *state* is ``pending``, ``running``, or one of the five ends:
    ``succeeded``; ``failed``, it raised; ``cancelled``; ``abandoned``, it was
    still running when the time was up and could not be stopped; ``dropped``,
    it had not been started by then.
    """

    def __init__(self, name: str, kind: str = "task") -> None:
        self.name = name
        self.kind = kind
        self.state = PENDING
        self.started_at = 0.0
        self._context = copy_context()
        self._call: Callable[[], Any] | None = None
        self._awaitable: Awaitable[Any] | None = None
        self._result: Any = None
        self._exception: BaseException | None = None
        self._cancel: Callable[[], bool] = _cannot
        self._ended_late: threading.Event | None = None

    def done(self) -> bool:
        """Say whether it has ended, in whichever way."""
        return self.state in ENDS

    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self.state == CANCELLED

    def result(self) -> Any:
        """
        Return what it returned, or raise what it raised.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        error = self.exception()
        if error is not None:
            raise error
        return self._result

    def exception(self) -> BaseException | None:
        """
        Return what it raised, or None when it succeeded.

        Raises:
            RuntimeError: It has not ended yet, or never came to an end.
        """
        if self.state not in (SUCCEEDED, FAILED):
            raise RuntimeError(f"background task {self.name!r} has no result: it is {self.state}")
        return self._exception

    def cancel(self) -> bool:
        """
        Cancel it, and say whether that was possible.

        What has not been started will not be; a running coroutine is asked to
        stop at its next await; a function that runs in a thread goes on.
        """
        return self._cancel()

    def wait_after_abandonment(self, seconds: float) -> bool:
        """Wait for the thread of an abandoned task, and say whether it has ended."""
        return self._ended_late is not None and self._ended_late.wait(min(max(0.0, seconds), _AN_HOUR))

    def __repr__(self) -> str:
        return f"<BackgroundTask {self.name!r}: {self.state}>"


class Background:
    """
    The registry of one invocation.

    Work may be handed over from any thread until the drain has found the set
    empty, or the time up; then the registry is closed.
    """

    def __init__(
        self, invocation: Invocation, settings: Settings, event_loop: EventLoop, interrupt: Interrupt, spans: Spans
    ) -> None:
        self.invocation = invocation
        self.tasks: list[BackgroundTask] = []
        """Everything that was to run after the response, hooks included, in the order of hand-over."""
        self._settings = settings
        self._event_loop = event_loop
        self._interrupt = interrupt
        self._spans = spans
        self._changed = threading.Condition()
        self._unfinished = 0
        self._threads = 0
        self._draining = False
        self._closed = False
        self._calls: deque[BackgroundTask] = deque()
        self._coroutines: deque[BackgroundTask] = deque()
        self._awaited: set[asyncio.Future[None]] = set()
        self._wake_loop: Callable[[], object] = _do_nothing

    # Handing work over...

    def hand_over(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BackgroundTask:
        """
        Add *work* to the set.

        Raises:
            TypeError: It is nothing that can be run or awaited.
            ValueError: It is a future of another event loop.
            RuntimeError: The invocation has ended.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError(
                    f"wait_until was called after the background work of request {self.invocation.request_id} had ended: "
                    "nobody would wait for it. Hand work over before the code that calls wait_until ends itself"
                )
            if is_awaitable(work):
                return self._add_awaitable(work, args, kwargs)
            task = BackgroundTask(name_of(work))
            if hasattr(work, "add_done_callback") and not (args or kwargs):
                self._add_future(task, work)
            elif not callable(work):
                raise TypeError(
                    f"wait_until takes a function and its arguments, a coroutine, a task or a future, not {type(work).__name__!r}"
                )
            else:
                task._call = functools.partial(work, *args, **kwargs) if args or kwargs else work
                task._cancel = lambda: self._cancel_pending(task)
                self._add(task, self._coroutines if is_coroutine_function(work) else self._calls)
        if self._draining:
            self._start_threads()
        return task

    def _add_awaitable(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BackgroundTask:
        if args or kwargs:
            raise TypeError("wait_until takes arguments for a function only: this is what a call of one returned")
        for task in self.tasks:
            if task._awaitable is work:
                return task
        if hasattr(work, "get_loop"):
            if work.get_loop() is not self._event_loop.loop():
                raise ValueError(
                    "wait_until cannot await a task of another event loop: hand over the coroutine instead"
                )
            # Its exception is told by the drain; asyncio need not tell it once more.
            work.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._event_loop.own(work)
        task = BackgroundTask(name_of(work))
        task._awaitable = work
        task._cancel = lambda: self._cancel_pending(task)
        self._add(task, self._coroutines)
        return task

    def _add_future(self, task: BackgroundTask, future: concurrent.futures.Future[Any]) -> None:
        self._add(task)
        task.state, task.started_at = RUNNING, time.time()
        task._cancel = future.cancel

        def ended(future: concurrent.futures.Future[Any]) -> None:
            if future.cancelled():
                self._end(task, CANCELLED)
                return
            error = future.exception()
            if error is None:
                self._end(task, SUCCEEDED, future.result())
            else:
                task._context.run(self._fail, task, error)

        future.add_done_callback(ended)

    def _add(self, task: BackgroundTask, queue: deque[BackgroundTask] | None = None) -> None:
        self.tasks.append(task)
        self._unfinished += 1
        if queue is not None:
            queue.append(task)
        self._changed.notify_all()
        self._wake_loop()

    # One after the other, on the main thread...

    def run_now(self, kind: str, name: str, call: Callable[[], Any], until: float) -> None:
        """Run *call*, a hook or the rest of a generator, and wait for what it returns; never raises."""
        task = BackgroundTask(name, kind)
        with self._changed:
            self._add(task)
        if time.time() >= until:
            self._end(task, DROPPED)
            return
        task.state, task.started_at = RUNNING, time.time()
        try:
            with self._interrupt.at(until):
                result = call()
                if is_awaitable(result):
                    result = self._event_loop.run(result)
        except TimeUp:
            self._end(task, CANCELLED)
        except BaseException as error:  # after the response nothing can fail the invocation
            self._fail(task, error)
        else:
            self._end(task, SUCCEEDED, result)

    # All at the same time: the drain...

    def drain(self, until: float) -> None:
        """Run what was handed over, and what that hands over, until there is none left or the time is up."""
        self._draining = True
        self._start_threads()
        while True:
            with self._changed:
                if self._unfinished and time.time() < until:
                    if not (self._coroutines or self._awaited):
                        self._changed.wait(min(until - time.time(), _AN_HOUR))
                        continue
                elif not self._adopt_orphans(until):
                    self._closed = True
                    break
            self._run_coroutines(until)
        self._give_up()
        self._name_orphans()

    def _start_threads(self) -> None:
        while True:
            with self._changed:
                if self._closed or self._threads >= min(self._settings.max_threads, self._threads + len(self._calls)):
                    return
                self._threads += 1
            # A daemon: one that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._work, name="lambda_ric.background", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads are to be had
                with self._changed:
                    self._threads -= 1
                    task = self._calls.popleft() if self._threads == 0 and self._calls else None
                if task is None:
                    return
                self._fail(task, error)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    self._threads -= 1
                    return
                task = self._calls.popleft()
                if task.state != PENDING:
                    continue
                task.state, task.started_at, task._cancel = RUNNING, time.time(), _cannot
            assert task._call is not None
            try:
                result = task._context.run(task._call)
            except BaseException as error:  # SystemExit would end this thread only, and silently
                task._context.run(self._fail, task, error)
                continue
            if is_awaitable(result):
                with self._changed:
                    task._awaitable = result
                    self._coroutines.append(task)
                    self._changed.notify_all()
                    self._wake_loop()
            else:
                task._context.run(self._end, task, SUCCEEDED, result)

    def _run_coroutines(self, until: float) -> None:
        # Cancelled at the time; let go of a grace later; code that never awaits is interrupted after another.
        try:
            with self._interrupt.at(until + 2 * self._event_loop.grace):
                self._event_loop.run(self._await_coroutines(until))
        except TimeUp:
            self._awaited.clear()
        except BaseException as error:  # of a task that was not handed over, such as its SystemExit
            log.error("a task on the event loop raised", exc_info=exc_info(error))

    async def _await_coroutines(self, until: float) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        self._wake_loop = lambda: loop.call_soon_threadsafe(changed.set)
        try:
            while True:
                changed.clear()
                while self._coroutines:
                    self._start_coroutine(self._coroutines.popleft(), loop, changed)
                if not self._awaited:
                    return
                async with asyncio.timeout(min(max(0.0, until - time.time()), _AN_HOUR)):
                    await changed.wait()
        except TimeoutError:
            for future in self._awaited:
                future.cancel()
            await asyncio.wait(self._awaited, timeout=self._event_loop.grace)
        finally:
            self._wake_loop = _do_nothing
            if time.time() >= until:
                self._awaited.clear()

    def _start_coroutine(self, task: BackgroundTask, loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
        if task.done():
            return
        if task.state == PENDING:
            task.state, task.started_at = RUNNING, time.time()
        future = loop.create_task(self._settle(task), context=task._context)
        self._event_loop.own(future)
        self._awaited.add(future)

        def ended(future: asyncio.Future[None]) -> None:
            self._awaited.discard(future)
            if not task.done():  # cancelled before it began
                self._end(task, CANCELLED)
            changed.set()

        def cancel() -> bool:
            loop.call_soon_threadsafe(future.cancel)
            return not task.done()

        future.add_done_callback(ended)
        task._cancel = cancel

    async def _settle(self, task: BackgroundTask) -> None:
        from asyncio import CancelledError

        try:
            if task._awaitable is None:
                assert task._call is not None
                task._awaitable = task._call()
            result = await task._awaitable
        except (CancelledError, TimeUp):
            self._end(task, CANCELLED)
        except BaseException as error:  # SystemExit would end the event loop
            self._fail(task, error)
        else:
            self._end(task, SUCCEEDED, result)

    # How each ends...

    def _fail(self, task: BackgroundTask, error: BaseException) -> None:
        log.error("background %s %s failed", task.kind, task.name, exc_info=exc_info(error))
        self._end(task, FAILED, exception=error)

    def _end(
        self, task: BackgroundTask, state: str, result: Any = None, exception: BaseException | None = None
    ) -> None:
        now = time.time()
        with self._changed:
            if task.done():
                if task._ended_late is not None:
                    task._ended_late.set()
                    log.warning("background %s %s, abandoned before, has ended: it %s", task.kind, task.name, state)
                return
            task.state, task._result, task._exception = state, result, exception
            task._cancel = _cannot
            self._unfinished -= 1
            self._changed.notify_all()
            self._wake_loop()
        self._spans.ended(self.invocation.request_id, task.kind, task.name, state, task.started_at or now, now)

    def _cancel_pending(self, task: BackgroundTask) -> bool:
        if task.state != PENDING:
            return False
        self._end(task, CANCELLED)
        _close(task._awaitable)
        return True

    def _give_up(self) -> None:
        for task in self.tasks:
            if task.state == PENDING:
                self._end(task, DROPPED)
                _close(task._awaitable)
            elif task.state == RUNNING:
                task._ended_late = threading.Event()
                self._end(task, ABANDONED)

    def abandoned(self) -> list[BackgroundTask]:
        """Return the tasks whose threads outlived the drain."""
        return [task for task in self.tasks if task.state == ABANDONED and task._awaitable is None]

    # Tasks that were not handed over...

    def _adopt_orphans(self, until: float) -> bool:
        if self._settings.orphans != "adopt" or time.time() >= until:
            return False
        orphans = self._event_loop.orphans(self.invocation)
        for orphan, _ in orphans:
            self._add_awaitable(orphan, (), {})
        return bool(orphans)

    def _name_orphans(self) -> None:
        for orphan, line in self._event_loop.orphans(self.invocation):
            if self._settings.orphans == "cancel":
                orphan.cancel()
                log.warning("task %s, created at %s, was not awaited: cancelled", name_of(orphan), line)
            else:
                log.warning(
                    "task %s, created at %s, was not awaited and stands still until another invocation runs the event loop: "
                    "await it, or hand it over with wait_until(task)",
                    name_of(orphan),
                    line,
                )


class Summary:
    """What became of the background work of one invocation, in numbers and names."""

    def __init__(self, background: Background, seconds: float) -> None:
        self.request_id = background.invocation.request_id
        self.milliseconds = round(seconds * 1000, 2)
        self.names = {end: [task.name for task in background.tasks if task.state == end] for end in ENDS}
        self.total = len(background.tasks)

    @property
    def complete(self) -> bool:
        """Whether everything succeeded."""
        return len(self.names[SUCCEEDED]) == self.total

    def text(self) -> str:
        """Return the line for the log, in the manner of Lambda's own REPORT line."""
        parts = [
            f"BACKGROUND RequestId: {self.request_id}",
            f"Duration: {self.milliseconds:.2f} ms",
            f"Tasks: {self.total}",
        ]
        parts.append(f"Succeeded: {len(self.names[SUCCEEDED])}")
        for end in ENDS[1:]:
            if self.names[end]:
                parts.append(f"{end.capitalize()}: {len(self.names[end])} ({', '.join(_some(self.names[end]))})")
        return "\t".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the same as the JSON log line has it."""
        counts = {end: len(names) for end, names in self.names.items()}
        names = {end: _some(names) for end, names in self.names.items() if end != SUCCEEDED and names}
        return {"durationMs": self.milliseconds, "tasks": self.total, **counts, "names": names}


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], f"and {len(names) - _MOST_NAMES} more"]


_MOST_NAMES = 20
_AN_HOUR = 3600.0


def name_of(work: Any) -> str:
    """Return the name of a function, a coroutine or a task, as the log has it."""
    if hasattr(work, "get_coro"):
        work = work.get_coro()
    while isinstance(work, functools.partial):
        work = work.func
    name = getattr(work, "__qualname__", None) or type(work).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _close(awaitable: Any) -> None:
    # A coroutine that nobody awaits warns when it is collected, far from its cause.
    close = getattr(awaitable, "close", None)
    if close is not None and hasattr(awaitable, "send"):
        close()


def _cannot() -> bool:
    return False


def _do_nothing() -> None:
    pass
