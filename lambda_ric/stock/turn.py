"""
One invocation that AWS's runtime answers, and we finish.
"""

from __future__ import annotations

import math
import os
import time

from lambda_ric.protocol import Invocation
from lambda_ric.serving import Serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambda_ric.environment import Environment
    from lambda_ric.runtime import Runtime


class Turn(Serving):
    """A `Serving` whose handler is called for AWS's runtime, which reads the event and posts the answer."""

    __slots__ = ()

    def __init__(self, event: Any, context: Any, environment: Environment) -> None:
        super().__init__(_Invocation(context), environment)
        self.outcome.event, self.outcome.context = event, context

    def run(self, runtime: Runtime) -> None:
        """Call the handler of *runtime*; what it returns or raises is the outcome."""
        runtime.begin(self)
        self.call(runtime.environment.handler, runtime.rested_before(self.invocation))

    def answer_at_once(self, result: Any) -> bool:
        """Say that nothing was done: AWS's runtime answers when the handler has returned."""
        return False

    def stream(self, result: Any) -> None:
        """
        Refuse.

        Raises:
            RuntimeError: Always: AWS's runtime cannot stream.
        """
        raise RuntimeError(
            f"a response of type {type(result).__name__!r} is streamed, and AWS's own runtime cannot do that: set the "
            "variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/bootstrap, or return the response whole"
        )


class _Invocation(Invocation):
    """What the *context* of AWS's runtime says of the event; that runtime has read the event itself."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        self.received_at = time.time()
        self.request_id = context.aws_request_id
        # None is left where none was known: emulators send a deadline in 1970.
        left = context.get_remaining_time_in_millis() / 1000
        self.deadline = self.received_at + left if left else math.inf
        self.trace_id = os.environ.get("_X_AMZN_TRACE_ID") or None
        self.invocation_id = None
        self.tenant_id = getattr(context, "tenant_id", None) or None
        self.body = b""
        self._context = context

    @property
    def function_arn(self) -> str:
        """The function's name as the caller used it."""
        return self._context.invoked_function_arn or ""
