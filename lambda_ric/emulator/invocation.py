"""
One event on its way through an environment, and all that was seen of it.

Every time is a wall-clock time in seconds since 1970, as the runtime's own
are; a time that was never reached is None.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from lambda_ric.errors import LambdaRICError

from .lines import LogLine
from .messages import JSON

# A caller that reads too slowly holds the runtime up beyond this many bytes.
_STREAM_BUFFER = 256 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """
    One piece of an invocation as the runtime reported it: its handler, a hook, a background task.

    Its *state* is ``running``, and its *end* nan, until it has ended; ``killed`` is what ended with the environment.
    """

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
    report_type: str = ""
    """What REPORT calls the error, where that is another name."""

    @property
    def status(self) -> Literal["error", "timeout"]:
        """How REPORT and INIT_REPORT call it."""
        return "timeout" if self.error_type == "Sandbox.Timedout" else "error"

    def report_fields(self) -> list[str]:
        """Return what REPORT and INIT_REPORT end with."""
        if self.status == "timeout":
            return ["Status: timeout"]
        return ["Status: error", f"Error Type: {self.report_type or _known(self.error_type)}"]

    def document(self) -> bytes:
        """Return the error document that the caller gets."""
        document = {"errorType": self.error_type, "errorMessage": self.message}
        return json.dumps(document, separators=(",", ":")).encode()


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


class EmulatorError(LambdaRICError):
    """The emulator cannot do what was asked of it; the text says why."""


class ThrottledError(EmulatorError):
    """Every environment is at work, and no more of them are allowed."""


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
    """What it came by: invoke, stream, event, function-url or sqs."""
    attempt: int = 1
    streaming: bool = False
    """Whether the caller reads the response as it comes, by `chunks`."""
    on_change: Callable[[Invocation], None] = field(default=_ignore, repr=False)

    environment: int = 0
    """The number of the environment that it was given to, from 1."""
    init_started_at: float | None = None
    init_ended_at: float | None = None
    started_at: float = math.nan
    deadline: float = math.nan
    first_byte_at: float | None = None
    answered_at: float | None = None
    ended_at: float = math.nan
    frozen_at: float | None = None

    failure: Failure | None = None
    """Set by an error as answer, and when the platform ended the invocation, be it after a good answer."""
    reset: bool = False
    """Whether the environment ended with the invocation."""
    answer: Answer | None = None
    content_type_of_response: str = JSON
    response_streamed: bool = False
    """Whether the runtime posted its response as a stream."""
    spans: list[Span] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    max_memory: int | None = None
    """The most memory that the runtime process has used, in MB, where the system tells."""

    _has_begun: bool = False
    _has_ended: bool = False
    _cut_short: bool = False
    _abandoned: bool = False
    _chunks: deque[bytes] = field(default_factory=deque, repr=False)
    _unread: int = 0
    """The bytes of *_chunks*, which are counted rather than summed up: a stream may come byte by byte."""
    _waiters: list[asyncio.Future[None]] = field(default_factory=list, repr=False)
    _then: Callable[[], None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.trace_id:
            token = f"{random.getrandbits(160):040x}"
            root = f"1-{int(self.requested_at):08x}-{token[:24]}"
            self.trace_id = f"Root={root};Parent={token[24:]};Sampled=0"

    # What happens to it, in this order...

    def start(self, now: float, timeout: float) -> None:
        """Begin the invoke phase, which the platform ends *timeout* seconds from *now*."""
        self.started_at = self.ended_at = now
        self.deadline = now + timeout
        self.on_change(self)

    def begin(self, now: float, content_type: str, *, streamed: bool) -> None:
        """Tell the caller that a response is on its way."""
        if self.answer is None and not self._has_begun:
            self._has_begun = True
            self.first_byte_at = now
            self.content_type_of_response = content_type
            self.response_streamed = streamed
            if streamed:  # if not, the end is there as well, and told next
                self._changed()

    async def send(self, chunk: bytes) -> None:
        """Pass a piece of a stream on; wait while the caller has too much of it unread."""
        while self._unread > _STREAM_BUFFER and self.answer is None and not self._abandoned:
            await self._change()
        if self.answer is None and not self._abandoned:
            self._put(chunk)
            self._wake()

    def _put(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._unread += len(chunk)

    def end_stream(self, now: float, error: str | None, error_body: bytes) -> None:
        """Complete a response of which all was sent; *error* says that it broke off."""
        self._settle(now, Answer(self.request_id, b"", self.content_type_of_response, error, self, error_body))

    def respond(self, now: float, payload: bytes, content_type: str, error: str | None = None) -> None:
        """Give the caller its answer; without effect if it has one, for nothing takes an answer back."""
        if self.answer is not None:
            return
        if self._has_begun:  # in the middle of a stream: only an error can come so
            self.end_stream(now, error, payload)
            return
        self.begin(now, content_type, streamed=False)
        self._put(payload)
        self._settle(now, Answer(self.request_id, payload, content_type, error, self, payload if error else b""))

    def _settle(self, now: float, answer: Answer) -> None:
        if self.answer is None:
            self.answered_at = now
            self.answer = answer
            if answer.function_error is not None:
                self.failure = Failure(answer.function_error, "the function answered with an error")
            self._changed()
            if self._then is not None:
                self._then()

    def add(self, span: Span) -> None:
        """Take note of *span*, in the place of what was known of it before."""
        for number, known in enumerate(self.spans):
            if known.state == "running" and (known.kind, known.name, known.start) == (span.kind, span.name, span.start):
                self.spans[number] = span
                break
        else:
            self.spans.append(span)
        self.on_change(self)

    def fail(self, now: float, failure: Failure) -> None:
        """Record that the platform ended the invocation; a caller still without an answer gets the error."""
        message = f"RequestId: {self.request_id} Error: {failure.message}"
        document = Failure(failure.error_type, message).document()
        self.respond(now, document, JSON, failure.error_type)
        self.failure, self.reset = failure, True
        self.spans = [
            replace(span, state="killed", end=self.ended_at) if span.state == "running" else span for span in self.spans
        ]

    def finish(self) -> None:
        """Say that nothing more will happen to this invocation."""
        self._has_ended = True
        self._changed()

    def cut_short(self) -> None:
        """Say that the emulator was closed in the middle; whoever waits is told."""
        self._cut_short = self._has_ended = True
        self._changed()
        if self.answer is None and self._then is not None:
            self._then()

    def _changed(self) -> None:
        self._wake()
        self.on_change(self)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    # ...and what can be asked.

    async def begun(self) -> None:
        """
        Wait for the first sign of a response: its content type, and whether it is a stream.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while not (self._has_begun or self._cut_short):
            await self._change()
        self._check()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """
        Read the response as it is posted, once; `answer` is there after the last piece.

        Raises:
            EmulatorError: The emulator was closed in the middle of it.
        """
        await self.begun()
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._unread -= len(chunk)
                    self._wake()
                    yield chunk
                if self.answer is not None:
                    return
                await self._change()
                self._check()
        finally:
            self._abandoned = True
            self._wake()

    async def answered(self) -> Answer:
        """
        Wait for the answer.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while self.answer is None and not self._cut_short:
            await self._change()
        self._check()
        assert self.answer is not None
        return self.answer

    def when_answered(self, then: Callable[[], None]) -> None:
        """Call *then*, once, when `answer` is there, or when it never will be because the emulator was closed."""
        self._then = then
        if self.answer is not None or self._cut_short:
            then()

    async def finished(self) -> None:
        """
        Wait for the end.

        Raises:
            EmulatorError: The emulator was closed before that.
        """
        while not self._has_ended:
            await self._change()
        if self._cut_short:
            raise EmulatorError(f"the emulator was closed before invocation {self.request_id} ended")

    def _check(self) -> None:
        if self._cut_short and self.answer is None:
            raise EmulatorError(f"the emulator was closed before invocation {self.request_id} was answered")

    def log_tail(self) -> bytes:
        """Return the last 4 KB of the log, which is what the Invoke API shows of it."""
        return "".join(f"{line.text}\n" for line in self.logs).encode(errors="replace")[-4096:]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self._has_ended

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


def _known(error_type: str) -> str:
    """
    Return the type under which the platform's logs and metrics file *error_type*.

    The expression is the platform's, and not anchored (internal/lambda/fatalerror of AWS's emulator).
    """
    if re.search(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", error_type):
        return error_type
    return "Function.Unknown" if error_type.startswith("Function.") else "Runtime.Unknown"


def _uuid() -> str:
    """Return a random one, of version 4. It names, and guards nothing: there is no need to ask the kernel for it."""
    token = f"{random.getrandbits(128):032x}"
    return f"{token[:8]}-{token[8:12]}-4{token[13:16]}-{'89ab'[int(token[16], 16) & 3]}{token[17:20]}-{token[20:]}"
