"""
The Runtime API of one environment: its states, and what may be said in which.

Rule: whatever moves an environment from one state to another is in this file.
The states, texts and status codes are those of AWS's own emulator, which holds
the platform's code: https://github.com/aws/aws-lambda-runtime-interface-emulator
(internal/lambda/core/states.go).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import NamedTuple

from lambda_ric import protocol

from .bandwidth import Bandwidth
from .invocation import JSON, Failure, Invocation
from .server import NOT_FOUND, BadRequestError, BodyTooLargeError, Later, RefusedError, Reply, Request, json_reply

TOO_LARGE = Failure(
    "Function.ResponseSizeTooLarge",
    f"Response payload size exceeded maximum allowed payload size ({protocol.MAX_RESPONSE_BYTES} bytes).",
)
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_STREAM_BYTES = 200 * 1024 * 1024
TRUNCATED = Failure("Runtime.TruncatedResponse", "The response ended before it was complete.")


class State(Enum):
    """The states of a runtime, as its refusals name them."""

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
WAITING = {State.READY, State.RESTORE_READY, State.INIT_FAILED, State.RESTORE_FAILED}

# Two polls at once are allowed: both wait, and an event wakes the first.
_BEFORE = {
    State.READY: {State.STARTED, State.READY, State.ANSWERED, State.RESTORING},
    State.RESPONDING: {State.RUNNING},
    State.FAILING: {State.RUNNING},
    State.INIT_FAILED: {State.STARTED},
    State.RESTORE_READY: {State.STARTED},
    State.RESTORE_FAILED: {State.RESTORING},
}


class InitFailure(NamedTuple):
    """What the runtime gave its init up with: the answer of the invocation that waits for it."""

    document: bytes
    content_type: str
    error_type: str

    @property
    def failure(self) -> Failure:
        """The same, as the log has it."""
        return Failure(self.error_type, "the runtime could not be initialised")


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
        self.state = State.STARTED
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
        self.state = State.RUNNING
        self._invocation = invocation
        if self._polls:
            self._polls.pop(-1 if self._newest_first else 0).set(event_reply(invocation))

    def restore(self) -> None:
        """Tell the runtime, which waits for it, that it has been restored from its snapshot."""
        self.state = State.RESTORING
        self._restored.set()

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
        if self.state is State.RUNNING and self._invocation is not None:
            return event_reply(self._invocation)
        self._enter(State.READY)
        self._invocation = None
        poll = Later()
        self._polls.append(poll)
        self._on_turn()
        return poll

    def response(self, request_id: str, request: Request) -> Reply | Awaitable[Reply]:
        """Pass a response on to the caller, who has it before the runtime knows that it was accepted."""
        invocation = self._current(request_id, request)
        self._enter(State.RESPONDING)
        streamed = self._streamed(invocation, request)
        content_type = request.headers.get("content-type", JSON)
        if streamed and invocation.streaming:
            return self._stream(invocation, request, content_type)
        payload = request.whole(protocol.MAX_RESPONSE_BYTES)
        if payload is None:
            return self._collect(invocation, request, content_type)
        self._answer(invocation, payload, content_type)
        return ACCEPTED

    async def error(self, request_id: str, request: Request) -> Reply:
        """Pass an error document on to the caller."""
        invocation = self._current(request_id, request)
        self._enter(State.FAILING)
        payload = await self._payload(invocation, request)
        document, content_type = without_cause(payload, request.headers.get("content-type", JSON))
        self._answer(invocation, document, content_type, error_type(request))
        return ACCEPTED

    async def init_error(self, request: Request) -> Reply:
        """Take note that the runtime cannot start; nothing but its end may follow."""
        restoring = self.state is State.RESTORING
        self._enter(State.RESTORE_FAILED if restoring else State.INIT_FAILED)
        self.init_failure = await read_init_failure(request)
        self._on_turn()
        return ACCEPTED

    async def restore_next(self) -> Reply:
        """Let the runtime wait through its snapshot; it is answered when it has been restored."""
        if not self._snapstart:
            return NOT_FOUND
        self._enter(State.RESTORE_READY, called=State.READY)
        self._on_turn()
        await self._restored.wait()
        return Reply(200)

    async def restore_error(self, request: Request) -> Reply:
        """Take note that the runtime could not go on after its restore."""
        if not self._snapstart:
            return NOT_FOUND
        self._enter(State.RESTORE_FAILED)
        self.init_failure = await read_init_failure(request)
        self._on_turn()
        return ACCEPTED

    # ...and what it is checked for.

    def _enter(self, state: State, called: State | None = None) -> None:
        if self.state not in _BEFORE[state]:
            text = f"State transition from {self.state.value} to {(called or state).value} failed for runtime."
            raise RefusedError(403, "InvalidStateTransition", f"{text} Error: State transition is not allowed")
        self.state = state

    def _current(self, request_id: str, request: Request) -> Invocation:
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            raise RefusedError(400, "InvalidRequestID", "Invalid request ID")
        check_nonce(invocation, request)
        return invocation

    def _streamed(self, invocation: Invocation, request: Request) -> bool:
        mode = request.headers.get(_MODE)
        if mode not in (None, "streaming"):
            # As on Lambda the state stays as it is, so the runtime is stuck until the deadline.
            invocation.respond(self._clock(), b"", JSON, "Runtime.InvalidResponseModeHeader")
            raise RefusedError(400, "InvalidFunctionResponseMode", "Invalid function response mode")
        return mode is not None

    async def _payload(self, invocation: Invocation, request: Request) -> bytes:
        try:
            return await request.body(protocol.MAX_RESPONSE_BYTES)
        except BodyTooLargeError:
            failure, refused = TOO_LARGE, too_large()
        except BadRequestError:
            failure, refused = TRUNCATED, truncated()
        self._answer(invocation, failure.document(), JSON, failure.error_type)
        raise refused

    async def _collect(self, invocation: Invocation, request: Request, content_type: str) -> Reply:
        payload = await self._payload(invocation, request)
        error, _ = _trailing_error(request)
        self._answer(invocation, payload, content_type, error)
        return ACCEPTED

    async def _stream(self, invocation: Invocation, request: Request, content_type: str) -> Reply:
        try:
            error, error_body = await pass_on(invocation, request, content_type, self._clock)
        except BadRequestError:
            self.state = State.ANSWERED
            invocation.end_stream(self._clock(), TRUNCATED.error_type, TRUNCATED.document())
            raise truncated() from None
        self.state = State.ANSWERED
        invocation.end_stream(self._clock(), error, error_body)
        return ACCEPTED

    def _answer(self, invocation: Invocation, body: bytes, content_type: str, error: str | None = None) -> None:
        self.state = State.ANSWERED
        invocation.respond(self._clock(), body, content_type, error)


# What one environment that serves many events at once does alike.

_MODE = protocol.RESPONSE_MODE.lower()
_NONCE = protocol.INVOCATION_ID.lower()
_TYPE = protocol.ERROR_TYPE.lower()
_TRAILER_BODY = "lambda-runtime-function-error-body"


def event_reply(invocation: Invocation) -> Reply:
    """Return *invocation* as the runtime gets it; what is empty has no header."""
    headers = {
        "Content-Type": invocation.content_type,
        protocol.REQUEST_ID: invocation.request_id,
        protocol.DEADLINE_MS: str(int(invocation.deadline * 1000)),
        protocol.FUNCTION_ARN: invocation.function_arn,
        protocol.TRACE_ID: invocation.trace_id,
        protocol.INVOCATION_ID: invocation.nonce,
    }
    if invocation.client_context:
        headers[protocol.CLIENT_CONTEXT] = invocation.client_context
    if invocation.cognito_identity:
        headers[protocol.COGNITO_IDENTITY] = invocation.cognito_identity
    if invocation.tenant_id:
        headers[protocol.TENANT_ID] = invocation.tenant_id
    return Reply(200, invocation.event, headers)


def check_nonce(invocation: Invocation, request: Request) -> None:
    """Refuse an answer to another attempt at *invocation*."""
    if request.headers.get(_NONCE, invocation.nonce) != invocation.nonce:
        raise RefusedError(410, "InvokeTimeout", "Invoke timeout")


async def pass_on(
    invocation: Invocation, request: Request, content_type: str, clock: Callable[[], float]
) -> tuple[str | None, bytes]:
    """
    Pass the stream in *request* on to the caller; return the error that its trailers tell of, and its body.

    Raises:
        BadRequestError: The stream ended before it was complete.
    """
    bandwidth = Bandwidth()
    size = 0
    async for chunk in request.chunks():
        invocation.begin(clock(), content_type, streamed=True)
        size += len(chunk)
        if size > MAX_STREAM_BYTES:
            return TOO_LARGE.error_type, TOO_LARGE.document()
        await bandwidth.take(len(chunk))
        await invocation.send(chunk)
    invocation.begin(clock(), content_type, streamed=True)
    return _trailing_error(request)


def _trailing_error(request: Request) -> tuple[str | None, bytes]:
    error = request.trailers.get(_TYPE)
    encoded = request.trailers.get(_TRAILER_BODY, "")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        body = encoded.encode("latin-1", "replace")
    return (error or "Runtime.Unknown", body) if error is not None or body else (None, b"")


def without_cause(document: bytes, content_type: str) -> tuple[bytes, str]:
    """Return an error document as the caller gets it: what is meant for X-Ray is taken out."""
    if content_type != _WITH_CAUSE:
        return document, content_type
    try:
        fields = json.loads(document)
        fields.pop("errorCause", None)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return b'"Invalid error body"', "application/octet-stream"
    return json.dumps(fields, separators=(",", ":")).encode(), JSON


_WITH_CAUSE = "application/vnd.aws.lambda.error.cause+json"


async def read_init_failure(request: Request) -> InitFailure:
    """Read what a runtime says of an init that failed, however it is said."""
    try:
        document = await request.body(protocol.MAX_RESPONSE_BYTES)
    except (BodyTooLargeError, BadRequestError):
        document = b""
    content_type = JSON if _is_json(document) else "application/octet-stream"
    return InitFailure(document, content_type, error_type(request))


def error_type(request: Request) -> str:
    """Return the error type that a runtime gives in a header."""
    return request.headers.get(_TYPE) or "Runtime.Unknown"


def too_large() -> RefusedError:
    """Return the refusal of a body over the limit."""
    text = f"Exceeded maximum allowed payload size ({protocol.MAX_RESPONSE_BYTES} bytes)."
    return RefusedError(413, "RequestEntityTooLarge", text)


def truncated() -> RefusedError:
    """Return the refusal of a body that broke off."""
    return RefusedError(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")


def _is_json(document: bytes) -> bool:
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True


ACCEPTED = json_reply(202, {"status": "OK"})
