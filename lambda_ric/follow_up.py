"""
What follows the answer of one invocation.

    1. rests         of web requests whose answer was posted before their application had ended
    2. continuations of `@after_response` generator handlers, and hooks: those it names, then those of the process
    3. the drain     of everything that was handed to `wait_until`
    4. last hooks    on_task_failed and before_freeze, which have their turn even when the work took all the time
    5. what became of it all, told in one BACKGROUND line

Nothing can fail the invocation any more: what is raised is logged under the name of the work that raised it.

It is made, and loaded, for the first who asks for something to follow: most of what a function answers has no sequel.
The main thread has it, but for two things that any thread may do: hand work over to its *background*, and name hooks.
Where the main thread hangs in code of the function's, `cut_off` ends it from another one, and *run* returns whenever
that code does.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from .background.drain import Background
from .background.report import seconds, tell_loss, tell_want_of_threads
from .callables import name_of
from .failures import tell
from .interrupt import TimeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .background.work import Work
    from .context import InvocationScope
    from .environment import Environment, TimeLimits
    from .hooks import Outcome

    Hook = Callable[[Outcome], Any]

log: logging.Logger = logging.getLogger("lambda_ric.runtime")


class FollowUp:
    """
    That of the invocation *scope*, in its *environment* and within its *limits*.

    Its one subject is the order of the five steps above; who does each of them is elsewhere.
    """

    def __init__(self, scope: InvocationScope, environment: Environment, limits: TimeLimits) -> None:
        self.interrupted: bool = False
        """Whether a hook, a continuation or a rest was stopped before its end."""
        self._scope = scope
        self._environment = environment
        self._limits = limits
        self._background: Background | None = None
        self._earlier: Sequence[Background] = ()
        self._rests: Sequence[Callable[[float], None]] = ()
        self._continuations: Sequence[tuple[str, Hook]] = ()
        self._hooks: Sequence[tuple[str, Hook]] = ()
        self._next: list[tuple[str, str, Callable[[], Any]]] = []
        self._answered_at = 0.0
        self._is_closed = self._is_cut_off = False

    # What is to follow...

    @property
    def background(self) -> Background:
        """The registry of what runs after the response, made by the first who asks."""
        background = self._background
        if background is None:
            with _making:
                background = self._background
                if background is None:
                    self._background = background = self._make_background()
                    if self._is_closed:
                        background.close()
        return background

    def work_before_answer(self) -> Background:
        """
        Return a registry for work that is a part of the answer, which the caller drains.

        What becomes of it is told with the rest, after the response.
        """
        background = self._make_background()
        self._earlier = (*self._earlier, background)
        return background

    def go_on_with(self, name: str, go_on: Hook) -> None:
        """Call *go_on*, the rest of the generator handler *name*, first after the answer."""
        self._continuations = (*self._continuations, (name, go_on))

    def call_hooks(self, hooks: Sequence[Hook], on: str) -> None:
        """Call *hooks* after the answer, if the outcome is the one that they are *on*."""
        self._hooks = (*self._hooks, *((on, hook) for hook in hooks))

    def before_drain(self, rest: Callable[[float], None]) -> None:
        """Call *rest* before the drain, with the time at which that ends, in seconds since 1970."""
        self._rests = (*self._rests, rest)

    def close(self) -> bool:
        """Take no more work, unless there is some; say whether it is closed."""
        with _making:
            if self._background is None:
                self._is_closed = True
            return self._is_closed

    @property
    def has_hooks(self) -> bool:
        """Whether a hook of the handler's is to be called."""
        return bool(self._hooks)

    @property
    def is_ending(self) -> bool:
        """Whether no code of the function's runs any more, but for queues and the last hooks."""
        return self._background is not None and self._background.is_ending

    def hurry(self, until: float) -> None:
        """Bring the work to its end at *until*, in seconds since 1970; a signal handler may call it."""
        if self._background is not None:
            self._background.hurry(until)

    # ...and how that is done.

    def run(self, outcome: Outcome) -> list[Work]:
        """Do it, after that *outcome*, to the end of the background work; return all pieces of that."""
        self._answered_at = time.time()
        try:
            return self._run(outcome)
        except _CutOffError:
            return []

    def _run(self, outcome: Outcome) -> list[Work]:
        environment = self._environment
        hooks = environment.hooks
        if environment.before_follow_up is not None:
            environment.before_follow_up()
        if environment.settings.background_limit is not None:
            self._limits.limit(environment.settings.background_limit)
        if self._continuations or self._hooks or hooks.after:
            self._call_hooks(outcome)
        while self._rests:
            rest, *self._rests = self._rests
            rest(self._limits.until)
        has_tasks = environment.event_loop.has_tasks_of(self._scope)
        expected = hooks.freeze or environment.abandoned or self._earlier or has_tasks
        if not expected and self.close():
            return []
        background = self.background
        background.drain(self._limits.until, succeeded=outcome.succeeded)
        self._check_cut_off()
        for work in background.left_undone():
            self._tell_loss(work)
        if environment.abandoned:
            self._wait_for_abandoned()
        registries = [*self._earlier, background]
        self._run_last(registries)
        environment.threads.remember([work for registry in registries for work in registry.abandoned()])
        works = [work for registry in registries for work in registry.works]
        self._tell(works)
        return works

    def _call_hooks(self, outcome: Outcome) -> None:
        hooks = [hook for on, hook in self._hooks if on == "always" or (on == "success") == outcome.succeeded]
        left: list[tuple[str, str, Callable[[], Any]]] = [
            *(("continuation", name, partial(go_on, outcome)) for name, go_on in self._continuations),
            *(("hook", name_of(hook), partial(hook, outcome)) for hook in (*hooks, *self._environment.hooks.after)),
        ]
        self._next = left
        while left:
            kind, name, call = left.pop(0)
            self.run_now(kind, name, call, self._limits.until)

    def run_now(
        self,
        kind: str,
        name: str,
        call: Callable[[], Any],
        until: float,
        *,
        at_once: float = 0.0,
        metric_name: str | None = None,
    ) -> None:
        """Run *call* here and now, until *until* in seconds since 1970 at most, as `Background.run_now` does."""
        work = self.background.run_now(kind, name, call, until, at_once=at_once, metric_name=metric_name)
        self._check_cut_off()
        if work.was_cut_off:
            self.interrupted = self.interrupted or work.started_at > 0
            if kind != "task":  # that is told with the tasks of the drain
                self._tell_loss(work)

    def run_once(self, task: Any, until: float) -> bool:
        """
        Run the event loop for one turn, in which its *task* may end, until *until* in seconds since 1970 at most.

        Returns:
            Whether there was time for that; if not, it was interrupted, and the task cancelled.
        """
        try:
            self._environment.event_loop.run_once(task, until, self._environment.grace)
        except TimeUp:
            self.interrupted = True
            return False
        return True

    def _wait_for_abandoned(self) -> None:
        # Once only: a thread that hangs for good must not cost every later invocation its whole time.
        environment, until = self._environment, self._limits.until
        try:
            with environment.event_loop.interrupt.at(until, again=environment.grace, own_code=True):
                for work in environment.abandoned:
                    work.wait_after_abandonment(self._limits.until - time.time())
        except TimeUp:
            pass  # hurried
        for work in environment.abandoned:
            if not work.wait_after_abandonment(0):
                what = "background %s %s is still running in its thread: no longer waited for"
                tell(log, logging.WARNING, what, work.kind, work.name)

    def _run_last(self, registries: list[Background]) -> None:
        hooks = self._environment.hooks
        # These have their turn even when the work before them took all the time.
        until = max(self._limits.until, min(time.time() + self._environment.grace, self._limits.last))
        for report in [report for registry in registries for report in registry.reports]:
            for told in hooks.task_failed:
                self.run_now("hook", name_of(told), partial(told, report), until)
        if hooks.freeze:  # which send what log handlers have collected
            self._environment.logs.finish_telling(until)
        for rest in hooks.freeze:
            self.run_now("hook", name_of(rest), rest, until)

    # Its end...

    def cut_off(self) -> None:
        """
        End what *run* is at, in another thread: it hangs in code of the function's that nobody can stop.

        What has a queue is handed over, the rest is named in the log.
        """
        self._is_cut_off = True
        self._answered_at = self._answered_at or time.time()
        background = self.background
        background.cut_off()
        for kind, name, call in self._next:
            background.run_now(kind, name, call, 0.0)  # which drops it
        for work in background.works:
            if work.was_cut_off:
                self._tell_loss(work)
        self._environment.threads.remember(background.abandoned())
        self._tell(background.works)

    def _check_cut_off(self) -> None:
        if self._is_cut_off:
            raise _CutOffError

    def break_off(self, error: Exception) -> list[Work]:
        """End it, since *error* has come up in the runtime's own code; return all pieces of work."""
        if self._background is None:
            return []
        self._background.break_off(error)
        return self._background.works

    def let_go(self) -> None:
        """Take no more work, and forget what there was."""
        self._continuations = self._hooks = self._rests = ()
        with _making:
            background, self._background, self._is_closed = self._background, None, True
        earlier, self._earlier = self._earlier, ()
        for registry in earlier:
            registry.let_go()
        if background is not None:
            background.let_go()

    # ...and what is told of it.

    def _tell(self, works: list[Work]) -> None:
        logs, settings = self._environment.logs, self._environment.settings
        mentioned = [work for work in works if work.is_mentioned]
        if settings.metrics_namespace:
            logs.metrics(settings.metrics_namespace, mentioned, self._scope.request_id)
        summary = self.background.summary(mentioned, time.time() - self._answered_at)
        if summary.total:
            logs.summary(summary)

    def _tell_loss(self, work: Work) -> None:
        if not work.was_cut_off:
            tell_want_of_threads(work, self._environment.threads.most)
            return
        tell_loss(work, *self._limits.cause(seconds))

    def _make_background(self) -> Background:
        environment = self._environment
        return Background(
            self._scope,
            environment.settings,
            environment.event_loop,
            environment.spans,
            environment.threads,
            self._limits.until,
        )


class _CutOffError(Exception):
    """What follows the answer has been ended elsewhere."""


_making = threading.Lock()
