"""
The Runtime API of one environment: its states, and what may be said in which.

Rule: whatever moves an environment from one state to another is in this file.
The states, texts and status codes are those of AWS's own emulator, which holds
the platform's code: https://github.com/aws/aws-lambda-runtime-interface-emulator
(internal/lambda/core/states.go).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Self

import anyio

from lambda_ric import protocol

from .invocation import JSON, Failure, Invocation
from .server import BadRequestError, BodyTooLargeError, Reply, Request

TOO_LARGE = Failure(
    "Function.ResponseSizeTooLarge",
    f"Response payload size exceeded maximum allowed payload size ({protocol.MAX_RESPONSE_BYTES} bytes).",
)
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


# Two polls at once are allowed: both wait, and an event wakes the first.
_BEFORE = {
    State.READY: {State.STARTED, State.READY, State.ANSWERED},
    State.RESPONDING: {State.RUNNING},
    State.FAILING: {State.RUNNING},
    State.INIT_FAILED: {State.STARTED},
}


class RefusedError(Exception):
    """A request that the Runtime API does not accept."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type

    def reply(self) -> Reply:
        """Return what the runtime is told."""
        return _json(self.status, {"errorMessage": str(self), "errorType": self.error_type})


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
    The far side of a runtime's loop.

    The environment waits on *phase_over*, which the runtime sets by asking
    for the next event or by giving its init up, and the end of its process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.state = State.STARTED
        self.phase_over = anyio.Event()
        self.init_failure: InitFailure | None = None
        self._clock = clock
        self._invocation: Invocation | None = None
        self._deliver, self._polls = anyio.create_memory_object_stream[Invocation](1)

    def deliver(self, invocation: Invocation) -> None:
        """Send *invocation* to the runtime, which is waiting for it."""
        self.phase_over = anyio.Event()
        self.state = State.RUNNING
        self._invocation = invocation
        self._deliver.send_nowait(invocation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._deliver.close()
        self._polls.close()

    # What the runtime asks for...

    def ping(self) -> Reply:
        """Say that somebody is there."""
        return Reply(200, b"pong", {"Content-Type": "text/plain; charset=utf-8"})

    async def next(self) -> Reply:
        """
        Wait for the next event.

        Nobody looks whether the client is still there: as on Lambda, a poll that was given up stays first in
        the queue and swallows an event, which only a fresh poll gets again.
        """
        if self.state is State.RUNNING and self._invocation is not None:
            return _event(self._invocation)
        self._enter(State.READY)
        self._invocation = None
        self.phase_over.set()
        return _event(await self._polls.receive())

    async def response(self, request_id: str, request: Request) -> Reply:
        """Pass a response on to the caller, who has it before the runtime knows that it was accepted."""
        invocation = self._current(request_id, request)
        self._enter(State.RESPONDING)
        self._check_mode(invocation, request)
        payload = await self._payload(invocation, request)
        self._answer(invocation, payload, request.headers.get("content-type", JSON))
        return ACCEPTED

    async def error(self, request_id: str, request: Request) -> Reply:
        """Pass an error document on to the caller."""
        invocation = self._current(request_id, request)
        self._enter(State.FAILING)
        payload = await self._payload(invocation, request)
        self._answer(invocation, payload, request.headers.get("content-type", JSON), _error_type(request))
        return ACCEPTED

    async def init_error(self, request: Request) -> Reply:
        """Take note that the runtime cannot start; nothing but its end may follow."""
        self._enter(State.INIT_FAILED)
        try:
            document = await request.body(protocol.MAX_RESPONSE_BYTES)
        except (BodyTooLargeError, BadRequestError):
            document = b""
        content_type = JSON if _is_json(document) else "application/octet-stream"
        self.init_failure = InitFailure(document, content_type, _error_type(request))
        self.phase_over.set()
        return ACCEPTED

    # ...and what it is checked for.

    def _enter(self, state: State) -> None:
        if self.state not in _BEFORE[state]:
            text = f"State transition from {self.state.value} to {state.value} failed for runtime."
            raise RefusedError(403, "InvalidStateTransition", f"{text} Error: State transition is not allowed")
        self.state = state

    def _current(self, request_id: str, request: Request) -> Invocation:
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            raise RefusedError(400, "InvalidRequestID", "Invalid request ID")
        nonce = request.headers.get(protocol.INVOCATION_ID.lower(), invocation.nonce)
        if nonce != invocation.nonce:
            raise RefusedError(410, "InvokeTimeout", "Invoke timeout")
        return invocation

    def _check_mode(self, invocation: Invocation, request: Request) -> None:
        if request.headers.get(protocol.RESPONSE_MODE.lower(), "streaming") != "streaming":
            # As on Lambda the state stays as it is, so the runtime is stuck until the deadline.
            invocation.respond(self._clock(), b"", JSON, "Runtime.InvalidResponseModeHeader")
            raise RefusedError(400, "InvalidFunctionResponseMode", "Invalid function response mode")

    async def _payload(self, invocation: Invocation, request: Request) -> bytes:
        try:
            return await request.body(protocol.MAX_RESPONSE_BYTES)
        except BodyTooLargeError:
            failure = TOO_LARGE
            limit = f"Exceeded maximum allowed payload size ({protocol.MAX_RESPONSE_BYTES} bytes)."
            refused = RefusedError(413, "RequestEntityTooLarge", limit)
        except BadRequestError:
            failure = TRUNCATED
            refused = RefusedError(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
        self._answer(invocation, failure.document(), JSON, failure.error_type)
        raise refused

    def _answer(self, invocation: Invocation, body: bytes, content_type: str, error: str | None = None) -> None:
        self.state = State.ANSWERED
        invocation.respond(self._clock(), body, content_type, error)


def _event(invocation: Invocation) -> Reply:
    headers = {
        "Content-Type": JSON,
        protocol.REQUEST_ID: invocation.request_id,
        protocol.DEADLINE_MS: str(int(invocation.deadline * 1000)),
        protocol.FUNCTION_ARN: invocation.function_arn,
        protocol.TRACE_ID: invocation.trace_id,
        protocol.INVOCATION_ID: invocation.nonce,
    }
    return Reply(200, invocation.event, headers)


def _error_type(request: Request) -> str:
    return request.headers.get(protocol.ERROR_TYPE.lower()) or "Runtime.Unknown"


def _is_json(document: bytes) -> bool:
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True


def _json(status: int, document: dict[str, str]) -> Reply:
    return Reply(status, json.dumps(document, separators=(",", ":")).encode() + b"\n", {"Content-Type": JSON})


ACCEPTED = _json(202, {"status": "OK"})
