"""
What a caller asks of the Invoke API, checked as Lambda checks it.

Shapes and status codes are those of the service's model, which botocore ships;
texts are those that AWS was seen to send.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs

from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.json_text import read_json
from lambda_ric.emulator.http.messages import BodyTooLargeError, Reply, Request, json_reply
from lambda_ric.limits import MAX_ASYNC_EVENT, MAX_EVENT

MAX_CLIENT_CONTEXT = 3583
VERSION = "$LATEST"

# Of the model, for ASCII only.
_NAME = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_MAX_NAME = 256
_QUALIFIER = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"
_MAX_QUALIFIER = 128
_TENANT = r"[a-zA-Z0-9\._:\/=+\-@ ]+"
_MAX_TENANT = 256
# Accepted beside the function's own name: that of AWS's emulator, and cargo-lambda's for the only function there is.
_ALIASES = ("function", "_")


class APIError(Exception):
    """What the caller is told instead of an answer; further members of the error's shape may be given."""

    def __init__(self, status: int, error_type: str, message: str, **members: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.members = members

    def reply(self) -> Reply:
        """Return the error as every AWS SDK reads it."""
        # The model spells it so for these, and SDKs show an empty text otherwise.
        name = "Message" if self.error_type in ("ResourceNotFoundException", "ServiceException") else "message"
        headers = {"x-amzn-ErrorType": self.error_type, "X-Amzn-RequestId": str(uuid.uuid4())}
        return json_reply(self.status, {**self.members, name: str(self)}, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeRequest:
    """All of a request but its body."""

    kind: str
    """RequestResponse, Event or DryRun."""
    tail: bool
    """Whether the end of the log is wanted."""
    function_arn: str
    """The one by which the function was called, with the qualifier if there was one."""
    client_context: str
    tenant_id: str
    trace_id: str

    @classmethod
    def read(cls, function: Function, name: str, request: Request, kinds: Sequence[str]) -> Self:
        """
        Understand *request*, which calls the function *name* in one of *kinds*.

        Raises:
            APIError: What Lambda would refuse.
        """
        headers = request.headers
        kind = headers.get("x-amz-invocation-type") or "RequestResponse"
        log_type = headers.get("x-amz-log-type") or "None"
        _check_enum("invocationType", kind, kinds)
        _check_enum("logType", log_type, ("Tail", "None"))
        tenant_id = headers.get("x-amz-tenant-id", "")
        if tenant_id:
            _check_pattern("tenantId", tenant_id, _TENANT, _MAX_TENANT)
        # A header's character outside of ASCII would be told to the runtime as a header, too.
        trace_id = headers.get("x-amzn-trace-id", "")
        return cls(
            kind=kind,
            tail=log_type == "Tail",
            function_arn=target_of(function, name, request),
            # For synchronous invocations only, says the model.
            client_context="" if kind == "Event" else _client_context(headers.get("x-amz-client-context", "")),
            tenant_id=tenant_id,
            trace_id=trace_id if trace_id.isascii() else "",
        )

    async def event(self, request: Request) -> bytes:
        """
        Read the event, which is the body.

        Raises:
            APIError: It is too large, or no JSON.
        """
        limit = MAX_ASYNC_EVENT if self.kind == "Event" else MAX_EVENT
        try:
            return self.checked(await request.body(limit))
        except BodyTooLargeError as exc:
            size = request.headers.get("content-length", f"more than {limit}")
            text = f"{size} byte payload is too large for the {self.kind} invocation type (limit {limit} bytes)"
            # So AWS names it, other than its model, which has a RequestTooLargeException.
            raise APIError(413, "RequestEntityTooLargeException", text, Type="User") from exc

    def checked(self, body: bytes) -> bytes:
        """
        Return *body* as an event.

        Raises:
            APIError: It is no JSON.
        """
        event = body or b"{}"
        try:
            read_json(event)
        except ValueError as exc:
            text = f"Could not parse request body into json: Could not parse payload into json: {exc}"
            raise APIError(400, "InvalidRequestContentException", text, Type="User") from exc
        return event


def target_of(function: Function, name: str, request: Request) -> str:
    """
    Return the ARN by which *request* names *function*, as *name*: with its version or alias, of which any will do.

    Raises:
        APIError: It is another function's, or no name.
    """
    if name == function.name and not request.query:  # the common case, 5 µs sooner
        return function.arn
    qualifier = parse_qs(request.query).get("Qualifier", [""])[-1]
    match = _check_pattern("functionName", name, _NAME, _MAX_NAME)
    region, own_name, own_qualifier = (match[3] or "").rstrip(":"), match[11], match[13]
    if name.startswith("function:") and own_name not in (function.name, *_ALIASES) and not own_qualifier:
        own_name, own_qualifier = "function", own_name  # the name that works for any, rather than a part of an ARN
    if qualifier:
        _check_pattern("qualifier", qualifier, _QUALIFIER, _MAX_QUALIFIER)
    if own_qualifier and qualifier and own_qualifier != qualifier:
        text = "The derived qualifier from the function name does not match the specified qualifier."
        raise APIError(400, "InvalidParameterValueException", text, Type="User")
    qualifier = qualifier or own_qualifier or ""
    suffix = f":{qualifier}" if qualifier else ""
    if region and region != function.region:
        text = f"Functions from '{region}' are not reachable in this region ('{function.region}')"
        raise APIError(404, "ResourceNotFoundException", text, Type="User")
    if own_name not in (function.name, *_ALIASES):
        arn = function.arn.removesuffix(function.name)
        name = function.name if own_name in _ALIASES else own_name
        text = f"Function not found: {arn}{name}{suffix}"
        raise APIError(404, "ResourceNotFoundException", text, Type="User")
    return function.arn + suffix


def _client_context(header: str) -> str:
    """Return the JSON in *header*, rewritten so that it fits into the header that the runtime gets."""
    if not header:
        return ""
    if len(header) > MAX_CLIENT_CONTEXT:
        text = f"Client context must have at most {MAX_CLIENT_CONTEXT} bytes."
        raise APIError(400, "InvalidRequestContentException", text, Type="User")
    try:
        document = read_json(base64.b64decode(header, validate=True))
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except ValueError as exc:
        text = "Client context must be a valid Base64-encoded JSON object."
        raise APIError(400, "InvalidRequestContentException", text, Type="User") from exc
    return json.dumps(document, separators=(",", ":"))


def _check_enum(member: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise _constraint(member, value, f"Member must satisfy enum value set: [{', '.join(allowed)}]")


def _check_pattern(member: str, value: str, pattern: str, longest: int) -> re.Match[str]:
    if len(value) > longest:
        raise _constraint(member, value[:longest], f"Member must have length less than or equal to {longest}")
    match = re.fullmatch(pattern, value, re.ASCII)
    if match is None:
        raise _constraint(member, value, f"Member must satisfy regular expression pattern: {pattern}")
    return match


def _constraint(member: str, value: str, constraint: str) -> APIError:
    text = f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    return APIError(400, "ValidationException", text)
