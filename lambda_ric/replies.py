"""
How HTTP/1.1 replies read, without any I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import ConnectionLostError, MalformedReplyError


class Reply:
    """One reply: its status, its headers by lower-case name, its body."""

    __slots__ = ("body", "closes", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, *, closes: bool = False) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self.body: bytes = body
        self.closes: bool = closes
        """Whether the connection cannot be used again."""


class ReplyParser:
    """
    Reads the replies of one connection, from bytes split in any way.

    Takes what HTTP/1.1 allows a server to send to this client: bodies with a
    length, in chunks, or up to the end of the connection; interim replies
    such as *100 Continue* are passed over. Everything else raises
    MalformedReplyError, after which the connection is of no use.
    """

    MAX_HEAD = 1024 * 1024
    MAX_BODY = 1024 * 1024 * 1024

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = 0
        self._head: tuple[int, dict[str, str], bool] | None = None
        self._length: int | None = None
        self._chunks: list[bytes] | None = None

    @property
    def wanted(self) -> int:
        """How many more bytes the body is known to need, or zero."""
        return max(0, self._length - len(self._buffer)) if self._length is not None else 0

    def feed(self, data: bytes) -> Reply | None:
        """Take *data* in; return the reply once it is whole."""
        if not self._buffer and self._head is None:
            reply = read_whole(data)
            if reply is not None:
                return reply
        self._buffer += data
        self._size += len(data)
        if self._size > self.MAX_HEAD + self.MAX_BODY:
            raise MalformedReplyError(f"the reply is larger than {self.MAX_HEAD + self.MAX_BODY} bytes")
        while self._head is None:
            if not self._read_head():
                return None
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        if self._length is not None and len(self._buffer) >= self._length:
            return self._finish(self._take(self._length))
        return None

    def end(self) -> Reply:
        """
        Take the end of the connection in; return the reply that it completes.

        Raises:
            ConnectionLostError: The connection ended before a whole reply.
        """
        if self._head is not None and self._length is None and self._chunks is None:
            return self._finish(self._take(len(self._buffer)), closes=True)
        raise ConnectionLostError(
            "the connection was closed in the middle of a reply"
            if self._buffer or self._head
            else "the connection was closed without a reply",
            sent=True,
        )

    def _read_head(self) -> bool:
        buffer = self._buffer
        blank_line = re.search(_BLANK_LINE, buffer)
        if blank_line is None:
            if not (buffer.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(bytes(buffer))):
                raise MalformedReplyError(f"not an HTTP/1.1 reply: {bytes(buffer[:60])!r}")
            if len(buffer) > self.MAX_HEAD:
                raise MalformedReplyError(f"the head of the reply is larger than {self.MAX_HEAD} bytes")
            return False
        status, headers, http10 = _parse_head(bytes(buffer[: blank_line.start()]))
        del buffer[: blank_line.end()]
        if any(" " in name or "\t" in name for name in headers):  # not the name that it looks like, or a folded line
            raise MalformedReplyError(f"a blank in the name of a header: {', '.join(headers)[:200]!r}")
        if 100 <= status < 200:
            if status == 101:
                raise MalformedReplyError("the server switched protocols, which nobody asked for")
            return bool(buffer)
        connection = headers.get("connection", "").lower()
        closes = "close" in connection or (http10 and "keep-alive" not in connection)
        self._head = status, headers, closes
        if status in (204, 304):
            self._length = 0  # whatever the headers say (RFC 9112, 6.3)
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise MalformedReplyError(f"unknown transfer encoding {headers['transfer-encoding'][:60]!r}")
            self._chunks = []
        elif "content-length" in headers:
            self._length = _body_length(headers["content-length"], self.MAX_BODY)
        return True

    def _read_chunks(self, chunks: list[bytes]) -> Reply | None:
        while True:
            line_end = self._buffer.find(b"\n", 0, _LONGEST_LINE)
            if line_end < 0:
                if len(self._buffer) >= _LONGEST_LINE:
                    raise MalformedReplyError(f"not the size of a chunk: {bytes(self._buffer[:60])!r}")
                return None
            if chunks and chunks[-1] == b"":
                # The last chunk has been read: trailers follow up to an empty line.
                if self._take(line_end + 1).strip() == b"":
                    return self._finish(b"".join(chunks))
                continue
            size_line = re.match(_CHUNK_SIZE, self._buffer)
            if size_line is None:
                raise MalformedReplyError(f"not the size of a chunk: {bytes(self._buffer[:60])!r}")
            size = int(size_line[1], 16)
            if size > self.MAX_BODY:
                raise MalformedReplyError(f"a chunk of {size} bytes is larger than any body may be")
            start, end = size_line.end(), size_line.end() + size
            if size == 0:
                del self._buffer[:start]
                chunks.append(b"")
                continue
            terminator = bytes(self._buffer[end : end + 2])
            if not b"\r\n".startswith(terminator):
                raise MalformedReplyError(f"a chunk of {size} bytes does not end where it should")
            if len(terminator) < 2:
                return None
            chunks.append(bytes(self._buffer[start:end]))
            del self._buffer[: end + 2]

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _finish(self, body: bytes, *, closes: bool = False) -> Reply:
        assert self._head is not None
        status, headers, says_close = self._head
        # Bytes after the reply answer no request: the two sides are out of step.
        reply = Reply(status, headers, body, closes=closes or says_close or bool(self._buffer))
        self._head = self._length = self._chunks = None
        self._size = 0
        return reply


# Compiled when they are first needed: most environments never meet a reply that is not plain.
_BLANK_LINE = rb"\r?\n\r?\n"


_CHUNK_SIZE = rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n"


_LONGEST_LINE = 8192


def read_whole(data: bytes) -> Reply | None:
    """
    Return the reply if *data* is a plain one and all of it, as nearly every one is.

    None says nothing: `ReplyParser` reads it again, with every check.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    if body.endswith(_LAST_CHUNK):
        return _read_one_chunk(head, body)
    return _read_plain(head, body)


def _read_one_chunk(head: bytes, body: bytes) -> Reply | None:
    # Lambda's server sends an event of more than 2 KB as chunks: most often one.
    size, _, rest = body.partition(b"\r\n")
    chunk = rest[: -len(_LAST_CHUNK)]
    if size.lower() != b"%x" % len(chunk) or b"\r\nTransfer-Encoding: chunked" not in head:
        return None
    return _read_plain(head.replace(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(chunk)), chunk)


def _read_plain(head: bytes, body: bytes) -> Reply | None:
    try:
        first, *lines = head.decode().split("\n")
    except UnicodeDecodeError:
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t\r")
    status = _PLAIN_STATUSES.get(first[:13])
    if (
        headers.get("content-length") != str(len(body))
        or len(headers) != len(lines)
        or b"\0" in head
        or status is None
        or "transfer-encoding" in headers
        or "connection" in headers
        or "" in headers  # a blank line, and so the end of the head
        or "\r" in headers
    ):
        return None
    return Reply(status, headers, body)


_LAST_CHUNK = b"\r\n0\r\n\r\n"


_PLAIN_STATUSES = {"HTTP/1.1 200 ": 200, "HTTP/1.1 202 ": 202}


def _parse_head(head: bytes) -> tuple[int, dict[str, str], bool]:
    try:
        text = head.decode()  # Lambda sends the client context, JSON with any characters, as UTF-8
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    if "\0" in text:  # no environment variable can hold it
        raise MalformedReplyError(f"a null character in the head of a reply: {text[:200]!r}")
    first, *lines = text.split("\n")
    version, status = first[:9], first[9:12]
    code = int(status) if status.isascii() and status.isdigit() else 0
    if version not in ("HTTP/1.1 ", "HTTP/1.0 ") or code < 100 or first[12:13].strip():
        raise MalformedReplyError(f"not the first line of an HTTP/1.1 reply: {first[:60]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedReplyError(f"not a header: {line[:60]!r}")
        headers[name.lower()] = value.strip(" \t\r")
    if len(headers) < len(lines):
        headers = _joined(lines)
    return code, headers, version == "HTTP/1.0 "


def _joined(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key, value = name.lower(), value.strip(" \t\r")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _body_length(text: str, most: int) -> int:
    # The same length twice is one length (RFC 9112, 6.3).
    lengths = {part.strip() for part in text.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > most:
        raise MalformedReplyError(f"Content-Length: {text[:60]} is not the length of a body")
    return int(length)
