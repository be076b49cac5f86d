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
import time
import uuid
from typing import TYPE_CHECKING, Any

from .client import RuntimeClient
from .event_loop import EventLoop
from .hooks import PROCESS_HOOKS, Hooks, Outcome
from .interrupt import Interrupt
from .logs import Logs
from .payloads import Codec
from .protocol import PRELUDE_END, PRELUDE_TYPE, Call, Invocation, Reply
from .runtime import Runtime
from .settings import Settings
from .threads import carry_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .background_task import BackgroundTask


class Invoked:
    """How one invocation went: what its caller got, and what ran after that."""

    def __init__(self, outcome: Outcome, answered: _Answered, tasks: list[BackgroundTask]) -> None:
        self.outcome = outcome
        self.streamed = answered.body is not None
        """Whether the response was streamed."""
        self.prelude: dict[str, Any] | None = None
        """Status code, headers and cookies of a `StreamingResponse`, by the names that they have on the wire."""
        self.payload = answered.payload
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
    main thread only, and if nothing else uses SIGALRM: pytest-timeout does,
    unless its method is ``thread``.

    Raises:
        TypeError: *event* has no JSON form.
        RuntimeError: An event loop is running, as in an asynchronous test.
        SystemExit: The handler raised it.
    """
    if "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:
        raise RuntimeError("an event loop is running here, which Lambda has none of: call invoke in a synchronous test")
    carry_context()
    answered = _Answered()
    settings = Settings(environ or {})
    runtime = Runtime(handler, RuntimeClient(answered), settings, Logs(settings), hooks, event_loop=_EVENT_LOOP)
    headers = {
        "lambda-runtime-aws-request-id": str(uuid.uuid4()),
        "lambda-runtime-deadline-ms": str(int((time.time() + timeout) * 1000)),
        "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:123456789012:function:test",
    }
    body, _ = Codec().encode(event)
    outcome, tasks = runtime.serve(Invocation(Reply(200, headers, body), time.time()))
    return Invoked(outcome, answered, tasks)


# One for all invocations, as in an environment: clients that the function keeps stay with it.
_EVENT_LOOP = EventLoop(Interrupt())
atexit.register(_EVENT_LOOP.close)


class _Answered:
    """A transport that keeps the answer instead of carrying it anywhere."""

    def __init__(self) -> None:
        self.payload = b""
        self.content_type = ""
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
