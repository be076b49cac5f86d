"""
A Lambda function that is invoked asynchronously, as a sink.
"""

from __future__ import annotations

import json

from lambda_ric.errors import ConfigurationError
from lambda_ric.tasks.envelope import EVENT_SOURCE

from .addresses import domain_of, endpoint_of, region_of
from .aws_sink import AWSSink, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_ric.tasks.envelope import Envelope


class LambdaFunction(AWSSink):
    """The function of that name or ARN; made by `lambda_ric.overflow.lambda_async`."""

    def __init__(
        self,
        function: str,
        max_payload_size: int,
        region: str | None,
        endpoint_url: str | None,
        environ: Mapping[str, str],
    ) -> None:
        if not isinstance(function, str) or not function:
            raise ConfigurationError("the name of the function is empty: is the variable set that it comes from?")
        if not (function.isascii() and function.translate(_PUNCTUATION).isalnum()):
            raise ConfigurationError(f"{function!r} is neither the name of a function nor an ARN")
        self.source = function
        """The name or ARN of the function, as it was given."""
        # arn:aws:lambda:REGION:ACCOUNT:function:NAME
        found = function.split(":")[3] if function.startswith("arn:") and function.count(":") >= 6 else None
        region = region_of(region, found, environ)
        endpoint = endpoint_of("lambda", endpoint_url, f"https://lambda.{region}.{domain_of(region)}", environ)
        super().__init__("lambda", endpoint, region, 1, max_payload_size)

    def __repr__(self) -> str:
        return f"lambda_async({self.source!r})"

    def _message(self, envelope: Envelope) -> Message:
        attributes = {"ApproximateReceiveCount": "1"}
        if envelope.trace:
            attributes["AWSTraceHeader"] = envelope.trace
        record = {
            "messageId": envelope.id,
            "body": envelope.encode(),
            "attributes": attributes,
            "messageAttributes": {},
            "eventSource": EVENT_SOURCE,
        }
        body = json.dumps({"Records": [record]}, separators=(",", ":"))
        if len(body) > self._max_size:
            raise ValueError(
                f"task {envelope.task!r} is too large for the function {self.source}: its event has {len(body):,} "
                f"bytes, and {self._max_size:,} are allowed"
            )
        return Message(envelope, body, len(body))

    def _post(self, batch: list[Message], until: float, sending: Callable[[], object]) -> Callable[[], None]:
        (message,) = batch
        headers = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"}
        if message.envelope.trace:
            # By it Lambda recognises functions that invoke each other without end.
            headers["X-Amzn-Trace-Id"] = message.envelope.trace
        name = self.source.replace(":", "%3A").replace("$", "%24")
        path = f"/2015-03-31/functions/{name}/invocations"
        self._service.post(path, headers, message.body.encode(), until, sending, expected=202)
        return message.accept


_PUNCTUATION = str.maketrans("", "", "-_:.$")
