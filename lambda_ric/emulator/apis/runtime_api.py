"""
The Runtime API of one environment: its states, and what may be said in which.

    state                     entered by                  from
    Started                   the start
    Ready                     a poll                      Started, Ready, RuntimeResponseSent, Restoring
    Running                   `deliver`
    InvocationResponse        a response                  Running
    InvocationErrorResponse   an error                    Running
    RuntimeResponseSent       the end of either
    InitError                 an init error               Started
    RestoreReady              a poll for the restore      Started
    Restoring                 `restore`
    RuntimeRestoreError       an error after the restore  Restoring

Rule: whatever moves an environment from one state to another is in this file.
The states, texts and status codes are those of AWS's own emulator, which holds
the platform's code: https://github.com/aws/aws-lambda-runtime-interface-emulator
(internal/lambda/core/states.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.http.messages import (
    JSON,
    NOT_FOUND,
    BadRequestError,
    BodyTooLargeError,
    Later,
    RefusedError,
    Reply,
    Request,
)
from lambda_ric.limits import MAX_RESPONSE

from .posts import (
    ACCEPTED,
    INVALID_MODE,
    MODE,
    TOO_LARGE,
    TRUNCATED,
    InitFailure,
    check_nonce,
    error_type,
    event_reply,
    invalid_id,
    invalid_mode,
    is_stream,
    pass_on,
    read_init_failure,
    too_large,
    trailing_error,
    truncated,
    without_cause,
)


class RuntimeState(StrEnum):
    """
    The states of a runtime, as its refusals name them.

    Texts, since a text has its hash at hand: Enum's own is written in Python, and would take 2 µs of a call.
    """

    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDING = "InvocationResponse"
    FAILING = "InvocationErrorResponse"
    ANSWERED = "RuntimeResponseSentState"
    INIT_FAILED = "InitError"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    RESTORE_FAILED = "RuntimeRestoreErrorState"


# The environment's turn.
_WAITING = {RuntimeState.READY, RuntimeState.RESTORE_READY, RuntimeState.INIT_FAILED, RuntimeState.RESTORE_FAILED}

# Two polls at once are allowed: both wait, and an event wakes the first.
_BEFORE = {
    RuntimeState.READY: {RuntimeState.STARTED, RuntimeState.READY, RuntimeState.ANSWERED, RuntimeState.RESTORING},
    RuntimeState.RESPONDING: {RuntimeState.RUNNING},
    RuntimeState.FAILING: {RuntimeState.RUNNING},
    RuntimeState.INIT_FAILED: {RuntimeState.STARTED},
    RuntimeState.RESTORE_READY: {RuntimeState.STARTED},
    RuntimeState.RESTORE_FAILED: {RuntimeState.RESTORING},
}


class RuntimeAPI:
    """
    The far side of a runtime's loop, from its start to its end.

    *on_turn* is called when it is the environment's turn again: the runtime
    asks for the next event, or gives its init up. With *snapstart* the routes
    of a restore are open. *newest_first* gives an event to the newest poll,
    for a runtime that is started anew by hand.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_turn: Callable[[], None],
        *,
        snapstart: bool = False,
        newest_first: bool = False,
    ) -> None:
        self.state: RuntimeState = RuntimeState.STARTED
        self.init_failure: InitFailure | None = None
        self._clock = clock
        self._on_turn = on_turn
        self._snapstart = snapstart
        self._newest_first = newest_first
        self._invocation: Invocation | None = None
        self._polls: list[Later] = []
        self._restored = asyncio.Event()

    def anew(self) -> RuntimeAPI:
        """Return another one, for a runtime that starts."""
        return RuntimeAPI(self._clock, self._on_turn, snapstart=self._snapstart, newest_first=self._newest_first)

    def deliver(self, invocation: Invocation) -> None:
        """Send *invocation* to the runtime, which is waiting for it."""
        self.state = RuntimeState.RUNNING
        self._invocation = invocation
        if self._polls:
            self._polls.pop(-1 if self._newest_first else 0).set(event_reply(invocation))

    def restore(self) -> None:
        """Tell the runtime, which waits for it, that it has been restored from its snapshot."""
        self.state = RuntimeState.RESTORING
        self._restored.set()

    def end(self, failure: Failure) -> None:
        """Take note of nothing: whoever waits for the runtime looks at its process as well."""

    @property
    def waits(self) -> bool:
        """Whether it is the environment's turn: the runtime has polled, or given up."""
        return self.state in _WAITING

    @property
    def snapshot_taken(self) -> bool:
        """Whether the runtime waits for its restore."""
        return self.state is RuntimeState.RESTORE_READY

    # What the runtime asks for...

    def ping(self) -> Reply:
        """Say that somebody is there."""
        return Reply(200, b"pong", {"Content-Type": "text/plain; charset=utf-8"})

    def next(self) -> Reply | Later:
        """
        Wait for the next event.

        Nobody looks whether the client is still there: as on Lambda, a poll that was given up stays first in
        the queue and swallows an event, which only a fresh poll gets again.
        """
        if self.state is RuntimeState.RUNNING and self._invocation is not None:
            return event_reply(self._invocation)
        self._enter(RuntimeState.READY)
        self._invocation = None
        poll = Later()
        self._polls.append(poll)
        self._on_turn()
        return poll

    def response(self, request_id: str, request: Request) -> Reply | Awaitable[Reply]:
        """Pass a response on to the caller, who has it before the runtime knows that it was accepted."""
        invocation = self._current(request_id, request)
        self._enter(RuntimeState.RESPONDING)
        self._check_mode(invocation, request)
        content_type = request.headers.get("content-type", JSON)
        payload = None if MODE in request.headers else request.whole(MAX_RESPONSE)
        if payload is not None:
            self._answer(invocation, payload, content_type)
            return ACCEPTED
        if is_stream(invocation, request, content_type):
            return self._stream(invocation, request, content_type)
        return self._collect(invocation, request, content_type)

    async def error(self, request_id: str, request: Request) -> Reply:
        """Pass an error document on to the caller."""
        invocation = self._current(request_id, request)
        self._enter(RuntimeState.FAILING)
        payload = await self._payload(invocation, request)
        document, content_type = without_cause(payload, request.headers.get("content-type", JSON))
        self._answer(invocation, document, content_type, error_type(request))
        return ACCEPTED

    async def init_error(self, request: Request) -> Reply:
        """Take note that the runtime cannot start; nothing but its end may follow."""
        restoring = self.state is RuntimeState.RESTORING
        self._enter(RuntimeState.RESTORE_FAILED if restoring else RuntimeState.INIT_FAILED)
        self.init_failure = await read_init_failure(request)
        self._on_turn()
        return ACCEPTED

    async def restore_next(self) -> Reply:
        """Let the runtime wait through its snapshot; it is answered when it has been restored."""
        if not self._snapstart:
            return NOT_FOUND
        self._enter(RuntimeState.RESTORE_READY, called=RuntimeState.READY)
        self._on_turn()
        await self._restored.wait()
        return Reply(200)

    async def restore_error(self, request: Request) -> Reply:
        """Take note that the runtime could not go on after its restore."""
        if not self._snapstart:
            return NOT_FOUND
        self._enter(RuntimeState.RESTORE_FAILED)
        self.init_failure = await read_init_failure(request)
        self._on_turn()
        return ACCEPTED

    # ...and what it is checked for.

    def _enter(self, state: RuntimeState, called: RuntimeState | None = None) -> None:
        if self.state not in _BEFORE[state]:
            text = f"State transition from {self.state.value} to {(called or state).value} failed for runtime."
            raise RefusedError(403, "InvalidStateTransition", f"{text} Error: State transition is not allowed")
        self.state = state

    def _current(self, request_id: str, request: Request) -> Invocation:
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            raise invalid_id()
        check_nonce(invocation, request)
        return invocation

    def _check_mode(self, invocation: Invocation, request: Request) -> None:
        if request.headers.get(MODE, "streaming") != "streaming":
            # As on Lambda the state stays as it is, so the runtime is stuck until the deadline.
            invocation.delivery.respond(self._clock(), b"", JSON, INVALID_MODE)
            raise invalid_mode()

    async def _payload(self, invocation: Invocation, request: Request) -> bytes:
        try:
            return await request.body(MAX_RESPONSE)
        except BodyTooLargeError:
            failure, refused = TOO_LARGE, too_large()
        except BadRequestError:
            failure, refused = TRUNCATED, truncated()
        self._answer(invocation, failure.document(), JSON, failure.error_type)
        raise refused

    async def _collect(self, invocation: Invocation, request: Request, content_type: str) -> Reply:
        invocation.delivery.collected = MODE in request.headers
        payload = await self._payload(invocation, request)
        error, _ = trailing_error(request)
        self._answer(invocation, payload, content_type, error)
        return ACCEPTED

    async def _stream(self, invocation: Invocation, request: Request, content_type: str) -> Reply:
        try:
            error, error_body = await pass_on(invocation, request, content_type, self._clock)
        except BadRequestError:
            self.state = RuntimeState.ANSWERED
            invocation.delivery.end_stream(self._clock(), TRUNCATED.error_type, TRUNCATED.document())
            raise truncated() from None
        self.state = RuntimeState.ANSWERED
        invocation.delivery.end_stream(self._clock(), error, error_body)
        return ACCEPTED

    def _answer(self, invocation: Invocation, body: bytes, content_type: str, error: str | None = None) -> None:
        self.state = RuntimeState.ANSWERED
        invocation.delivery.respond(self._clock(), body, content_type, error)
