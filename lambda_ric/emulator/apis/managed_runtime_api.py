"""
The Runtime API of an environment that serves many events at once, as on Lambda Managed Instances.

The runtime has next to no state here, every event has its own: what is posted
for one says nothing of the others.

    stage       entered by       then
    AWAITED     `invoke`         its deadline answers it, and a late answer is refused once as such
    RESPONDING  a response       its end, an error or the deadline answers it
    FAILING     an error         it is answered

Texts and status codes are those of AWS's
emulator, which holds the platform's code:
https://github.com/aws/aws-lambda-runtime-interface-emulator (internal/lambda-managed-instances/invoke).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto

import anyio

from lambda_ric import protocol
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError, ThrottledError
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
    invoke_timeout,
    is_stream,
    pass_on,
    read_init_failure,
    too_large,
    truncated,
)

MAX_ERROR_BYTES = 1024 * 1024
MAX_IDLE_POLLS = 10_000
# So many invocations that ran out of time are remembered, until their late answer comes.
MAX_TIMED_OUT = 1000


class _Stage(Enum):
    """How far the answer to an event is."""

    AWAITED = auto()
    RESPONDING = auto()
    FAILING = auto()


class _Running:
    """An event that the runtime has, and the response that may be on its way."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.stage = _Stage.AWAITED
        self.copying = anyio.CancelScope()
        self.refusal: RefusedError | None = None

    def abort(self, refusal: RefusedError) -> None:
        """Read no more of the response; whoever posts it is told *refusal*."""
        self.refusal = refusal
        self.copying.cancel()


class ManagedRuntimeAPI:
    """
    The far side of a runtime that has several polls outstanding.

    An environment brings each event to its end with `invoke`, any number of
    them at a time, up to the polls that are *idle*. *on_turn* is called when
    their number grows, and when the runtime gives its init up.
    """

    def __init__(self, clock: Callable[[], float], on_turn: Callable[[], None]) -> None:
        self.init_failure: InitFailure | None = None
        self._clock = clock
        self._on_turn = on_turn
        self._has_polled = False
        self._polls: deque[Later] = deque()
        self._running: dict[str, _Running] = {}
        self._timed_out: dict[str, None] = {}

    # What the environment does...

    @property
    def idle(self) -> int:
        """How many polls wait for an event."""
        return len(self._polls)

    @property
    def waits(self) -> bool:
        """Whether the init is over: the runtime has polled, or given up."""
        return self._has_polled or self.init_failure is not None

    async def invoke(self, invocation: Invocation) -> None:
        """
        Give *invocation*, which must have been started, to the poll that waits longest; return once it is answered.

        It is over then, whatever the runtime still does: by its response or
        error, or by the deadline, of which the runtime is not told.

        Raises:
            ThrottledError: No poll waits.
            EmulatorError: An invocation with the same request id is running.
        """
        if invocation.request_id in self._running:
            raise EmulatorError(f"an invocation with the request id {invocation.request_id} is running already")
        if not self._polls:
            raise ThrottledError("no idle runtimes")
        running = self._running[invocation.request_id] = _Running(invocation)
        self._polls.popleft().set(event_reply(invocation))
        try:
            with anyio.move_on_after(invocation.deadline - self._clock()):
                await invocation.answered()
                return
            self._time_out(running)
        finally:
            self._forget(running)

    def end(self, failure: Failure) -> None:
        """Say that the runtime has ended: every event that it has fails by *failure*, every poll is refused."""
        for running in list(self._running.values()):
            self._answer(running, _document(failure.error_type), JSON, failure.error_type)
            running.abort(_internal_error())
        for poll in self._polls:
            poll.set(_internal_error().reply())
        self._polls.clear()

    def _time_out(self, running: _Running) -> None:
        invocation = running.invocation
        if running.stage is _Stage.AWAITED:
            self._timed_out[invocation.request_id] = None
            if len(self._timed_out) > MAX_TIMED_OUT:
                del self._timed_out[next(iter(self._timed_out))]
        text = f"Task timed out after {invocation.deadline - invocation.started_at:.2f} seconds"
        self._answer(running, _document("Sandbox.Timedout", errorMessage=text), JSON, "Sandbox.Timedout")
        running.abort(invoke_timeout())

    # ...what the runtime asks for...

    def ping(self) -> Reply:
        """Say that somebody is there."""
        return Reply(200, b"pong", {"Content-Type": "text/plain; charset=utf-8"})

    def next(self) -> Reply | Later:
        """
        Wait for an event, in a queue with the other polls.

        Nobody looks whether the client is still there, here as little as where there is one event at a time.
        """
        if len(self._polls) >= MAX_IDLE_POLLS:
            raise _internal_error()
        self._has_polled = True
        poll = Later()
        self._polls.append(poll)
        self._on_turn()
        return poll

    async def response(self, request_id: str, request: Request) -> Reply:
        """Pass a response on to the caller; with its end the invocation is over."""
        running = self._find(request_id)
        if running.stage is not _Stage.AWAITED:
            raise invalid_id()
        check_nonce(running.invocation, request)
        running.stage = _Stage.RESPONDING
        if request.headers.get(MODE, "streaming") != "streaming":
            self._answer(running, _document(INVALID_MODE), JSON, INVALID_MODE)
            raise invalid_mode()
        with running.copying:
            try:
                await self._copy(running, request)
            except BodyTooLargeError:
                self._answer(running, _document(TOO_LARGE.error_type), JSON, TOO_LARGE.error_type)
                raise too_large() from None
            except BadRequestError:
                self._answer(running, _document(TRUNCATED.error_type), JSON, TRUNCATED.error_type)
                raise truncated() from None
        if running.refusal is not None:
            raise running.refusal
        return ACCEPTED

    async def error(self, request_id: str, request: Request) -> Reply:
        """Pass an error document on to the caller; a response that is being sent breaks off with it."""
        try:
            document = await request.body(MAX_ERROR_BYTES)
        except (BodyTooLargeError, BadRequestError):
            raise too_large() from None
        running = self._find(request_id)
        check_nonce(running.invocation, request)
        if running.stage is _Stage.FAILING:
            raise invalid_id()
        running.stage = _Stage.FAILING
        self._answer(running, document, request.headers.get("content-type", JSON), error_type(request))
        running.abort(_internal_error())
        return ACCEPTED

    async def init_error(self, request: Request) -> Reply:
        """
        Take note that the runtime, or one of its workers, cannot start.

        As on Lambda it may come after the first poll, of another worker; then
        nobody acts on it.
        """
        failure = await read_init_failure(request)
        if self.init_failure is not None:
            text = "State transition from InitError to InitError failed for runtime."
            raise RefusedError(403, "InvalidStateTransition", f"{text} Error: state transition is not allowed")
        self.init_failure = failure
        if not self._has_polled:
            self._on_turn()
        return ACCEPTED

    async def restore_next(self) -> Reply:
        """Say that there are no snapshots here."""
        return NOT_FOUND

    async def restore_error(self, request: Request) -> Reply:
        """Say that there are no snapshots here."""
        return NOT_FOUND

    # ...and what becomes of it.

    def _find(self, request_id: str) -> _Running:
        running = self._running.get(request_id)
        if running is not None:
            return running
        if request_id in self._timed_out:
            del self._timed_out[request_id]
            raise invoke_timeout()
        raise invalid_id()

    async def _copy(self, running: _Running, request: Request) -> None:
        invocation = running.invocation
        content_type = request.headers.get("content-type", "application/octet-stream")
        unmarked = None if MODE in request.headers else request.whole(MAX_RESPONSE)
        if unmarked is None and is_stream(invocation, request, content_type):
            error, error_body = await pass_on(invocation, request, content_type, self._clock)
            self._forget(running)
            invocation.delivery.end_stream(self._clock(), error, error_body)
        else:
            payload = await request.body(MAX_RESPONSE)
            self._answer(running, payload, content_type, request.trailers.get(protocol.ERROR_TYPE.lower()))

    def _answer(self, running: _Running, body: bytes, content_type: str, error: str | None) -> None:
        self._forget(running)
        running.invocation.delivery.respond(self._clock(), body, content_type, error)

    def _forget(self, running: _Running) -> None:
        if self._running.get(running.invocation.request_id) is running:
            del self._running[running.invocation.request_id]


def _document(error: str, **fields: str) -> bytes:
    document: Mapping[str, str] = {"errorType": error, **fields}
    return json.dumps(document, separators=(",", ":")).encode()


def _internal_error() -> RefusedError:
    return RefusedError(500, "InternalServerError", "Internal Server Error")
