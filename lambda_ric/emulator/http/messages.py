"""
Requests and replies of HTTP, and what can be wrong with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

JSON = "application/json"


class BadRequestError(Exception):
    """What the peer sent is not HTTP, or ended too soon; the connection is of no further use."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BodyTooLargeError(Exception):
    """The body is larger than its reader allows."""


class CutError(Exception):
    """What the body of a reply raises when the rest of it will never come: the connection is cut."""


class RefusedError(Exception):
    """A request that the API does not accept; *error_type* and the message are what the client is told."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type

    def reply(self) -> Reply:
        """Return what the client is told."""
        return json_reply(self.status, {"errorMessage": str(self), "errorType": self.error_type})


Headers = Mapping[str, str | Sequence[str]]


@dataclass(slots=True)
class Reply:
    """
    What a request is answered with.

    An iterable *body* is sent chunk by chunk as it comes; its CutError cuts
    the connection, which tells the client that the rest is missing. A header
    whose value is a sequence is sent once for each item.
    """

    status: int
    body: bytes | AsyncIterable[bytes] = b""
    headers: Headers = field(default_factory=dict)


def json_reply(status: int, document: Mapping[str, Any], headers: Headers | None = None) -> Reply:
    """Return *document* as compact JSON with a line feed, as Go's encoder writes it."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
    return Reply(status, body + b"\n", {"Content-Type": JSON, **(headers or {})})


class Later:
    """A reply that is still to come: whoever has it calls `set`, once."""

    __slots__ = ("_reply", "_then")

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._then: Callable[[Reply], None] | None = None

    def set(self, reply: Reply) -> None:
        """Send *reply*, at once."""
        self._reply = reply
        if self._then is not None:
            self._then(reply)

    def then(self, send: Callable[[Reply], None]) -> None:
        """Let *send* have the reply, when it is there."""
        self._then = send
        if self._reply is not None:
            send(self._reply)


NOT_FOUND = Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})


class BodyReader(Protocol):
    """Where the body of a request comes from that was not whole when its head was there."""

    async def body_part(self, trailers: dict[str, str]) -> bytes | None:
        """Return the next bytes of the body, or None after the last, when *trailers* have been filled in."""


class Request:
    """One request, whose body may still be on its way."""

    __slots__ = ("_body", "_reader", "headers", "method", "path", "query", "segments", "trailers")

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes | BodyReader) -> None:
        self.method: str = method
        if "://" in target:
            target, headers = _origin_form(target, headers)
        path, _, query = target.partition("?")
        self.path: str = path
        """As it came, percent-encoded, as is `query`."""
        self.query: str = query
        segments = self.path.removeprefix("/").split("/")
        self.segments: tuple[str, ...] = tuple(map(unquote, segments)) if "%" in self.path else tuple(segments)
        """The parts of the path, percent-decoded one by one."""
        self.headers: Mapping[str, str] = headers
        """By lower-case name; repeated ones are joined as HTTP allows."""
        self.trailers: dict[str, str] = {}
        """By lower-case name, after the body was read to its end."""
        self._body = body if isinstance(body, bytes) else None
        self._reader = None if isinstance(body, bytes) else body

    def whole(self, limit: int) -> bytes | None:
        """Return the body if it is there already and has no more than *limit* bytes."""
        return self._body if self._body is not None and len(self._body) <= limit else None

    async def body(self, limit: int) -> bytes:
        """
        Read the body.

        Raises:
            BodyTooLargeError: It has more than *limit* bytes.
            BadRequestError: It ended before it was complete.
        """
        if self._body is not None:
            if len(self._body) > limit:
                raise BodyTooLargeError
            return self._body
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise BodyTooLargeError
            parts.append(part)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        Read the body as it comes.

        Raises:
            BadRequestError: It ended before it was complete.
        """
        if self._reader is None:
            if self._body:
                yield self._body
            return
        while (part := await self._reader.body_part(self.trailers)) is not None:
            yield part


def is_resource(target: str) -> bool:
    """Whether *target* names something of a server: ``*``, another server's name and other schemes do not."""
    return target.startswith("/") or _ABSOLUTE.match(target) is not None


def _origin_form(target: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Return a *target* that is a whole URL as if it had been sent to its host: RFC 9112, 3.2.2."""
    match = _ABSOLUTE.match(target)
    if match is None:
        return target, headers
    rest = target[match.end() :]
    return rest if rest.startswith("/") else f"/{rest}", {**headers, "host": match[1]}


_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


def reply_head(reply: Reply, length: int | None, *, keep: bool, chunked: bool = False) -> bytes:
    """Return the status line and the headers of *reply*, whose body has *length* bytes or comes in chunks."""
    head = f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}\r\n"
    for name, values in reply.headers.items():
        for value in (values,) if isinstance(values, str) else values:
            # What would end the line, and so could begin a header of its own, does not get out.
            text = value if value.isprintable() else "".join(filter(str.isprintable, value))
            head += f"{name}: {text}\r\n"
    if length is not None and reply.status not in (204, 304):
        head += f"Content-Length: {length}\r\n"
    elif chunked:
        head += "Transfer-Encoding: chunked\r\n"
    # As Go writes it, whatever the standard says of bytes beyond ASCII.
    return (head + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode("utf-8", "replace")


_REASONS = {status.value: status.phrase for status in HTTPStatus}
