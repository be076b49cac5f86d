"""
One event on its way through an environment, and all that was seen of it.

Every time is a wall-clock time in seconds since 1970, as the runtime's own
are; a time that was never reached is None.
"""

from __future__ import annotations

import json
import math
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Literal

import anyio

from lambda_ric.errors import LambdaRICError

from .lines import LogLine

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of an invocation as the runtime reported it: its handler, a hook, a background task."""

    kind: str
    name: str
    state: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Failure:
    """What the platform, not the runtime, has to say of an invocation: an error type, and its text."""

    error_type: str
    message: str

    @property
    def status(self) -> Literal["error", "timeout"]:
        """How REPORT and INIT_REPORT call it."""
        return "timeout" if self.error_type == "Sandbox.Timedout" else "error"

    def report_fields(self) -> list[str]:
        """Return what REPORT and INIT_REPORT end with."""
        if self.status == "timeout":
            return ["Status: timeout"]
        return ["Status: error", f"Error Type: {self.error_type}"]

    def document(self) -> bytes:
        """Return the error document that the caller gets."""
        document = {"errorType": self.error_type, "errorMessage": self.message}
        return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the caller of the function gets, as soon as it was posted.

    *function_error* is None, or the error type that the runtime or the
    platform gave: the payload is an error document then.
    """

    request_id: str
    payload: bytes
    content_type: str
    function_error: str | None
    _invocation: Invocation = field(repr=False, compare=False)

    async def finished(self) -> Invocation:
        """
        Wait for the end of the invocation, which is the runtime's next poll and not the answer.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        await self._invocation.finished()
        return self._invocation


class EmulatorError(LambdaRICError):
    """The emulator cannot do what was asked of it; the text says why."""


@dataclass(slots=True, eq=False, kw_only=True)
class Invocation:
    """
    One event, from the moment when it was requested to the freeze.

    ``init_started_at`` and ``init_ended_at`` are set on the first invocation
    of an environment only.
    """

    event: bytes
    function_arn: str
    requested_at: float
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    nonce: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Tells this attempt from another one with the same request id."""
    trace_id: str = ""

    init_started_at: float | None = None
    init_ended_at: float | None = None
    started_at: float = math.nan
    deadline: float = math.nan
    answered_at: float | None = None
    ended_at: float = math.nan
    frozen_at: float | None = None

    failure: Failure | None = None
    """Set by an error as answer, and when the platform ended the invocation, be it after a good answer."""
    reset: bool = False
    """Whether the environment ended with the invocation."""
    answer: Answer | None = None
    spans: list[Span] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    max_memory: int | None = None
    """The most memory that the runtime process has used, in MB, where the system tells."""

    _answered: anyio.Event = field(default_factory=anyio.Event, repr=False)
    _finished: anyio.Event = field(default_factory=anyio.Event, repr=False)
    _cut_short: bool = False

    def __post_init__(self) -> None:
        root = f"1-{int(self.requested_at):08x}-{secrets.token_hex(12)}"
        self.trace_id = self.trace_id or f"Root={root};Parent={secrets.token_hex(8)};Sampled=0"

    # What happens to it, in this order...

    def start(self, now: float, timeout: float) -> None:
        """Begin the invoke phase, which the platform ends *timeout* seconds from *now*."""
        self.started_at = self.ended_at = now
        self.deadline = now + timeout

    def respond(self, now: float, payload: bytes, content_type: str, error: str | None = None) -> None:
        """Give the caller its answer; without effect if it has one, for nothing takes an answer back."""
        if self.answer is not None:
            return
        self.answered_at = now
        self.answer = Answer(self.request_id, payload, content_type, error, self)
        if error is not None:
            self.failure = Failure(error, "the function answered with an error")
        self._answered.set()

    def fail(self, now: float, failure: Failure) -> None:
        """Record that the platform ended the invocation; a caller still without an answer gets the error."""
        message = f"RequestId: {self.request_id} Error: {failure.message}"
        document = Failure(failure.error_type, message).document()
        self.respond(now, document, JSON, failure.error_type)
        self.failure, self.reset = failure, True

    def finish(self) -> None:
        """Say that nothing more will happen to this invocation."""
        self._finished.set()

    def cut_short(self) -> None:
        """Say that the emulator was closed in the middle; whoever waits is told."""
        self._cut_short = True
        self._answered.set()
        self._finished.set()

    # ...and what can be asked.

    async def answered(self) -> Answer:
        """Wait for the answer."""
        await self._answered.wait()
        if self.answer is None:
            raise EmulatorError(f"the emulator was closed before invocation {self.request_id} was answered")
        return self.answer

    async def finished(self) -> None:
        """Wait for the end."""
        await self._finished.wait()
        if self._cut_short:
            raise EmulatorError(f"the emulator was closed before invocation {self.request_id} ended")

    @property
    def status(self) -> Literal["success", "error", "timeout"]:
        """How the platform records the invocation."""
        return self.failure.status if self.failure is not None else "success"

    @property
    def init_duration(self) -> float | None:
        """The seconds of the init phase, when this invocation had to wait for one."""
        if self.init_started_at is None or self.init_ended_at is None:
            return None
        return self.init_ended_at - self.init_started_at

    @property
    def response_duration(self) -> float | None:
        """The seconds from the event to the answer: what the caller waits for."""
        return None if self.answered_at is None else self.answered_at - self.started_at

    @property
    def background_duration(self) -> float | None:
        """The seconds from the answer to the next poll: what the caller does not wait for."""
        return None if self.answered_at is None else self.ended_at - self.answered_at

    @property
    def duration(self) -> float:
        """The seconds from the event to the next poll."""
        return self.ended_at - self.started_at

    @property
    def billed_ms(self) -> int:
        """What Lambda bills, init included: https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/"""
        return math.ceil((self.duration + (self.init_duration or 0)) * 1000)

    def report(self, memory: int) -> str:
        """Return the platform's REPORT line for a function of *memory* MB."""
        fields = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration * 1000:.2f} ms",
            f"Billed Duration: {self.billed_ms} ms",
            f"Memory Size: {memory} MB",
        ]
        if self.max_memory is not None:
            fields.append(f"Max Memory Used: {self.max_memory} MB")
        if self.init_duration is not None:
            fields.append(f"Init Duration: {self.init_duration * 1000:.2f} ms")
        if self.failure is not None:
            fields += self.failure.report_fields()
        return "\t".join(fields)
