"""
The environment's one event loop, and every question about what is asynchronous.

asyncio costs a cold start more than the rest of the runtime together, so it is loaded when the first awaitable appears,
or used when the function's own code has loaded it.

    none ──loop()──▶ adopted, or made ──the function closes it──▶ none: a warning, and another one at the next loop()
                                      ──or the descriptors that it waits with──▶

**Whose loop it is.** Clients, locks and tasks belong to the loop that they were made on. So the loop that the
function's modules have made the current one while they were imported becomes the environment's; where there is none,
one is made. It lives on the main thread as long as the environment and is never closed, so that what belongs to it can
be kept. It is made the current one before every synchronous call: `asyncio.run` and `Runner` leave none behind, and
Mangum and Powertools ask for it.

**Whose tasks run on it.** The runtime makes its own with `asyncio.Task`, not with `loop.create_task`: the factory
behind that is the function's to set, tracing libraries do, and it need not know the parameter *context*
(https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.set_task_factory). All others are the function's.
None of them is watched while it is made. When the work of an invocation is done, its orphans are found among all tasks
of the loop: those that have not ended, whose context belongs to the invocation, and which nobody has handed over.

**How it is interrupted.** A coroutine can be asked to stop: at the time, the task is cancelled; if that does not end
it, the next alarm raises *TimeUp* in the middle of the loop (see `interrupt`). `settle` then lets the loop go on once,
so that what was cancelled ends, and no stop that was under way is left for the next run.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from _thread import get_ident
from contextvars import Context, copy_context
from types import TracebackType

from .callables import _COROUTINE, is_awaitable, name_of
from .context import InvocationScope, current_invocation
from .failures import tell
from .interrupt import MAIN_THREAD, Interrupt, TimeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from typing import Any, TypeVar

    Future = TypeVar("Future", bound=asyncio.Future[Any])

log: logging.Logger = logging.getLogger("lambda_ric.event_loop")


def _raised(future: asyncio.Future[Any], error: BaseException) -> bool:
    return future.done() and not future.cancelled() and future.exception() is error


def came_from_a_task(error: BaseException) -> bool:
    """Say whether *error* was raised in a task or callback of the loop; else a signal handler did."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_flags & _COROUTINE or code.co_qualname == "Handle._run":
            return True
        trace = trace.tb_next
    return False


def _came_from_loop(error: BaseException) -> bool:
    """Say whether *error* was raised where a loop waits, and not in a handler of a signal that came meanwhile."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "selectors" and not came_from_a_task(error)


_LEFT_BEHIND: list[asyncio.AbstractEventLoop] = []


def runs_a_loop() -> bool:
    """Say whether the calling code runs on an event loop."""
    return "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None


_UNSET = object()


class EventLoop:
    """
    The one loop, made when it is first needed; *interrupt* ends what runs on it too long.

    Its one subject is asyncio's loop itself: whoever runs it, stops it or looks at its tasks does so here.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._raised_beside: list[BaseException] = []
        self._interrupted: asyncio.Task[Any] | None = None
        self._has_had_orphans = False

    def has_tasks_of(self, invocation: InvocationScope) -> bool:
        """Say whether *invocation*, or one before it, has left tasks that nobody awaits, or that have raised."""
        return self._loop is not None and bool(self._raised_beside or self._left())

    def owns(self, future: asyncio.Future[Any]) -> bool:
        """Say whether *future* belongs to this loop."""
        return future.get_loop() is self._loop

    def begin_invocation(self) -> None:
        """Make the loop the current one, if asyncio has been loaded by now."""
        self._context = self._interrupted = None
        if "asyncio" in sys.modules:
            try:
                self.loop()
            except OSError as error:  # no descriptor is left; synchronous code can do without
                tell(log, logging.WARNING, "no event loop can be made: %s", error)

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, made the current one of this thread."""
        import asyncio

        if self._loop is None or self._loop.is_closed():
            if self._loop is not None:
                what = "the event loop was closed by the function's code: what belonged to it is lost; made a new one"
                tell(log, logging.WARNING, what)
            self._loop = _current_loop() or asyncio.new_event_loop()
            if self._loop.get_exception_handler() is None:
                self._loop.set_exception_handler(_tell_for_its_invocation)
            if not sys.get_coroutine_origin_tracking_depth():
                sys.set_coroutine_origin_tracking_depth(1)  # it tells where an orphan comes from
        asyncio.set_event_loop(self._loop)
        return self._loop

    def task(self, coroutine: Coroutine[Any, Any, Any], context: Context | None) -> asyncio.Task[Any]:
        """Return a task for *coroutine* that the runtime itself waits for: it is no orphan."""
        import asyncio

        return self.own(asyncio.Task(coroutine, loop=self._open(), context=context))

    def _open(self) -> asyncio.AbstractEventLoop:
        # To make it the current one again, in the same invocation, would take 1 % of the instructions of one.
        return self._loop if self._loop is not None and not self._loop.is_closed() else self.loop()

    def resolve(self, result: Any) -> Any:
        """Run *result* while it is awaitable: what a call returned decides, as decorators hide what a function is."""
        while is_awaitable(result):
            result = self.run(result)
        return result

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """
        Run *awaitable* to its end and return its result.

        Raises:
            TimeUp: The interrupt that is set went off before the end,
                whatever the code has made of being cancelled.
        """
        import asyncio

        loop = self._open()
        context = self._context_of_caller()
        # A wrapper around a coroutine could be cancelled before it has begun to await it.
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _result_of(awaitable)
        future = self.task(coroutine, context)
        asked = False
        stood_at: TracebackType | None = None

        def ask_to_stop() -> None:
            nonlocal asked, stood_at
            stood_at = traceback_of(coroutine)
            asked = future.cancel()
            if asked:
                self.interrupt.has_asked()

        self.interrupt.ask_first(lambda: loop.call_soon_threadsafe(ask_to_stop))
        try:
            while True:
                try:
                    result = loop.run_until_complete(future)
                    break
                except OSError as error:
                    if not self._leaves_behind(error) or not future.done():
                        raise
                    result = future.result()
                    break
                except (SystemExit, KeyboardInterrupt) as error:
                    # That of any task goes through the loop. This one goes on, and gets it if it awaits the other.
                    if _raised(future, error) or not came_from_a_task(error):
                        raise
                    self._raised_beside.append(error)
        except TimeUp as time_up:
            if stood_at is None:
                raise
            # It is the second: the first has asked the code to stop, where it had run for too long.
            raise time_up.with_traceback(stood_at) from None
        except asyncio.CancelledError as cancelled:
            if asked:
                raise TimeUp().with_traceback(cancelled.__traceback__) from None
            raise
        except BaseException as error:
            if asked:
                raise TimeUp().with_traceback(stood_at) from error
            raise
        else:
            if asked:
                raise TimeUp().with_traceback(stood_at)
            return result
        finally:
            self.interrupt.ask_first(None)
            for variable, value in context.items():
                if variable.get(_UNSET) is not value:
                    variable.set(value)
            if not future.done():
                future.cancel()
                self._interrupted = future if self.owns(future) else None
            else:
                # Raised here: nobody else needs to tell it.
                self._raised_beside = [error for error in self._raised_beside if not _raised(future, error)]

    def run_until(self, task: asyncio.Task[None], is_so: Callable[[], bool]) -> None:
        """
        Run the loop until what *is_so* asks for: whoever brings it about stops the loop; the end of *task* does, too.

        One turn of the loop costs as much as a small handler, and to wait for a future takes one more than to stop.

        Raises:
            TimeUp: The interrupt that is set went off before that, whatever
                the code has made of being cancelled.
        """
        loop = task.get_loop()
        depth = self._trace_no_origins()
        asked = False
        stood_at: TracebackType | None = None

        def ask_to_stop() -> None:
            nonlocal asked, stood_at
            stood_at = traceback_of(task.get_coro())
            asked = task.cancel()
            if asked:
                self.interrupt.has_asked()

        self.interrupt.ask_first(lambda: loop.call_soon_threadsafe(ask_to_stop))
        try:
            while not (is_so() or task.done()):
                try:
                    loop.run_forever()
                except OSError as error:
                    if not self._leaves_behind(error) or not (is_so() or task.done()):
                        raise
                except (SystemExit, KeyboardInterrupt) as error:
                    if _raised(task, error) or not came_from_a_task(error):
                        raise
                    self._raised_beside.append(error)
            if asked:
                raise TimeUp().with_traceback(stood_at)
            if self.interrupt.raised is not None:
                raise self.interrupt.raised
        except BaseException as error:
            task.cancel()
            self._interrupted = task if self.owns(task) else None
            if isinstance(error, TimeUp) and stood_at is not None:
                error.__traceback__ = stood_at
            raise
        finally:
            self.interrupt.ask_first(None)
            sys.set_coroutine_origin_tracking_depth(depth)

    def run_once(self, task: asyncio.Task[None], until: float, grace: float) -> None:
        """
        Run the loop for one turn, in which *task* may end, until *until* in seconds since 1970 at most.

        Raises:
            TimeUp: What does not await was interrupted then, and every *grace* seconds after it; *task* is cancelled.
        """
        loop = task.get_loop()
        depth = self._trace_no_origins()
        try:
            loop.call_soon(loop.stop)
            with self.interrupt.at(until, again=grace):
                loop.run_forever()
        except (OSError, RuntimeError) as error:
            if not self._leaves_behind(error):
                tell(log, logging.WARNING, "the event loop cannot be run: %s", error)
        except BaseException as error:
            if isinstance(error, TimeUp):
                task.cancel()
                self._interrupted = task
            self.settle(grace)
            if isinstance(error, TimeUp) or not came_from_a_task(error):
                raise
            if not _raised(task, error):
                self._raised_beside.append(error)
        finally:
            sys.set_coroutine_origin_tracking_depth(depth)

    def _trace_no_origins(self) -> int:
        """
        Have coroutines not remember where they were made, and return how it was before.

        Frameworks make dozens for a request, and to find the line of each takes a tenth of its time. So where
        an orphan of a request comes from is known only once there has been one.
        """
        depth = sys.get_coroutine_origin_tracking_depth()
        if not self._has_had_orphans:
            sys.set_coroutine_origin_tracking_depth(0)
        return depth

    @property
    def is_at_hand(self) -> bool:
        """Whether the caller could run the loop: on the main thread, and while it does not run."""
        return get_ident() == MAIN_THREAD and not runs_a_loop()

    @property
    def may_be_waited_for(self) -> bool:
        """Whether the calling thread is the one that waits for what runs on the loop."""
        return threading.current_thread() is threading.main_thread()

    def _context_of_caller(self) -> Context:
        # The same one again, if it still holds what the caller sees: what one part sets, another can reset.
        seen = copy_context()
        last = self._context
        if last is None or len(last) != len(seen) or any(last.get(name) is not value for name, value in seen.items()):
            self._context = last = seen
        return last

    def go_on_with(self, coroutine: Coroutine[Any, Any, Any], context: Context | None) -> asyncio.Future[Any]:
        """Return a task for *coroutine*, which can reset what an earlier part has set in *context*."""
        return self.task(coroutine, context)

    @property
    def context(self) -> Context | None:
        """That of the part that runs."""
        return self._context

    def settle(self, grace: float) -> None:
        """
        Let the loop go on once after it was interrupted, for at most *grace* seconds.

        What was cancelled ends now, or is named in the log; and a stop that was
        under way is carried out, which would otherwise stop whoever runs the
        loop next.
        """
        if self._loop is None or self._loop.is_closed():
            return
        self._loop.call_soon(self._loop.stop)
        try:
            with self.interrupt.at(time.time() + grace, again=grace):
                self._loop.run_forever()
        except (TimeUp, SystemExit, KeyboardInterrupt):
            pass  # of code whose time was up before
        except Exception as error:  # a handler of a signal may raise any
            if not self._leaves_behind(error):
                tell(log, logging.WARNING, "the event loop cannot be run: %s", error)
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is not None and not interrupted.done():
            what = (
                "%s has swallowed its cancellation, and goes on whenever the event loop runs: let CancelledError "
                "through, or raise it again"
            )
            tell(log, logging.ERROR, what, name_of(interrupted))

    def hear_signals(self, seconds: float) -> None:
        """
        Let the handlers of `loop.add_signal_handler` hear of signals that came while the loop stood still.

        What they start has so many *seconds*; what they raise is logged, but for SystemExit.
        """
        loop = self._loop
        if loop is None or loop.is_closed() or not getattr(loop, "_signal_handlers", True):
            return
        import asyncio

        before = asyncio.all_tasks(loop)
        try:
            with self.interrupt.at(time.time() + seconds * 4 / 5, again=seconds / 5):
                # A turn to read the pipe, one to call the handler, one for what that has started to begin.
                for _ in range(3):
                    self.run(asyncio.sleep(0))
                started = asyncio.all_tasks(loop) - before
                if started:
                    self.run(asyncio.wait(started))
        except TimeUp:
            self.settle(seconds / 5)
            tell(
                log, logging.WARNING, "what a signal handler of the event loop has started was stopped: its time was up"
            )
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
            pass  # the process ends
        except Exception as error:
            self._leaves_behind(error)

    @property
    def is_lost(self) -> bool:
        """Whether there is none at the moment, be it that there was one, whose tasks never end."""
        return self._loop is None

    def _leaves_behind(self, error: Exception) -> bool:
        """
        Leave the loop behind if *error* says that it cannot wait any more, and say whether it does.

        Somebody has closed all descriptors, as daemons do. Those numbers may be others' by now, so it is neither closed
        nor collected, which would close them.
        """
        loop = self._loop
        if loop is None or not isinstance(error, OSError) or not _came_from_loop(error):
            return False
        what = "the event loop cannot be run any more, and what belonged to it is lost: %s; a new one is made"
        tell(log, logging.WARNING, what, error)
        _LEFT_BEHIND.append(loop)
        self._loop = None
        sys.modules["asyncio"].set_event_loop(None)
        return True

    def end(self, grace: float) -> None:
        """Cancel every task, give them *grace* seconds to end, and close the loop."""
        if self._loop is not None and not self._loop.is_closed():
            tasks = sys.modules["asyncio"].all_tasks(self._loop)
            if tasks and self.is_at_hand:
                self.cancel(tasks, grace)
        self.close()

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

    @staticmethod
    def own(future: Future) -> Future:
        """Return *future*, which the runtime itself waits for: it is no orphan."""
        setattr(future, _OWN, True)
        return future

    def has_orphans(self, invocation: InvocationScope | None) -> bool:
        """Say whether *invocation* has unfinished tasks that nobody waits for."""
        return any(scope is invocation for _, scope in self._left())

    def orphans(self, invocation: InvocationScope | None) -> list[tuple[asyncio.Task[Any], str]]:
        """Return the unfinished tasks of *invocation* that nobody waits for, each with where it comes from."""
        found = [(task, _origin_of(task)) for task, scope in self._left() if scope is invocation]
        self._has_had_orphans = self._has_had_orphans or bool(found)
        return found

    def _left(self) -> list[tuple[asyncio.Task[Any], InvocationScope]]:
        left: list[tuple[asyncio.Task[Any], InvocationScope]] = []
        for task in sys.modules["asyncio"].all_tasks(self._loop) if self._loop is not None else ():
            context = None if hasattr(task, _OWN) else _context_of(task)
            scope = None if context is None else context.get(current_invocation)
            if scope is not None:
                left.append((task, scope))
        return left


_OWN = "_lambda_ric_own"


def _current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the function's code has made the current one, if it can be run."""
    import asyncio
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and 3.13 have one for making a loop
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:  # there is none
            return None
    return None if loop.is_closed() or loop.is_running() else loop


def _context_of(task: Any) -> Context | None:
    if hasattr(task, "get_context"):  # since Python 3.12
        context: Context = task.get_context()
        return context
    # The context is the first of these: TaskObj_traverse in Modules/_asynciomodule.c of Python 3.11. A task that is
    # written in Python has an attribute.
    found = [thing for thing in gc.get_referents(task) if type(thing) is Context]
    return getattr(task, "_context", found[0] if found else None)


def _origin_of(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    origin, code = getattr(coroutine, "cr_origin", None), getattr(coroutine, "cr_code", None)
    if origin and not _is_of_asyncio(origin[0][0]):
        return f"created at {origin[0][0]}:{origin[0][1]}"
    if not origin and code is not None and not _is_of_asyncio(code.co_filename):
        return f"defined at {code.co_filename}:{code.co_firstlineno}"
    return "created at an unknown line"


def _is_of_asyncio(file: str) -> bool:
    return os.path.dirname(file) == os.path.dirname(sys.modules["asyncio"].__file__ or "")


def _tell_for_its_invocation(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """
    Log what asyncio has to tell, as it does itself, in the context of the task that it is about.

    A task whose exception nobody asked for is told of when it is collected, which may be in another invocation.
    """
    task = told.get("task") or told.get("future")
    context = None if task is None else _context_of(task)
    if context is None:
        loop.default_exception_handler(told)
    else:
        context.copy().run(loop.default_exception_handler, told)


def traceback_of(coroutine: Any) -> TracebackType | None:
    """Return the lines at which *coroutine* and what it awaits stand, as an exception would have passed them."""
    frames = []
    while coroutine is not None:
        for kind in ("cr", "ag", "gi"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                frames.append(frame)
                coroutine = getattr(coroutine, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
                break
        else:
            break
    trace = None
    for frame in reversed(frames):
        # Not every instruction has a line.
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or frame.f_code.co_firstlineno)
    return trace


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
