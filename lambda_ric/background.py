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
import math
import os
import sys
import threading
import time
from collections import deque

from .background_task import (
    ABANDONED,
    CANCELLED,
    DROPPED,
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    BackgroundTask,
    cannot_cancel,
    name_of,
)
from .event_loop import EventLoop, discard, is_awaitable, is_coroutine_function, is_generator_function
from .failures import exc_info
from .forks import end_child_of
from .interrupt import TimeUp
from .spans import Spans
from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeGuard

    from .protocol import Invocation
    from .reports import TaskReport
    from .settings import Settings
    from .supervision import Supervision
    from .tasks import Task

log = logging.getLogger("lambda_ric.background")


class Background:
    """
    The registry of one invocation.

    Work may be handed over from any thread until the drain has found the set
    empty, or the time up; then the registry is closed.
    """

    def __init__(
        self,
        invocation: Invocation,
        settings: Settings,
        event_loop: EventLoop,
        spans: Spans,
        *,
        reporting: bool = False,
    ) -> None:
        self.invocation = invocation
        self.tasks: list[BackgroundTask] = []
        """Everything that was to run after the response, hooks included, in the order of hand-over."""
        self.reports: list[TaskReport] = []
        """What came to no good end, if *reporting* was asked for."""
        self._settings = settings
        self._reporting = reporting
        self._event_loop = event_loop
        self._spans = spans
        self._changed = threading.Condition()
        self._unfinished = 0
        self._threads = 0
        self._draining = False
        self._until = math.inf
        self._closed = False
        self._calls: deque[BackgroundTask] = deque()
        self._coroutines: deque[BackgroundTask] = deque()
        # By identity, with what was handed over: as long as that lives, nothing else has its identity.
        self._known: dict[int, tuple[Any, BackgroundTask]] = {}
        self._awaited: set[asyncio.Future[None]] = set()
        self._wake_loop: Callable[[], object] = _do_nothing
        self._failed_runs = 0
        self._supervision: Supervision | None = None
        self._succeeded: bool | None = None
        self._time_is_up = False
        self._grace = settings.deadline_margin / 4
        self._process = os.getpid()

    # Handing work over...

    def hand_over(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BackgroundTask:
        """
        Add *work* to the set.

        Raises:
            TypeError: It is nothing that can be run or awaited.
            ValueError: It is a future of another event loop.
            RuntimeError: The invocation has ended.
        """
        if _is_registered(work):
            return self._hand_over_registered(work, args, kwargs)
        to_await = is_awaitable(work)
        is_future = not to_await and hasattr(type(work), "add_done_callback")
        with self._changed:
            self._check_open()
            if to_await or is_future:
                if args or kwargs:
                    raise TypeError("wait_until takes arguments for a function, not for what a call of one returned")
                if id(work) in self._known:
                    return self._known[id(work)][1]
            elif not callable(work) or is_generator_function(work):
                raise TypeError(
                    "wait_until takes a function and its arguments, a coroutine, a task or a future, not "
                    + (f"the generator {name_of(work)!r}" if callable(work) else repr(type(work).__name__))
                )
            task = BackgroundTask(name_of(work))
            if to_await:
                self._add_awaitable(task, work)
            elif is_future:
                self._add_future(task, work)
            else:
                task._call = functools.partial(work, *args, **kwargs) if args or kwargs else work
                task._cancel = lambda: self._cancel_pending(task)
                self._add(task, self._coroutines if is_coroutine_function(work) else self._calls)
        if is_future:
            # Not while the lock is held: it may be called at once, and logs.
            work.add_done_callback(functools.partial(self._future_ended, task))
        elif self._draining:
            self._start_threads()
        return task

    def _hand_over_registered(self, policy: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BackgroundTask:
        with self._changed:
            if self._supervision is None:
                from .supervision import Supervision

                self._supervision = Supervision(self.invocation, self._end, lambda: self._until, self._grace)
        # Not while the lock is held: this calls code of the function's.
        task, is_new = self._supervision.task(policy, args, kwargs)
        with self._changed:
            self._check_open()
            if not is_new:
                return task
            if self._succeeded is not None and not task.is_wanted_after(succeeded=self._succeeded):
                task.state = CANCELLED
                return task
            task._cancel = lambda: self._cancel_pending(task)
            self._add(task, self._coroutines if task.is_asynchronous else self._calls)
        if self._draining:
            self._start_threads()
        return task

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                f"wait_until was called after the background work of request {self.invocation.request_id} had "
                "ended: nobody would wait for it. Hand work over before the code that calls wait_until ends itself"
            )

    def _add_awaitable(self, task: BackgroundTask, work: Any) -> None:
        task._awaitable = work
        task._cancel = lambda: self._cancel_pending(task)
        if _runs_already(work):
            if not self._event_loop.owns(work):
                raise ValueError(
                    "wait_until cannot await a task of another event loop: hand over the coroutine instead"
                )
            self._begin(task)
            task._cancel = lambda: _cancel_soon(work)
            self._event_loop.own(work)
        self._known[id(work)] = work, task
        self._add(task, self._coroutines)

    def _add_future(self, task: BackgroundTask, future: concurrent.futures.Future[Any]) -> None:
        self._begin(task)
        task._cancel = future.cancel
        self._known[id(future)] = future, task
        self._add(task)

    def _future_ended(self, task: BackgroundTask, future: Any) -> None:
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            task._context.run(self._end, task, CANCELLED)
        elif error is not None:
            task._context.run(self._fail, task, error)
        else:
            task._context.run(self._end, task, SUCCEEDED, future.result())

    def _add(self, task: BackgroundTask, queue: deque[BackgroundTask] | None = None) -> None:
        task.handed_over_at = time.time()
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
        self._begin(task)
        try:
            with self._event_loop.interrupt.at(until, again=self._grace):
                result = call()
                if is_awaitable(result):
                    result = self._event_loop.run(result)
        except TimeUp:
            self._event_loop.settle(self._grace)
            self._end(task, CANCELLED)
        except BaseException as error:  # after the response nothing can fail the invocation
            self._fail(task, error)
        else:
            self._end(task, SUCCEEDED, result)

    # All at the same time: the drain...

    def drain(self, until: float, *, succeeded: bool = True) -> None:
        """
        Run what was handed over, and what that hands over, until there is none left or the time is up.

        *succeeded* is how the invocation went; registered tasks may be wanted
        after one outcome only.
        """
        self._draining, self._until, self._succeeded = True, until, succeeded
        for task in [task for task in self.tasks if not task.is_wanted_after(succeeded=succeeded)]:
            if self._cancel_pending(task):
                self.tasks.remove(task)
        if self._supervision is not None:
            self._supervision.prepare(until)
        self._start_threads()
        while True:
            with self._changed:
                in_time = time.time() < self._until
                if self._unfinished and in_time:
                    if not (self._coroutines or self._awaited):
                        self._changed.wait(min(self._until - time.time(), _AN_HOUR))
                        continue
                elif not (in_time and self._adopt_orphans()):
                    self._closed = in_time  # what is stopped now may still hand work over: it is dropped by name
                    break
            self._run_coroutines()
        self._time_is_up = True
        orphans = self._event_loop.orphans(self.invocation)
        self._stop([orphan for orphan, _ in orphans if self._settings.orphans == "cancel"])
        self._give_up()
        self._name_orphans(orphans)
        for error in self._event_loop.take_raised_beside():
            if not any(error is task._exception for task in self.tasks):
                tell(log, logging.ERROR, "a task on the event loop raised", exc_info=exc_info(error))
        self._report()
        # Else the work, its context and this registry hold each other, and an event of megabytes with them.
        self._known.clear()
        for task in self.tasks:
            if task.state != ABANDONED:
                task.let_go()

    def hurry(self, until: float) -> None:
        """End the drain at *until* already; a signal handler may call it."""
        with self._changed:
            self._until = min(self._until, until)
            self._changed.notify_all()
            self._wake_loop()

    def _report(self) -> None:
        if not (self._reporting or self._supervision is not None):
            return
        lost = [task for task in self.tasks if task.was_lost(self._until)]
        if lost:
            from .reports import TaskReport

            self.reports = [TaskReport(task, self.invocation.request_id) for task in lost]
            if self._supervision is not None:
                self._supervision.tell_destinations(zip(lost, self.reports, strict=True))

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._closed = True

    def _start_threads(self) -> None:
        while True:
            with self._changed:
                free = self._threads < self._settings.max_threads and time.time() < self._until
                task = self._next_of(self._calls) if free else None
                if task is None:
                    return
                self._threads += 1
            # A daemon: one that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._work, args=(task,), name="lambda_ric.background", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads are to be had
                with self._changed:
                    self._threads -= 1
                    if self._threads:
                        self._put_back(task)
                        return
                self._fail(task, error)

    def _next_of(self, queue: deque[BackgroundTask]) -> BackgroundTask | None:
        """Take the first task whose turn it is; hold the lock."""
        if self._supervision is None:
            return queue.popleft() if queue else None
        held_back = []
        found = None
        while found is None and queue:
            task = queue.popleft()
            if self._supervision.holds_back(task):
                held_back.append(task)
            else:
                found = task
        queue.extendleft(reversed(held_back))
        if found is not None:
            self._supervision.begun(found)
        return found

    def _put_back(self, task: BackgroundTask) -> None:
        self._calls.appendleft(task)
        self._has_ended(task)

    def _has_ended(self, task: BackgroundTask) -> None:
        if self._supervision is not None:
            self._supervision.ended(task)

    def _work(self, task: BackgroundTask | None) -> None:
        while task is not None:
            self._run_in_thread(task)
            with self._changed:
                self._has_ended(task)
                task = self._next_of(self._calls) if time.time() < self._until else None
                if task is None:
                    self._threads -= 1

    def _run_in_thread(self, task: BackgroundTask) -> None:
        with self._changed:
            if task.state != PENDING:
                return
            task._cancel = cannot_cancel
            self._begin(task)
        assert task._call is not None
        try:
            result = task._context.run(task._call)
        except BaseException as error:  # SystemExit would end this thread only, and silently
            task._context.run(self._fail, task, error)
            return
        if is_awaitable(result):
            self._go_on_in_loop(task, result)
        else:
            task._context.run(self._end, task, SUCCEEDED, result)

    def _go_on_in_loop(self, task: BackgroundTask, awaitable: Awaitable[Any]) -> None:
        with self._changed:
            in_time = not task.done()
            if in_time:
                task._awaitable = awaitable
                self._coroutines.append(task)
                self._changed.notify_all()
                self._wake_loop()
        if not in_time:
            discard(awaitable)
            task._context.run(self._end, task, CANCELLED)

    def _run_coroutines(self) -> None:
        from asyncio import CancelledError

        try:
            # Whoever waits here stops waiting at that time; a coroutine that never awaits is interrupted.
            with self._event_loop.interrupt.at(self._until, again=self._grace):
                self._event_loop.run(self._await_coroutines())
        except (TimeUp, CancelledError):
            pass  # CancelledError: of code that cancels every task there is
        except Exception as error:
            # A stop() of the function's code ends one run. What ends them all has made the loop unusable.
            self._failed_runs += 1
            if self._failed_runs >= _MOST_FAILED_RUNS:
                self._fail_coroutines(error)

    def _fail_coroutines(self, error: Exception) -> None:
        self._awaited.clear()
        while self._coroutines:
            task = self._coroutines.popleft()
            discard(task._awaitable)
            task._context.run(self._fail, task, error)

    async def _await_coroutines(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._wake_loop = wake
        try:
            while time.time() < self._until:
                changed.clear()
                while (task := self._next_coroutine()) is not None:
                    self._start_coroutine(task, loop, changed)
                if not self._awaited:
                    return
                async with asyncio.timeout(min(self._until - time.time(), _AN_HOUR)):
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            if self._wake_loop is wake:
                self._wake_loop = _do_nothing

    def _next_coroutine(self) -> BackgroundTask | None:
        with self._changed:
            return self._next_of(self._coroutines)

    def _start_coroutine(self, task: BackgroundTask, loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
        with self._changed:
            if task.done():
                self._has_ended(task)
                return
            if task.state == PENDING:
                self._begin(task)
            future = loop.create_task(self._settle(task), context=task._context)
            task._cancel = lambda: _cancel_soon(future)
        self._event_loop.own(future)
        self._awaited.add(future)

        def ended(future: asyncio.Future[None]) -> None:
            self._awaited.discard(future)
            self._has_ended(task)
            if future.cancelled() and not task.done():  # before it began
                discard(task._awaitable)
                self._stopped(task)
            changed.set()

        future.add_done_callback(ended)

    async def _settle(self, task: BackgroundTask) -> None:
        from asyncio import CancelledError, current_task

        try:
            if task._awaitable is None:
                assert task._call is not None
                task._awaitable = task._call()
            result = await task._awaitable
        except TimeUp:
            self._stopped(task)
        except CancelledError as error:
            itself = current_task()
            if (itself is not None and itself.cancelling()) or _cancelled(task._awaitable):
                self._stopped(task)
            else:  # nobody cancelled it: some code below let the exception through
                self._fail(task, error)
        except BaseException as error:  # SystemExit would end the event loop
            self._fail(task, error)
        else:
            self._end(task, SUCCEEDED, result)

    # How each begins and ends...

    def _begin(self, task: BackgroundTask) -> None:
        task.state, task.started_at = RUNNING, time.time()
        self._spans.started(self.invocation.request_id, task.kind, task.name, task.started_at)

    def _stopped(self, task: BackgroundTask) -> None:
        # At the end of the time its queue may have it; before that, somebody wanted it to stop.
        if not (self._time_is_up and self._overflow(task)):
            self._end(task, CANCELLED)

    def _overflow(self, task: BackgroundTask) -> bool:
        return self._supervision is not None and self._supervision.overflow(task)

    def _fail(self, task: BackgroundTask, error: BaseException) -> None:
        end_child_of(self._process, error)
        if task.is_out_of_time(error) and self._overflow(task):
            return
        tell(log, logging.ERROR, "background %s %s failed", task.kind, task.name, exc_info=exc_info(error))
        self._end(task, FAILED, exception=error)

    def _end(
        self, task: BackgroundTask, state: str, result: Any = None, exception: BaseException | None = None
    ) -> None:
        end_child_of(self._process)
        now = time.time()
        with self._changed:
            in_time = not task.done()
            if in_time:
                task.state, task._result, task._exception = state, result, exception
                task.ended_at = now
                task._cancel = cannot_cancel
                # Told before the drain can see that it has ended: after the next poll nobody reads it.
                self._spans.ended(self.invocation.request_id, task.kind, task.name, state, task.started_at or now, now)
                self._unfinished -= 1
                self._changed.notify_all()
                self._wake_loop()
        if not in_time and task._ended_late is not None:
            what = "background %s %s, abandoned before, has ended: it %s"
            tell(log, logging.WARNING, what, task.kind, task.name, state)
            task._ended_late.set()

    def _cancel_pending(self, task: BackgroundTask) -> bool:
        with self._changed:
            if task.state != PENDING:
                return False
            self._end(task, CANCELLED)
        discard(task._awaitable)
        return True

    def _stop(self, orphans: list[asyncio.Task[Any]]) -> None:
        """Cancel *orphans*, and what is still running on the loop because the time is up."""
        running: list[asyncio.Future[Any]] = [*orphans, *self._awaited]
        running += [task._awaitable for task in self._coroutines if _runs_already(task._awaitable)]
        if running:
            self._event_loop.cancel(running, self._grace)

    def _give_up(self) -> None:
        with self._changed:
            self._closed = True
        if self._supervision is not None:
            for task in self.tasks:
                if not task.done():
                    self._overflow(task)
            self._supervision.finish()
        not_begun = set(self._coroutines)
        for task in self.tasks:
            if task in not_begun and _runs_already(task._awaitable):
                if task._awaitable.done():
                    self._future_ended(task, task._awaitable)
            elif task in not_begun or task.state == PENDING:
                self._end(task, DROPPED if task.state == PENDING else CANCELLED)
                discard(task._awaitable)
            with self._changed:
                if not task.done():
                    task._ended_late = threading.Event()
                    self._end(task, ABANDONED)

    def abandoned(self) -> list[BackgroundTask]:
        """Return the tasks whose threads outlived the drain."""
        return [task for task in self.tasks if task.state == ABANDONED and task._awaitable is None]

    # Tasks that were not handed over...

    def _adopt_orphans(self) -> bool:
        if self._settings.orphans != "adopt":
            return False
        orphans = self._event_loop.orphans(self.invocation)
        for orphan, _ in orphans:
            self._add_awaitable(BackgroundTask(name_of(orphan)), orphan)
        return bool(orphans)

    def _name_orphans(self, orphans: list[tuple[asyncio.Task[Any], str]]) -> None:
        for orphan, line in orphans:
            if self._settings.orphans == "cancel":
                tell(log, logging.WARNING, "task %s, created at %s, was not awaited: cancelled", name_of(orphan), line)
            else:
                tell(
                    log,
                    logging.WARNING,
                    "task %s, created at %s, was not awaited and stands still until another invocation runs the event "
                    "loop: await it, or hand it over with wait_until(task)",
                    name_of(orphan),
                    line,
                )


_MOST_FAILED_RUNS = 100
_AN_HOUR = 3600.0


def _is_registered(work: Any) -> TypeGuard[Task]:
    # Without importing it: work can be such a task only if somebody else did.
    tasks = sys.modules.get(f"{__package__}.tasks")
    return tasks is not None and isinstance(work, tasks.Task)


def _runs_already(awaitable: Any) -> TypeGuard[asyncio.Future[Any]]:
    # A task or another future: not started by us, and at work whether or not anybody awaits it.
    return hasattr(type(awaitable), "get_loop")


def _cancelled(awaitable: Any) -> bool:
    return _runs_already(awaitable) and bool(awaitable.cancelled())


def _cancel_soon(future: asyncio.Future[Any]) -> bool:
    if future.done():
        return False
    future.get_loop().call_soon_threadsafe(future.cancel)
    return True


def _do_nothing() -> None:
    pass
