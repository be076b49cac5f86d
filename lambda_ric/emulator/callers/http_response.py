"""
What a function means as an HTTP response: the JSON of payload format 2.0, or a stream with a prelude.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lambda_ric.emulator.http.json_text import read_json
from lambda_ric.emulator.http.messages import JSON, Reply
from lambda_ric.emulator.http.parsing import MAX_HEAD
from lambda_ric.protocol import PRELUDE_END

# They concern a connection, and that to the client is another one than that to the function.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS_CODE = re.compile(r"[2-5][0-9][0-9]")
_JSON_SPACE = re.compile(r'("(?:[^"\\]|\\.)*+")|[ \t\r\n]+')


class MalformedResponseError(Exception):
    """What the function answered is no HTTP response; the text says why."""


def buffered_reply(payload: bytes) -> Reply:
    """
    Return the HTTP response that a function means by *payload*.

    Raises:
        MalformedResponseError: A real URL would answer 502.
    """
    try:
        text = payload.decode()
        document = read_json(text)
    except ValueError as exc:
        raise MalformedResponseError("the response is not JSON") from exc
    if not isinstance(document, dict) or "statusCode" not in document:
        # Recorded: a string loses its quotes, anything else its white space.
        body = document if isinstance(document, str) else _JSON_SPACE.sub(r"\1", text)
        return Reply(200, body.encode(errors="replace"), {"content-type": JSON})
    # The format has no multiValueHeaders: a function that is used to them would find them ignored.
    head = _head({**document, "multiValueHeaders": None})
    return replace(head, body=_body(document) if may_have_body(head.status) else b"")


class Prelude:
    """
    The start of a streamed response: its head as JSON, closed by eight NUL bytes.

    *head* is None until all of it has come.
    """

    def __init__(self) -> None:
        self.head: Reply | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes:
        """
        Take the next bytes of the stream; return those that belong to the body.

        Raises:
            MalformedResponseError: What came is no prelude.
        """
        if self.head is not None:
            return data
        searched = max(0, len(self._buffer) - len(PRELUDE_END) + 1)
        self._buffer += data
        end = self._buffer.find(PRELUDE_END, searched)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise MalformedResponseError(f"no prelude within the first {MAX_HEAD} bytes of the stream")
            return b""
        try:
            document = read_json(bytes(self._buffer[:end]))
        except ValueError as exc:
            raise MalformedResponseError("the prelude of the stream is not JSON") from exc
        if not isinstance(document, dict):
            raise MalformedResponseError("the prelude of the stream is not a JSON object")
        self.head = _head(document)
        return bytes(self._buffer[end + len(PRELUDE_END) :])


def whole_stream(payload: bytes) -> Reply:
    """
    Return the HTTP response whose prelude and body are *payload*.

    Raises:
        MalformedResponseError: What came is no prelude.
    """
    prelude = Prelude()
    body = prelude.feed(payload)
    if prelude.head is None:
        raise MalformedResponseError("the stream ended before its prelude did")
    return replace(prelude.head, body=body if may_have_body(prelude.head.status) else b"")


def may_have_body(status: int) -> bool:
    """Return whether a response of this status can have one."""
    return status not in (204, 304)


def _body(document: dict[str, Any]) -> bytes:
    body, encoded = document.get("body"), document.get("isBase64Encoded")
    if not isinstance(body, str | None):
        raise MalformedResponseError("the body is not a string; was json.dumps forgotten?")
    if not isinstance(encoded, bool | None):
        raise MalformedResponseError(f"isBase64Encoded is neither true nor false: {encoded!r}")
    if not encoded:
        return (body or "").encode(errors="replace")
    try:
        return base64.b64decode(body or "", validate=True)
    except ValueError as exc:
        raise MalformedResponseError(f"the body is not base64, but isBase64Encoded is true: {exc}") from exc


def _head(document: Mapping[str, Any]) -> Reply:
    status = document.get("statusCode", 200)
    if isinstance(status, bool) or not _STATUS_CODE.fullmatch(str(status)):
        raise MalformedResponseError(f"the status code is not one of 200 to 599: {status!r}")
    headers: dict[str, list[str]] = {}
    for name, value in _field(document, "headers", dict).items():
        headers[_header_name(name)] = [_header_value(name, value)]
    for name, values in _field(document, "multiValueHeaders", dict).items():
        if not isinstance(values, list):
            raise MalformedResponseError(f"the values of header {name!r} are not an array: {values!r}")
        headers[_header_name(name)] = [_header_value(name, value) for value in values]
    cookies = [_header_value("set-cookie", cookie) for cookie in _field(document, "cookies", list)]
    if cookies:
        headers["set-cookie"] = headers.get("set-cookie", []) + cookies
    headers.setdefault("content-type", [JSON])
    kept: dict[str, str | Sequence[str]] = {
        name: values for name, values in headers.items() if name not in HOP_BY_HOP and name != "content-length"
    }
    return Reply(int(status), b"", kept)


def _field(document: Mapping[str, Any], name: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    value = document.get(name)
    if not isinstance(value, kind | None):
        raise MalformedResponseError(f"{name} is not an {'object' if kind is dict else 'array'}: {value!r}")
    return kind() if value is None else value


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise MalformedResponseError(f"{name!r} is not the name of a header")
    return name.lower()


def _header_value(name: str, value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise MalformedResponseError(f"the value of header {name!r} is not a string: {value!r}")
    if _CONTROL_CHARACTER.search(value):
        raise MalformedResponseError(f"the value of header {name!r} contains a control character: {value!r}")
    return value
