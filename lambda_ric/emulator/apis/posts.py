"""
What a runtime posts, read and checked alike whether its environment serves one event at a time or many.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import NamedTuple

from lambda_ric import protocol
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.http.json_text import is_json, read_json
from lambda_ric.emulator.http.messages import (
    JSON,
    BadRequestError,
    BodyTooLargeError,
    RefusedError,
    Reply,
    Request,
    json_reply,
)
from lambda_ric.limits import MAX_RESPONSE, MAX_STREAM

from .bandwidth import Bandwidth

TOO_LARGE = Failure(
    "Function.ResponseSizeTooLarge",
    f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes).",
)
TRUNCATED = Failure("Runtime.TruncatedResponse", "The response ended before it was complete.")


class InitFailure(NamedTuple):
    """What the runtime gave its init up with: the answer of the invocation that waits for it."""

    document: bytes
    content_type: str
    error_type: str

    @property
    def failure(self) -> Failure:
        """The same, as the log has it."""
        return Failure(self.error_type, "the runtime could not be initialised")


MODE = protocol.RESPONSE_MODE.lower()
INVALID_MODE = "Runtime.InvalidResponseModeHeader"
_NONCE = protocol.INVOCATION_ID.lower()
_TYPE = protocol.ERROR_TYPE.lower()
_TRAILER_BODY = protocol.ERROR_BODY.lower()


def event_reply(invocation: Invocation) -> Reply:
    """Return *invocation* as the runtime gets it; what is empty has no header."""
    headers = {
        "Content-Type": invocation.content_type,
        protocol.REQUEST_ID: invocation.request_id,
        protocol.DEADLINE_MS: str(int(invocation.deadline * 1000)),
        protocol.FUNCTION_ARN: invocation.function_arn,
        protocol.TRACE_ID: invocation.trace_id,
        protocol.INVOCATION_ID: invocation.nonce,
    }
    if invocation.client_context:
        headers[protocol.CLIENT_CONTEXT] = invocation.client_context
    if invocation.cognito_identity:
        headers[protocol.COGNITO_IDENTITY] = invocation.cognito_identity
    if invocation.tenant_id:
        headers[protocol.TENANT_ID] = invocation.tenant_id
    return Reply(200, invocation.event, headers)


def check_nonce(invocation: Invocation, request: Request) -> None:
    """Refuse an answer to another attempt at *invocation*."""
    if request.headers.get(_NONCE, invocation.nonce) != invocation.nonce:
        raise invoke_timeout()


def is_stream(invocation: Invocation, request: Request, content_type: str) -> bool:
    """
    Return whether the response in *request* reaches its caller as it comes.

    The mode of the invocation decides, not the runtime's header, which is a word about what the runtime does (AWS's
    emulator, core/directinvoke: SendDirectInvokeResponse). AWS's library for Go never sends it.
    """
    if not invocation.streaming:
        return False
    return MODE in request.headers or not (invocation.collects_unmarked_json and content_type.startswith(JSON))


async def pass_on(
    invocation: Invocation, request: Request, content_type: str, clock: Callable[[], float]
) -> tuple[str | None, bytes]:
    """
    Pass the stream in *request* on to the caller; return the error that its trailers tell of, and its body.

    Raises:
        BadRequestError: The stream ended before it was complete.
    """
    bandwidth = Bandwidth()
    size = 0
    async for chunk in request.chunks():
        invocation.delivery.begin(clock(), content_type, streamed=True)
        size += len(chunk)
        if size > MAX_STREAM:
            return TOO_LARGE.error_type, TOO_LARGE.document()
        await bandwidth.take(len(chunk))
        await invocation.delivery.send(chunk)
    invocation.delivery.begin(clock(), content_type, streamed=True)
    return trailing_error(request)


def trailing_error(request: Request) -> tuple[str | None, bytes]:
    """Return the error that the trailers of *request* tell of, if any, and its body."""
    error = request.trailers.get(_TYPE)
    encoded = request.trailers.get(_TRAILER_BODY, "")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        body = encoded.encode("latin-1", "replace")
    return (error or "Runtime.Unknown", body) if error is not None or body else (None, b"")


def without_cause(document: bytes, content_type: str) -> tuple[bytes, str]:
    """Return an error document as the caller gets it: what is meant for X-Ray is taken out."""
    if content_type != _WITH_CAUSE:
        return document, content_type
    try:
        fields = read_json(document)
        fields.pop("errorCause", None)
    except (ValueError, AttributeError, TypeError):
        return b'"Invalid error body"', "application/octet-stream"
    return json.dumps(fields, separators=(",", ":")).encode(), JSON


_WITH_CAUSE = "application/vnd.aws.lambda.error.cause+json"


async def read_init_failure(request: Request) -> InitFailure:
    """Read what a runtime says of an init that failed, however it is said."""
    try:
        document = await request.body(MAX_RESPONSE)
    except (BodyTooLargeError, BadRequestError):
        document = b""
    content_type = JSON if is_json(document) else "application/octet-stream"
    return InitFailure(document, content_type, error_type(request))


def error_type(request: Request) -> str:
    """Return the error type that a runtime gives in a header."""
    return request.headers.get(_TYPE) or "Runtime.Unknown"


def invalid_id() -> RefusedError:
    """Return the refusal of an id that no invocation has, or had."""
    return RefusedError(400, "InvalidRequestID", "Invalid request ID")


def invalid_mode() -> RefusedError:
    """Return the refusal of a response mode that there is not."""
    return RefusedError(400, "InvalidFunctionResponseMode", "Invalid function response mode")


def invoke_timeout() -> RefusedError:
    """Return the refusal of an answer that comes too late."""
    return RefusedError(410, "InvokeTimeout", "Invoke timeout")


def too_large() -> RefusedError:
    """Return the refusal of a body over the limit."""
    text = f"Exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
    return RefusedError(413, "RequestEntityTooLarge", text)


def truncated() -> RefusedError:
    """Return the refusal of a body that broke off."""
    return RefusedError(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")


ACCEPTED = json_reply(202, {"status": "OK"})
