"""
One invocation among others, and what it is served with.

Who answers it is settled once, by `claim`: whoever has had the handler called, or whoever takes over from it when its
time is up.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from lambda_ric.callables import is_awaitable
from lambda_ric.context import LambdaContext
from lambda_ric.environment import Environment
from lambda_ric.handlers import explain_call, is_of_the_call
from lambda_ric.interrupt import TimeUp
from lambda_ric.payloads import is_stream
from lambda_ric.serving import Serving

from .loops import MainLoop, SlotLoop
from .watch import SlotInterrupt, Watch
from .worker import Post, SlotClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from lambda_ric.hooks import Hooks, Outcome
    from lambda_ric.protocol import Invocation
    from lambda_ric.runtime import Runtime
    from lambda_ric.streaming.stream import ResponseStream


class TakenOver(BaseException):
    """Raised in a poller whose invocation somebody else has answered."""


class Desk:
    """
    What one invocation at a time is served with: a connection, a clock, a view of the event loop.

    It goes along with an invocation that another thread takes over, or finishes beside its slot.
    """

    def __init__(
        self,
        runtime: Runtime,
        post: Post,
        slot: int,
        watch: Watch,
        main_loop: MainLoop,
        left_behind: Callable[[asyncio.Task[Any]], object],
        fate_of_orphans: str,
    ) -> None:
        self.interrupt: SlotInterrupt = SlotInterrupt(watch)
        self.loop: SlotLoop = SlotLoop(self.interrupt, main_loop, left_behind, fate_of_orphans)
        self.client: SlotClient = SlotClient(post, slot)
        self.environment: Environment = runtime.environment_for(self.client, self.loop)


class SlotServing(Serving):
    """An invocation that a poller serves, and that another may take over while its handler runs."""

    __slots__ = ("_is_claimed", "is_result_stream")

    def __init__(self, invocation: Invocation, environment: Environment) -> None:
        super().__init__(invocation, environment)
        self._is_claimed = False
        self.is_result_stream: bool = False
        """Whether what the handler has returned on the event loop is still to be sent, by a thread."""

    def claim(self) -> bool:
        """Return True to the first who asks, who has to answer."""
        with _claiming:
            if self._is_claimed:
                return False
            self._is_claimed = True
            return True

    def _deliver(self, body: bytes, content_type: str, until: float) -> None:
        if not self.claim():
            raise TakenOver
        super()._deliver(body, content_type, until)

    def answer_at_once(self, result: Any) -> bool:
        """Return False: who is to answer is settled when the handler has returned."""
        return False

    async def call_on_loop(self) -> tuple[bytes, str]:
        """Do what `answer` does until it has the result, in a task: return it as bytes, and their content type."""
        environment, outcome, invocation = self._environment, self.outcome, self.invocation
        body, content_type = b"", ""
        handler, is_called = environment.handler, False
        try:
            outcome.context = LambdaContext.of(invocation)
            outcome.event = environment.decode(invocation.take_body(), invocation.content_type)
            for hook in environment.hooks.before:
                result = hook(outcome.event, outcome.context)
                while is_awaitable(result):
                    result = await result
            is_called = True
            result = handler(outcome.event, outcome.context)
            while is_awaitable(result):
                result = await result
            outcome.result = result
            if is_stream(result):
                self.is_result_stream = True
            else:
                body, content_type = environment.encode(result)
        except BaseException as error:  # SystemExit too: the caller is told before the process ends
            outcome.error = error
            if is_called and type(error) is TypeError and is_of_the_call(error, handler):
                explain_call(error, handler)
        outcome.duration = time.time() - invocation.received_at
        return body, content_type

    def send_stream(self) -> None:
        """Answer with the stream that the handler has returned on the event loop; in a thread."""
        try:
            with self.event_loop.interrupt.at(self._limits.until, again=self._environment.grace):
                self.stream(self.outcome.result)
        except BaseException as error:
            self.outcome.error = error
        super()._deliver(b"", "", self.ends_at())

    def time_out(self, stands_at: TracebackType | None) -> None:
        """Answer with a timeout, since the handler runs too long, and still *stands_at* those lines."""
        before = self.outcome
        error = self.timed_out(TimeUp().with_traceback(stands_at))
        # What the handler does to the other one nobody sees.
        self.outcome: Outcome = type(before)(before.event, before.context, None, error, 0.0)
        super()._deliver(b"", "", self.ends_at())

    def break_off(self) -> None:
        """Break the response off, whose reader is too slow: whoever sends it hears of that."""
        if self._stream is not None:
            self._stream.cut()

    def _open_stream(self) -> ResponseStream:
        with _claiming:
            if self._is_claimed and not self.is_result_stream:
                raise RuntimeError("the time of this invocation is up, and its caller has been told so")
            return super()._open_stream()

    @property
    def hooks(self) -> Hooks:
        """Those of the process."""
        return self._environment.hooks

    @property
    def soft_deadline(self) -> float:
        """When its caller is told that the handler runs too long, in seconds since 1970."""
        return self._limits.soft_deadline


_claiming = threading.Lock()


def traceback_of_frame(frame: FrameType | None) -> TracebackType | None:
    """Return the lines at which a thread stands, as an exception would have passed them."""
    trace = None
    while frame is not None:
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or frame.f_code.co_firstlineno)
        frame = frame.f_back
    return trace
