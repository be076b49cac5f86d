"""
For the tests of functions: one invocation, in this process, to the end of its background work.

    from lambda_ric.testing import invoke

    def test_receipt_is_sent_after_the_response():
        invoked = invoke(handler, {"order_id": "o-17"})

        assert invoked.response == {"statusCode": 202}
        assert [task.state for task in invoked.tasks] == ["succeeded"]
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from .background.task import BackgroundTask, cannot_cancel
from .client import RuntimeClient
from .errors import ResultEncodeError
from .event_loop import EventLoop
from .hooks import PROCESS_HOOKS, Hooks, Outcome
from .interrupt import Interrupt
from .logs import Logs
from .payloads import Codec
from .protocol import PRELUDE_END, PRELUDE_TYPE, Call, Invocation
from .replies import Reply
from .runtime import Runtime
from .settings import Settings
from .threads import carry_invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping



class Invoked:
    """How one invocation went: what its caller got, and what ran after that."""

    def __init__(self, outcome: Outcome, answered: _Answered, tasks: list[BackgroundTask]) -> None:
        self.outcome = outcome
        self.streamed: bool = answered.body is not None
        """Whether the response was streamed."""
        self.prelude: dict[str, Any] | None = None
        """Status code, headers and cookies of a `StreamingResponse`, by the names that they have on the wire."""
        self.payload: bytes = answered.payload
        """What was delivered: the encoded result, the error document, or the body of a streamed response."""
        self.tasks = tasks
        """Everything that ran after the response, hooks included."""
        if answered.body is not None:
            self.payload = bytes(answered.body)
        if answered.content_type == PRELUDE_TYPE:
            prelude, _, self.payload = self.payload.partition(PRELUDE_END)
            self.prelude = json.loads(prelude)

    @property
    def response(self) -> Any:
        """What the caller got, decoded, or the bytes of a stream; raises the handler's error if it failed."""
        if self.outcome.error is not None:
            raise self.outcome.error
        return self.payload if self.streamed else json.loads(self.payload)


def invoke(
    handler: Callable[[Any, Any], Any],
    event: Any = None,
    *,
    timeout: float = 60.0,
    environ: Mapping[str, str] | None = None,
    hooks: Hooks = PROCESS_HOOKS,
) -> Invoked:
    """
    Call *handler* with *event* as the runtime does, and wait for its background work.

    *timeout* is the function's, in seconds; *environ* holds settings of the
    runtime, ``LAMBDA_RIC_*``. The timeout interrupts synchronous code on the
    main thread only.

    Raises:
        TypeError: *event* has no JSON form.
        RuntimeError: An event loop is running, as in an asynchronous test.
        SystemExit: The handler raised it.
    """
    if "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:
        raise RuntimeError("an event loop is running here, which Lambda has none of: call invoke in a synchronous test")
    carry_invocation()
    answered = _Answered()
    settings = Settings(environ or {})
    runtime = Runtime(handler, RuntimeClient(answered), settings, Logs(settings), hooks, event_loop=_EVENT_LOOP)
    headers = {
        "lambda-runtime-aws-request-id": str(uuid.uuid4()),
        "lambda-runtime-deadline-ms": str(int((time.time() + timeout) * 1000)),
        "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:123456789012:function:test",
    }
    try:
        body, _ = Codec().encode(event)
    except ResultEncodeError as error:
        raise TypeError(f"the event has no JSON form: {error.__cause__}") from error
    outcome, works = runtime.serve(Invocation(Reply(200, headers, body), time.time()))
    return Invoked(outcome, answered, [BackgroundTask(work, cannot_cancel) for work in works])


# One for all invocations, as in an environment: clients that the function keeps stay with it.
_EVENT_LOOP = EventLoop(Interrupt())


def _end() -> None:
    _EVENT_LOOP.end(_GRACE)


_GRACE = 1.0

# Before the threads are waited for, as those of asyncio's and concurrent.futures' pools end: some of a framework's wait
# for the end of a task, which a lifespan has for as long as its environment lives. `atexit` would come after them.
getattr(threading, "_register_atexit", atexit.register)(_end)


class _Answered:
    """A transport that keeps the answer instead of carrying it anywhere."""

    def __init__(self) -> None:
        self.payload: bytes = b""
        self.content_type: str = ""
        self.body: bytearray | None = None

    def send(self, call: Call) -> Reply:
        self.payload = call.body or b""
        return Reply(202, {}, b"")

    def stream(self, call: Call) -> _StreamedBody:
        self.content_type = call.headers["Content-Type"]
        self.body = bytearray()
        return _StreamedBody(self.body)

    def close(self) -> None:
        pass


class _StreamedBody:
    def __init__(self, body: bytearray) -> None:
        self._body = body

    def send_some(self, data: bytes) -> int:
        self._body += data
        return 0

    def send(self, data: bytes) -> None:
        self._body += data

    def end(self, data: bytes, trailers: str) -> Reply:
        self._body += data
        return Reply(202, {}, b"")

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass
