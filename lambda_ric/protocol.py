"""
The Runtime API on paper: the calls to make, and how the replies read.

Nothing here performs I/O, so the socket connection, an httpx client and the
emulator all speak through this module. The platform's contract:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import math
import re
import sys

from .errors import MalformedReplyError
from .replies import Reply
from .settings import Address
from .version import __version__

API = "/2018-06-01/runtime"
EXTENSIONS_API = "/2020-01-01/extension"

REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
DEADLINE_MS = "Lambda-Runtime-Deadline-Ms"
FUNCTION_ARN = "Lambda-Runtime-Invoked-Function-Arn"
TRACE_ID = "Lambda-Runtime-Trace-Id"
CLIENT_CONTEXT = "Lambda-Runtime-Client-Context"
COGNITO_IDENTITY = "Lambda-Runtime-Cognito-Identity"
TENANT_ID = "Lambda-Runtime-Aws-Tenant-Id"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
ERROR_CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"
EXTENSION_NAME = "Lambda-Extension-Name"
EXTENSION_IDENTIFIER = "Lambda-Extension-Identifier"

PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
"""What a streamed HTTP response begins with: its head as JSON, and the end of that."""

# Lambda's server takes no trailers of more than 4 KB in all: these bytes in base64, the type of the error, two names.
MAX_TRAILER_DOCUMENT = 2300

USER_AGENT = f"lambda-ric/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"
_USER_AGENT = f"User-Agent: {USER_AGENT}\r\n"

# A deadline further ahead than this is none, nor is one that is over when its event comes: emulators send 1970, or a
# date a million times too far ahead, and clocks differ. Lambda's own longest is 90 minutes.
_FAR_FROM_NOW = 366 * 24 * 3600


# The calls to make...


class Call:
    """
    One request to the Runtime API; *fields* are its headers, each with its line break.

    A *body* that is None follows in chunks.
    """

    __slots__ = ("body", "fields", "method", "path")

    def __init__(self, method: str, path: str, fields: str = "", body: bytes | None = b"") -> None:
        self.method: str = method
        self.path: str = path
        self.fields: str = fields
        self.body: bytes | None = body

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name."""
        return dict(line.split(": ", 1) for line in self.fields.split("\r\n")[:-1])

    def encode(self, address: Address) -> bytes:
        """Return the request as the bytes that go over a connection to *address*."""
        body = self.body
        if body is None:
            framing, body = "Transfer-Encoding: chunked\r\n", b""
        else:
            framing = f"Content-Length: {len(body)}\r\n" if self.method == "POST" else ""
        head = (
            f"{self.method} {address.prefix}{self.path} HTTP/1.1\r\n"
            f"Host: {address.text}\r\n{_USER_AGENT}{self.fields}{framing}\r\n"
        )
        # As the headers of an event were decoded: an invocation id goes back as it came.
        return head.encode() + body


NEXT = Call("GET", f"{API}/invocation/next", "Accept: */*\r\n")
RESTORE_NEXT = Call("GET", f"{API}/restore/next")


def response(invocation: Invocation, body: bytes, content_type: str) -> Call:
    """Answer *invocation* with *body*."""
    return _answer(invocation, "response", f"Content-Type: {content_type}\r\n", body)


def streamed_response(invocation: Invocation, content_type: str) -> Call:
    """Answer *invocation* with a body that follows in chunks; trailers may say that it failed."""
    fields = f"Content-Type: {content_type}\r\n{RESPONSE_MODE}: streaming\r\n"
    return _answer(invocation, "response", f"{fields}Trailer: {ERROR_TYPE}\r\nTrailer: {ERROR_BODY}\r\n", None)


def chunk(data: bytes) -> bytes:
    """Return *data*, which is not empty, as a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: str = "") -> bytes:
    """Return the end of a body in chunks."""
    return f"0\r\n{trailers}\r\n".encode()


def error_trailers(document: bytes, error_type: str) -> str:
    """Return the trailers of a response that failed after its first byte."""
    import binascii  # only a response that fails in the middle needs it

    text = binascii.b2a_base64(document, newline=False).decode()
    return f"{ERROR_TYPE}: {_header_text(error_type)}\r\n{ERROR_BODY}: {text}\r\n"


def error(invocation: Invocation, document: bytes, error_type: str, cause: str) -> Call:
    """Answer *invocation* with an error document and, for X-Ray, its cause."""
    return _answer(invocation, "error", f"{_error_fields(error_type)}{ERROR_CAUSE}: {cause}\r\n", document)


def init_error(document: bytes, error_type: str) -> Call:
    """Say that this environment cannot be initialised; the process has to exit next."""
    return Call("POST", f"{API}/init/error", _error_fields(error_type), document)


def restore_error(document: bytes, error_type: str) -> Call:
    """Say that the hooks after a restore from a snapshot failed; the process has to exit next."""
    return Call("POST", f"{API}/restore/error", _error_fields(error_type), document)


def register_extension(name: str, events: bytes = b"") -> Call:
    """Register this process as the extension *name*, which wants *events*, names in quotes, or none."""
    fields = f"Content-Type: application/json\r\n{EXTENSION_NAME}: {name}\r\n"
    return Call("POST", f"{EXTENSIONS_API}/register", fields, b'{"events":[%b]}' % events)


def next_extension_event(identifier: str) -> Call:
    """Ask for the next event of the extension *identifier*."""
    return Call("GET", f"{EXTENSIONS_API}/event/next", f"{EXTENSION_IDENTIFIER}: {identifier}\r\n")


def _answer(invocation: Invocation, kind: str, fields: str, body: bytes | None) -> Call:
    if invocation.invocation_id:
        # Tells this attempt from a retry with the same request id; never invented.
        fields += f"{INVOCATION_ID}: {invocation.invocation_id}\r\n"
    return Call("POST", f"{API}/invocation/{_path_segment(invocation.request_id)}/{kind}", fields, body)


def _error_fields(error_type: str) -> str:
    return f"Content-Type: application/json\r\n{ERROR_TYPE}: {_header_text(error_type)}\r\n"


def _path_segment(text: str) -> str:
    if text.isascii() and text.replace("-", "").isalnum():
        return text
    from urllib.parse import quote  # rare: Lambda's own request ids are UUIDs

    return quote(text, safe="")


def _header_text(text: str) -> str:
    return re.sub(r"[^\x21-\x7e]+", "_", text)[:256]


# ...and the replies to read.


class Invocation:
    """One event, and what Lambda says of it."""

    __slots__ = (
        "_headers", "body", "content_type", "deadline", "invocation_id", "received_at", "request_id", "tenant_id",
        "trace_id",
    )  # fmt: skip

    def __init__(self, reply: Reply, now: float) -> None:
        """
        Read the reply to *next*.

        Raises:
            MalformedReplyError: The reply does not say which request it is.
        """
        header = reply.headers.get
        request_id = header("lambda-runtime-aws-request-id")
        if not request_id:
            raise MalformedReplyError(f"the next event came without the header {REQUEST_ID}: it cannot be answered")
        self.request_id: str = request_id
        self.received_at: float = now
        self.deadline: float = _deadline(header("lambda-runtime-deadline-ms"), now)
        """When Lambda ends the invocation, in seconds since 1970; infinite when it did not say, or not in earnest."""
        self.trace_id: str | None = header("lambda-runtime-trace-id") or None
        self.invocation_id: str | None = header("lambda-runtime-invocation-id") or None
        self.tenant_id: str | None = header("lambda-runtime-aws-tenant-id") or None
        """The tenant on whose behalf the function was called."""
        self.content_type: str = header("content-type") or "application/json"
        self.body: bytes = reply.body
        self._headers = reply.headers

    def take_body(self) -> bytes:
        """Return the body, and forget it: it can have megabytes, and is of no use once it is decoded."""
        body, self.body = self.body, b""
        return body

    @property
    def function_arn(self) -> str:
        """The function's name as the caller used it, empty when Lambda did not say."""
        return self._headers.get("lambda-runtime-invoked-function-arn", "")

    @property
    def client_context(self) -> str | None:
        """The client context, as JSON."""
        return self._headers.get("lambda-runtime-client-context") or None

    @property
    def cognito_identity(self) -> str | None:
        """The Cognito identity, as JSON."""
        return self._headers.get("lambda-runtime-cognito-identity") or None


def _deadline(text: str | None, now: float) -> float:
    try:
        deadline = int(text or "") / 1000
    except (ValueError, OverflowError):
        return math.inf
    return deadline if now < deadline < now + _FAR_FROM_NOW else math.inf
