"""
One event on its way through an environment, and all that was seen of it.

    stage     what leads to it
    waiting   the start; `init_started_at` says that its environment is being initialised for it
    running   `start`: the invoke phase has begun, which ends at `deadline`
    answered  the runtime has posted all of its response: see `delivery`, which alone knows
    ended     `finish`: the runtime has polled again, or the platform has ended it; `cut_short`: the emulator was closed

`fail` says, before `finish`, that the platform ended it, be it after a good answer. Only the environment writes here,
the Runtime API in `delivery`.

Every time is a wall-clock time in seconds since 1970, as the runtime's own are; one that was never reached is None.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Literal

from lambda_ric.emulator.http.messages import JSON

from .delivery import Delivery
from .failure import Failure
from .log_line import Log, LogLine
from .refusals import EmulatorError
from .span import Span, Spans

# What the Invoke API shows of a log: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
_LOG_TAIL = 4096


def _ignore(invocation: Invocation) -> None:
    pass


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
    request_id: str = field(default_factory=lambda: _uuid())
    nonce: str = field(default_factory=lambda: _uuid())
    """Tells this attempt from another one with the same request id."""
    trace_id: str = ""
    content_type: str = JSON
    client_context: str = ""
    """JSON text, as are the fields of the caller's Cognito identity."""
    cognito_identity: str = ""
    tenant_id: str = ""
    source: str = "invoke"
    """What it came by: invoke, stream, event, function-url, sqs, kinesis or dynamodb."""
    attempt: int = 1
    streaming: bool = False
    """Whether the caller reads the response as it comes, by `chunks`."""
    collects_unmarked_json: bool = False
    """Whether, *streaming* or not, JSON is only a stream if the runtime marks it: for a URL of no certain mode."""
    on_change: Callable[[Invocation], None] = field(default=_ignore, repr=False)

    environment: int = 0
    """The number of the environment that it was given to, from 1."""
    init_started_at: float | None = None
    init_ended_at: float | None = None
    started_at: float = math.nan
    deadline: float = math.nan
    ended_at: float = math.nan
    frozen_at: float | None = None
    reset: bool = False
    """Whether the environment ended with the invocation."""
    max_memory: int | None = None
    """The most memory that the runtime process has used, in MB, where the system tells."""
    delivery: Delivery = field(init=False, repr=False)

    _answer: Answer | None = field(default=None, init=False)
    _ended_by: Failure | None = field(default=None, init=False)
    _has_ended: bool = field(default=False, init=False)
    _cut_short: bool = field(default=False, init=False)
    _spans: Spans = field(default_factory=Spans, init=False, repr=False)
    _log: Log = field(default_factory=Log, init=False, repr=False)

    def __post_init__(self) -> None:
        self.delivery = Delivery(f"invocation {self.request_id}", self.changed)
        if not self.trace_id:
            token = f"{random.getrandbits(160):040x}"
            root = f"1-{int(self.requested_at):08x}-{token[:24]}"
            self.trace_id = f"Root={root};Parent={token[24:]};Sampled=0"

    # What happens to it, in this order...

    def start(self, now: float, timeout: float) -> None:
        """Begin the invoke phase, which the platform ends *timeout* seconds from *now*."""
        self.started_at = self.ended_at = now
        self.deadline = now + timeout
        self.changed()

    def add(self, *spans: Span) -> None:
        """Take note of *spans*, each in the place of what was known of it before."""
        self._spans.extend(spans)
        self.changed()

    def log(self, line: LogLine) -> None:
        """Take note of *line*, which was written meanwhile."""
        self._log.add(line)

    def fail(self, now: float, failure: Failure) -> None:
        """Record that the platform ended the invocation; a caller still without an answer gets the error."""
        message = f"RequestId: {self.request_id} Error: {failure.message}"
        document = Failure(failure.error_type, message).document()
        self.delivery.respond(now, document, JSON, failure.error_type)
        self._ended_by, self.reset = failure, True
        self._spans.kill(self.ended_at)

    def finish(self) -> None:
        """Say that nothing more will happen to this invocation."""
        self._has_ended = True
        self.delivery.end()

    def cut_short(self) -> None:
        """Say that the emulator was closed in the middle; whoever waits is told."""
        self._cut_short = self._has_ended = True
        self.delivery.cut()

    def changed(self) -> None:
        """Tell whoever looks on that something has happened."""
        self.on_change(self)

    # ...what the caller can wait for...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """
        Read the response as it is posted, once; `answer` is there after the last piece.

        Raises:
            EmulatorError: The emulator was closed in the middle of it.
        """
        return self.delivery.chunks()

    async def answered(self) -> Answer:
        """
        Wait for the answer.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        await self.delivery.answered()
        assert self.answer is not None
        return self.answer

    async def finished(self) -> None:
        """
        Wait for the end.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while not self._has_ended:
            await self.delivery.change()
        if self._cut_short:
            raise EmulatorError(f"the emulator was closed before invocation {self.request_id} ended")

    # ...and what can be asked.

    @property
    def answer(self) -> Answer | None:
        """What the caller gets; None as long as not all of it was posted."""
        response = self.delivery.response
        if self._answer is None and response is not None:
            self._answer = Answer(
                self.request_id,
                response.payload,
                response.content_type,
                response.function_error,
                self,
                response.error_body,
            )
        return self._answer

    @property
    def failure(self) -> Failure | None:
        """Why it failed: an error as answer, or how the platform ended it, be it after a good answer."""
        if self._ended_by is None and self.delivery.response is not None:
            error = self.delivery.response.function_error
            return None if error is None else Failure(error, "the function answered with an error")
        return self._ended_by

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self._has_ended

    @property
    def status(self) -> Literal["success", "error", "timeout"]:
        """How the platform records the invocation."""
        failure = self.failure
        return failure.status if failure is not None else "success"

    @property
    def spans(self) -> list[Span]:
        """Its pieces as far as they were told: the handler, hooks, background tasks, extensions."""
        return self._spans.all

    @property
    def logs(self) -> list[LogLine]:
        """The last lines that were written meanwhile."""
        return self._log.lines

    @property
    def log_size(self) -> int:
        """The characters of these lines."""
        return self._log.size

    def log_tail(self) -> bytes:
        """Return the last 4 KB of the log, which is what the Invoke API shows of it."""
        return self._log.tail(_LOG_TAIL)

    @property
    def first_byte_at(self) -> float | None:
        """When the first byte of the response was posted."""
        return self.delivery.first_byte_at

    @property
    def answered_at(self) -> float | None:
        """When the last byte of the response was posted."""
        return self.delivery.answered_at

    @property
    def content_type_of_response(self) -> str:
        """What the runtime says that it is."""
        return self.delivery.content_type

    @property
    def response_streamed(self) -> bool:
        """Whether the runtime posted its response as a stream."""
        return self.delivery.streamed

    @property
    def stream_head(self) -> bytes:
        """The beginning of a streamed response, as far as it was posted."""
        return self.delivery.stream_head

    @property
    def stream_size(self) -> int:
        """The bytes of a streamed response that were posted."""
        return self.delivery.stream_size

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


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the caller of the function gets, as soon as it was posted.

    *function_error* is None, or the error type that the runtime or the
    platform gave. The payload is an error document then, but for a stream
    that broke off: what had come was sent, and *error_body* says why.
    The payload of what was streamed to the caller is empty.
    """

    request_id: str
    payload: bytes
    content_type: str
    function_error: str | None
    _invocation: Invocation = field(repr=False, compare=False)
    error_body: bytes = b""

    async def finished(self) -> Invocation:
        """
        Wait for the end of the invocation, which is the runtime's next poll and not the answer.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        await self._invocation.finished()
        return self._invocation


def _uuid() -> str:
    """Return a random one, of version 4. It names, and guards nothing: there is no need to ask the kernel for it."""
    token = f"{random.getrandbits(128):032x}"
    return f"{token[:8]}-{token[8:12]}-4{token[13:16]}-{'89ab'[int(token[16], 16) & 3]}{token[17:20]}-{token[20:]}"
