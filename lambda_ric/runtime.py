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

from .background import Background, BackgroundTask, Summary, name_of
from .context import LambdaContext, current_invocation
from .errors import AnswerRefusedError, HandlerTimeoutError
from .event_loop import EventLoop, is_awaitable
from .failures import Failure
from .handover import Handover, current_handover
from .hooks import Hooks, Outcome
from .interrupt import Interrupt, TimeUp, stopped_at
from .payloads import Codec
from .spans import Spans
from .threads import carry_context_into_pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .client import RuntimeClient
    from .logs import Logs
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
    ) -> None:
        self._handler = handler
        self._client = client
        self._settings = settings
        self._logs = logs
        self._hooks = hooks
        self._codec = codec or Codec(ascii_only=settings.ascii_json)
        self._spans = Spans(settings.spans_fd)
        self._interrupt = Interrupt()
        self._event_loop = EventLoop(self._interrupt, grace=settings.deadline_margin / 4)
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
        background = Background(invocation, self._settings, self._event_loop, self._interrupt, self._spans)
        handover = Handover(background)
        current_handover.set(handover)
        _set_trace_id(invocation.trace_id)
        carry_context_into_pools()
        self._event_loop.begin_invocation()

        outcome = self._invoke(invocation)
        self._after(invocation, outcome, handover)
        self._logs.flush()
        if isinstance(outcome.error, (SystemExit, KeyboardInterrupt)):
            raise outcome.error
        return outcome, background.tasks

    # Until the caller has its answer...

    def _invoke(self, invocation: Invocation) -> Outcome:
        outcome = Outcome(None, None, None, None, 0.0)
        started_at = time.time()
        try:
            outcome.context = LambdaContext.of(invocation)
            outcome.event = self._codec.decode(invocation.body, invocation.content_type)
            with self._interrupt.at(self._soft_deadline(invocation)):
                for hook in self._hooks.before:
                    self._resolve(hook(outcome.event, outcome.context))
                outcome.result = self._resolve(self._handler(outcome.event, outcome.context))
            body, content_type = self._codec.encode(outcome.result)
        except TimeUp as interrupted:
            outcome.error = self._timeout(interrupted, invocation, started_at)
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
            log.error("%s", refused)
            outcome.error = outcome.error or refused
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

    def _soft_deadline(self, invocation: Invocation) -> float:
        # Where Lambda gives very little time, half of it stays the handler's.
        left = invocation.deadline - time.time()
        self._margin = min(self._settings.deadline_margin, left / 4)
        if self._settings.soft_deadline is None:
            return math.inf
        return invocation.deadline - min(self._settings.soft_deadline, left / 2)

    def _timeout(self, interrupted: TimeUp, invocation: Invocation, started_at: float) -> HandlerTimeoutError:
        left_ms = (invocation.deadline - time.time()) * 1000
        error = HandlerTimeoutError(
            f"Task timed out after {time.time() - started_at:.2f} seconds, {left_ms:.0f} ms before the function's "
            "deadline (LAMBDA_RIC_SOFT_DEADLINE_MS)"
        )
        return error.with_traceback(stopped_at(interrupted))

    # ...and after it, when nothing can fail the invocation any more.

    def _after(self, invocation: Invocation, outcome: Outcome, handover: Handover) -> None:
        background = handover.background
        started_at = time.time()
        until = invocation.deadline - self._margin
        for name, go_on in handover.continuations:
            background.run_now("continuation", name, partial(go_on, outcome), until)
        for hook in (*handover.hooks_after(outcome), *self._hooks.after):
            background.run_now("hook", name_of(hook), partial(hook, outcome), until)
        background.drain(until)
        if self._abandoned:
            self._wait_for_abandoned(until)
        if background.tasks:
            self._logs.summary(Summary(background, time.time() - started_at))
            self._abandoned = background.abandoned()

    def _wait_for_abandoned(self, until: float) -> None:
        # Once only: a thread that hangs for good must not cost every later invocation its whole time.
        for task in self._abandoned:
            if not task.wait_after_abandonment(until - time.time()):
                log.warning(
                    "background %s %s is still running in its thread: no longer waited for", task.kind, task.name
                )
        self._abandoned = []


def _set_trace_id(trace_id: str | None) -> None:
    # Where the X-Ray SDK and Powertools look for it, also during background work.
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
