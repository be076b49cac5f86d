"""
The loop: next → invoke → response → after the response → next.

    GET next ──▶ before_invoke hooks ──▶ handler ──▶ POST response or error
      ▲                                                  │  the caller has its answer from here on
      │            1. the rest of an @after_response generator handler
      │            2. the hooks named by @after_response(...)
      │            3. after_invoke hooks
      │            4. everything handed to wait_until, until the set is empty
      └── logs flushed ◀── one BACKGROUND line ◀─────────┘

Everything here happens on the main thread, one invocation at a time.
"""

from __future__ import annotations

import logging
import math
import os
import time
from contextvars import copy_context
from functools import partial

from .background import Background
from .background_task import BackgroundTask, Summary, name_of
from .context import LambdaContext, current_invocation
from .errors import AnswerRefusedError, HandlerTimeoutError
from .event_loop import EventLoop, is_awaitable
from .failures import Failure
from .handover import Handover, current_handover
from .hooks import Hooks, Outcome
from .interrupt import Interrupt, TimeUp, stopped_at
from .logs import Logs
from .payloads import Codec, checked_encode
from .spans import Spans
from .streams import tell
from .threads import carry_context_into_pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .client import RuntimeClient
    from .protocol import Invocation
    from .settings import Settings

log = logging.getLogger("lambda_ric.runtime")


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
        self._handler = handler
        self._client = client
        self._settings = settings
        self._logs = logs
        self._hooks = hooks
        self._codec = codec or Codec(ascii_only=settings.ascii_json)
        self._encode = self._codec.encode if codec is None else partial(checked_encode, codec)
        self._spans = Spans(settings.spans_fd)
        self._event_loop = event_loop or EventLoop(Interrupt())
        self._grace = settings.deadline_margin / 4
        self._abandoned: list[BackgroundTask] = []

    def start(self) -> None:
        """Run the on_startup hooks; raises what they raise."""
        for hook in self._hooks.startup:
            self._event_loop.begin_invocation()
            self._resolve(hook())

    def run(self) -> NoReturn:
        """
        Serve events for ever.

        Raises:
            RuntimeAPIError: Lambda cannot be reached any longer.
            SystemExit, KeyboardInterrupt: A handler raised it, and its
                invocation has been told so.
        """
        while True:
            self.serve(self._client.next())

    def serve(self, invocation: Invocation) -> tuple[Outcome, list[BackgroundTask]]:
        """Serve one event to the end of its background work; say how it went, and what ran after the response."""
        # Its own context: neither our variables nor the function's reach the next invocation.
        return copy_context().run(self._serve, invocation)

    def _serve(self, invocation: Invocation) -> tuple[Outcome, list[BackgroundTask]]:
        current_invocation.set(invocation)
        handover = Handover(invocation, self._make_background)
        current_handover.set(handover)
        _set_trace_id(invocation.trace_id)
        carry_context_into_pools()
        self._event_loop.begin_invocation()

        soft_deadline, until = self._time_limits(invocation)
        outcome = self._invoke(invocation, soft_deadline, again=max((until - soft_deadline) / 2, self._grace))
        tasks = self._after(outcome, handover, until)
        self._logs.flush()
        if isinstance(outcome.error, (SystemExit, KeyboardInterrupt)):
            raise outcome.error
        return outcome, tasks

    def _time_limits(self, invocation: Invocation) -> tuple[float, float]:
        """Return when the handler is interrupted, and when the work after it ends."""
        # Where Lambda gives very little time, half of it stays the handler's.
        left = invocation.deadline - invocation.received_at
        until = invocation.deadline - min(self._settings.deadline_margin, left / 4)
        if self._settings.soft_deadline is None:
            return math.inf, until
        return invocation.deadline - min(self._settings.soft_deadline, left / 2), until

    def _make_background(self, invocation: Invocation) -> Background:
        return Background(invocation, self._settings, self._event_loop, self._spans)

    # Until the caller has its answer...

    def _invoke(self, invocation: Invocation, soft_deadline: float, *, again: float) -> Outcome:
        outcome = Outcome(None, None, None, None, 0.0)
        started_at = invocation.received_at
        try:
            outcome.context = LambdaContext.of(invocation)
            outcome.event = self._codec.decode(invocation.body, invocation.content_type)
            with self._event_loop.interrupt.at(soft_deadline, again=again):
                for hook in self._hooks.before:
                    self._resolve(hook(outcome.event, outcome.context))
                outcome.result = self._resolve(self._handler(outcome.event, outcome.context))
            body, content_type = self._encode(outcome.result)
        except TimeUp as interrupted:
            outcome.error = self._timeout(interrupted, invocation, started_at)
            self._event_loop.settle(self._grace)
        except BaseException as error:  # SystemExit too: the caller is told before the process ends
            outcome.error = error
        ended_at = time.time()
        outcome.duration = ended_at - started_at
        try:
            if outcome.error is None:
                self._client.respond(invocation, body, content_type)
            else:
                self._fail(invocation, outcome.error)
        except AnswerRefusedError as refused:
            # The platform has answered the caller itself, and an error may not follow a response.
            tell(log, logging.ERROR, "%s", refused)
            outcome.error = outcome.error or refused
        if self._spans.wanted:
            state = "succeeded" if outcome.error is None else "failed"
            self._spans.ended(invocation.request_id, "handler", self._settings.handler, state, started_at, ended_at)
        return outcome

    def _fail(self, invocation: Invocation, error: BaseException) -> None:
        failure = Failure(error, invocation.request_id)
        self._logs.error(failure)
        self._client.fail(invocation, failure, causes=self._settings.error_causes)

    def _resolve(self, result: Any) -> Any:
        # What a call returned decides, not what the function looks like: decorators hide that.
        while is_awaitable(result):
            result = self._event_loop.run(result)
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
        if not (self._hooks.after or self._abandoned or self._event_loop.has_tasks) and handover.close_unused():
            return []
        background = handover.background
        started_at = time.time()
        for name, go_on in handover.continuations:
            background.run_now("continuation", name, partial(go_on, outcome), until)
        for hook in (*handover.hooks_after(outcome), *self._hooks.after):
            background.run_now("hook", name_of(hook), partial(hook, outcome), until)
        background.drain(until)
        if self._abandoned:
            self._wait_for_abandoned(until)
        if background.tasks:
            self._logs.summary(Summary(handover.invocation.request_id, background.tasks, time.time() - started_at))
            self._abandoned = background.abandoned()
        return background.tasks

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
