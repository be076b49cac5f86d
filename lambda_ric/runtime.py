"""
The loop: next → invoke → response → after the response → next.

    GET next ──▶ after_thaw, before_invoke hooks ──▶ handler ──▶ POST response or error
      ▲                                                  │  the caller has its answer from here on
      │            1. the rest of an @after_response generator handler
      │            2. the hooks named by @after_response(...)
      │            3. after_invoke hooks
      │            4. everything handed to wait_until, until the set is empty
      │            5. before_freeze hooks
      └── logs flushed ◀── one BACKGROUND line ◀─────────┘

Everything here happens on the main thread, one invocation at a time.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from contextvars import copy_context
from functools import partial

from .background import Background
from .background_task import BackgroundTask, Summary, name_of
from .context import LambdaContext, current_invocation
from .errors import AnswerRefusedError, HandlerTimeoutError
from .event_loop import EventLoop, is_awaitable
from .failures import Failure, exc_info
from .forks import end_child_of
from .handover import Handover, current_handover
from .hooks import Hooks, Outcome
from .interrupt import Interrupt, TimeUp, stopped_at
from .logs import Logs
from .payloads import Codec, checked_encode, is_stream
from .spans import Spans
from .streams import tell
from .threads import carry_context_into_pools, left_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from .children import Children
    from .client import RuntimeClient
    from .protocol import Invocation
    from .settings import Settings
    from .streaming import ResponseStream
    from .tasks import Task

log = logging.getLogger("lambda_ric.runtime")

# Of the 300 ms between SIGTERM and SIGKILL, something has to be left for the log and the exit:
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-extensions-shutdown
SHUTDOWN_TIME = 0.25


class Runtime:
    """Serves one environment: asks *client* for events, calls *handler*, and finishes what it handed over."""

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        client: RuntimeClient,
        settings: Settings,
        logs: Logs,
        hooks: Hooks,
        codec: Codec | None = None,
        event_loop: EventLoop | None = None,
    ) -> None:
        self._handler = _consuming(handler)
        self._client = client
        self._settings = settings
        self._logs = logs
        self._hooks = hooks
        self._codec = codec or Codec(ascii_only=settings.ascii_json)
        self._encode = self._codec.encode if codec is None else partial(checked_encode, codec)
        self._spans = Spans(settings.spans_fd)
        self.event_loop = event_loop or EventLoop(Interrupt())
        self._grace = settings.deadline_margin / 4
        self._abandoned: list[BackgroundTask] = []
        self._process = os.getpid()
        self._draining: Background | None = None
        self._ends_at = math.inf
        self._resting_since = 0.0
        self._watches_children = self._has_forked = False
        self._children: Children | None = None
        self.failed = False
        """Whether the last invocation did."""

    def start(self) -> None:
        """Run the on_startup hooks; raises what they raise."""
        for hook in self._hooks.startup:
            self.event_loop.begin_invocation()
            self._resolve(hook())
        if self._settings.children != "ignore":
            os.register_at_fork(after_in_parent=self._forked)
            self._watches_children = True  # and not in a test, whose processes are its own business
            if self._may_have_children():
                self._known_children().keep()

    def run(self, next_event: Callable[[], Invocation]) -> NoReturn:
        """
        Serve what *next_event* returns, for ever.

        Raises:
            RuntimeAPIError: Lambda cannot be reached any longer.
            SystemExit, KeyboardInterrupt: A handler raised it, and its
                invocation has been told so; or *next_event* did.
        """
        while True:
            self.failed = self.serve(next_event())[0].error is not None

    def hurry(self) -> None:
        """Bring the invocation to its end, since the process has to end; a signal handler may call it."""
        self._ends_at = time.time() + SHUTDOWN_TIME / 3
        if self._draining is not None:
            self._draining.hurry(self._ends_at)

    def shut_down(self) -> None:
        """Run the on_shutdown hooks, the last registered first, in the time that Lambda gives; never raises."""
        until = time.time() + SHUTDOWN_TIME
        for left, hook in zip(range(len(self._hooks.shutdown), 0, -1), reversed(self._hooks.shutdown), strict=True):
            # Its share of what is left, the last fifth to clean up: one that hangs does not take the others' time.
            now = time.time()
            grace = max(until - now, 0) / left / 5
            self.event_loop.begin_invocation()
            try:
                with self.event_loop.interrupt.at(now + 4 * grace, again=grace):
                    self._resolve(hook())
            except TimeUp:
                self.event_loop.settle(grace)
                tell(log, logging.WARNING, "on_shutdown hook %s was stopped: its time was up", name_of(hook))
            except BaseException as error:
                end_child_of(self._process, error)
                tell(log, logging.ERROR, "on_shutdown hook %s failed", name_of(hook), exc_info=exc_info(error))

    def serve(self, invocation: Invocation) -> tuple[Outcome, list[BackgroundTask]]:
        """Serve one event to the end of its background work; say how it went, and what ran after the response."""
        # Its own context: neither our variables nor the function's reach the next invocation.
        return copy_context().run(self._serve, invocation)

    def _serve(self, invocation: Invocation) -> tuple[Outcome, list[BackgroundTask]]:
        current_invocation.set(invocation)
        handover = Handover(invocation, self)
        current_handover.set(handover)
        _set_trace_id(invocation.trace_id)
        carry_context_into_pools()
        self.event_loop.begin_invocation()

        soft_deadline, until = self._time_limits(invocation)
        outcome = self._invoke(handover, soft_deadline, until)
        tasks = self._after(outcome, handover, until)
        if threading.active_count() > 1:
            _name_threads(invocation)
        if self._watches_children and self._may_have_children():
            self._known_children().look(self._grace)
        self._logs.flush()
        if isinstance(outcome.error, (SystemExit, KeyboardInterrupt)):
            raise outcome.error
        if self._hooks.thaw:
            self._resting_since = time.time()
        return outcome, tasks

    def _time_limits(self, invocation: Invocation) -> tuple[float, float]:
        """Return when the handler is interrupted, and when the work after it ends."""
        # Where Lambda gives very little time, half of it stays the handler's.
        left = invocation.deadline - invocation.received_at
        until = invocation.deadline - min(self._settings.deadline_margin, left / 4)
        if self._settings.soft_deadline is None:
            return math.inf, until
        return invocation.deadline - min(self._settings.soft_deadline, left / 2), until

    def until(self, invocation: Invocation) -> float:
        """Return when work in the handler's time has to end for its answer to be in time, in seconds since 1970."""
        return min(self._time_limits(invocation)) - 2 * self._grace

    def make_background(self, invocation: Invocation) -> Background:
        """Return a registry for the work of *invocation* after its response."""
        reporting = bool(self._hooks.task_failed)
        return Background(invocation, self._settings, self.event_loop, self._spans, reporting=reporting)

    def make_stream(self, invocation: Invocation) -> ResponseStream:
        """Return the way to answer *invocation* piece by piece."""
        from .streaming import ResponseStream  # most functions never do

        return ResponseStream(self._client, invocation, self.event_loop)

    # Until the caller has its answer...

    def _invoke(self, handover: Handover, soft_deadline: float, until: float) -> Outcome:
        invocation = handover.invocation
        outcome = Outcome(None, None, None, None, 0.0)
        started_at = invocation.received_at
        body, content_type = b"", ""
        try:
            outcome.context = LambdaContext.of(invocation)
            outcome.event = self._codec.decode(invocation.body, invocation.content_type)
            with self.event_loop.interrupt.at(soft_deadline, again=max((until - soft_deadline) / 2, self._grace)):
                if self._hooks.thaw and self._resting_since:
                    self._thawed(invocation.received_at - self._resting_since)
                for hook in self._hooks.before:
                    self._resolve(hook(outcome.event, outcome.context))
                outcome.result = self._resolve(self._handler(outcome.event, outcome.context))
                if is_stream(outcome.result):
                    handover.stream(outcome.result)
            if handover.response_stream is None:
                body, content_type = self._encode(outcome.result)
        except TimeUp as interrupted:
            outcome.error = self._timeout(interrupted, invocation, started_at)
            self.event_loop.settle(self._grace)
        except BaseException as error:  # SystemExit too: the caller is told before the process ends
            outcome.error = error
        end_child_of(self._process, outcome.error)
        ended_at = time.time()
        outcome.duration = ended_at - started_at
        try:
            if handover.response_stream is not None:
                self._end_stream(handover.response_stream, outcome, invocation, until)
            elif outcome.error is None:
                self._client.respond(invocation, body, content_type)
            else:
                self._fail(invocation, outcome.error)
        except AnswerRefusedError as refused:
            # The platform has answered the caller itself, and an error may not follow a response.
            tell(log, logging.ERROR, "%s", refused)
            outcome.error = outcome.error or refused
        handover.answered = True
        if self._spans.wanted:
            state = "succeeded" if outcome.error is None else "failed"
            self._spans.ended(invocation.request_id, "handler", self._settings.handler, state, started_at, ended_at)
        return outcome

    def _thawed(self, seconds: float) -> None:
        for hook in self._hooks.thaw:
            try:
                self._resolve(hook(max(seconds, 0.0)))
            except TimeUp:
                raise
            except BaseException as error:
                end_child_of(self._process, error)
                tell(log, logging.ERROR, "after_thaw hook %s failed", name_of(hook), exc_info=exc_info(error))

    def _end_stream(self, stream: ResponseStream, outcome: Outcome, invocation: Invocation, until: float) -> None:
        # A decorator may have caught what ended the stream: its caller has half of it all the same.
        outcome.error = outcome.error or stream.error
        if outcome.error is not None and not stream.begun:
            self._fail(invocation, outcome.error)
            return
        failure = None
        if outcome.error is not None and outcome.error is not stream.refused:
            failure = Failure(outcome.error, invocation.request_id)
            self._logs.error(failure)
        try:
            with self.event_loop.interrupt.at(until, again=self._grace):
                stream.end(failure)
        except TimeUp:
            stream.abort()
            raise AnswerRefusedError("the response was broken off: its caller had not read it in time") from None

    def _fail(self, invocation: Invocation, error: BaseException) -> None:
        failure = Failure(error, invocation.request_id)
        self._logs.error(failure)
        self._client.fail(invocation, failure, causes=self._settings.error_causes)

    def _resolve(self, result: Any) -> Any:
        # What a call returned decides, not what the function looks like: decorators hide that.
        while is_awaitable(result):
            result = self.event_loop.run(result)
        return result

    def _timeout(self, interrupted: TimeUp, invocation: Invocation, started_at: float) -> HandlerTimeoutError:
        left_ms = (invocation.deadline - time.time()) * 1000
        error = HandlerTimeoutError(
            f"Task timed out after {time.time() - started_at:.2f} seconds, {left_ms:.0f} ms before the function's "
            "deadline (LAMBDA_RIC_SOFT_DEADLINE_MS)"
        )
        return error.with_traceback(stopped_at(interrupted))

    # ...and after it, when nothing can fail the invocation any more.

    def _after(self, outcome: Outcome, handover: Handover, until: float) -> list[BackgroundTask]:
        started_at = time.time()
        until = min(until, self._ends_at, started_at + (self._settings.background_limit or math.inf))
        for name, go_on in handover.continuations:
            handover.background.run_now("continuation", name, partial(go_on, outcome), until)
        for hook in (*handover.hooks_after(outcome), *self._hooks.after):
            handover.background.run_now("hook", name_of(hook), partial(hook, outcome), until)
        while handover.rests:
            handover.rests.pop(0)(until)
        expected = self._hooks.freeze or self._abandoned or self.event_loop.has_tasks or handover.earlier
        if not expected and handover.close_unused():
            return []
        self._draining = background = handover.background
        background.drain(min(until, self._ends_at), succeeded=outcome.succeeded)
        self._draining = None
        if self._abandoned:
            self._wait_for_abandoned(until)
        # These have their turn even when the work before them took all the time.
        at_last = max(until, time.time() + self._grace)
        registries = [*handover.earlier, background]
        for report in [report for registry in registries for report in registry.reports]:
            for told in self._hooks.task_failed:
                background.run_now("hook", name_of(told), partial(told, report), at_last)
        for rest in self._hooks.freeze:
            background.run_now("hook", name_of(rest), rest, at_last)
        tasks = [task for registry in registries for task in registry.tasks]
        if self._settings.metrics_namespace:
            self._logs.metrics(self._settings.metrics_namespace, tasks, handover.invocation.request_id)
        mentioned = [task for task in tasks if task.mentioned]
        if mentioned:
            self._logs.summary(Summary(handover.invocation.request_id, mentioned, time.time() - started_at))
            self._abandoned = [task for registry in registries for task in registry.abandoned()]
        return tasks

    def _wait_for_abandoned(self, until: float) -> None:
        # Once only: a thread that hangs for good must not cost every later invocation its whole time.
        for task in self._abandoned:
            if not task.wait_after_abandonment(until - time.time()):
                tell(
                    log,
                    logging.WARNING,
                    "background %s %s is still running in its thread: no longer waited for",
                    task.kind,
                    task.name,
                )
        self._abandoned = []

    def _forked(self) -> None:
        self._has_forked = True

    def _may_have_children(self) -> bool:
        # To ask the system would take 2 µs. What subprocess starts is no fork.
        return self._has_forked or "subprocess" in sys.modules or "multiprocessing" in sys.modules

    def _known_children(self) -> Children:
        if self._children is None:
            from .children import Children  # most functions have none

            self._children = Children(terminate=self._settings.children == "terminate")
        return self._children


def _name_threads(invocation: Invocation) -> None:
    for thread, line in left_running(lambda context: context.get(current_invocation) is invocation):
        what = (
            "thread %s, started at %s, is still at work: it stands still when Lambda freezes this process, and goes on "
            "in another invocation: hand the work over with wait_until, or wait for the thread"
        )
        tell(log, logging.WARNING, what, thread.name, line)


def registered_tasks() -> Mapping[str, Task]:
    """Return the tasks of this process by name, without importing their module: whoever has one did."""
    module = sys.modules.get(f"{__package__}.tasks")
    return module.TASKS if module is not None else {}


def _consuming(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    # Where there are registered tasks, a queue may bring one.
    tasks = registered_tasks()
    if not tasks:
        return handler
    from .consumer import Consumer

    return handler if isinstance(handler, Consumer) else Consumer(handler, tasks)


# The names and values of os.environ as it keeps them. To assign to it calls setenv, of which glibc keeps every value
# for ever: 150 bytes an invocation, and a twentieth of its time. Python code sees no difference; a child process does,
# when it is started without env=.
_ENVIRON: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]


def _set_trace_id(trace_id: str | None) -> None:
    # Where the X-Ray SDK and Powertools look for it, also during background work.
    if trace_id:
        _ENVIRON[b"_X_AMZN_TRACE_ID"] = trace_id.encode()
    elif b"_X_AMZN_TRACE_ID" in _ENVIRON:
        del os.environ["_X_AMZN_TRACE_ID"]
