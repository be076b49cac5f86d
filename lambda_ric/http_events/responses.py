"""
Parts of the response that a source of HTTP events wants: its status, headers and body in JSON.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from itertools import product

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Headers = dict[str, list[str]]

# No type is one of them: as text UTF-8 comes through everywhere, in base64 through a REST API only if it is set to.
_TEXT_TYPES = {
    "",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "application/xml",
    "application/yaml",
}
_TEXT_CHARSETS = {"", "utf-8", "utf8", "us-ascii", "ascii"}


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Return the values of each header under its name in lower case."""
    named: Headers = {}
    for name, value in headers:
        named.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    # It is about a connection, and this body is whole.
    named.pop("transfer-encoding", None)
    return named


def single_and_repeated(headers: Headers) -> dict[str, Any]:
    """Return the fields for a source that has one for each kind, and merges a name that is in both."""
    return {
        "headers": {name: values[0] for name, values in headers.items() if len(values) == 1},
        "multiValueHeaders": {name: values for name, values in headers.items() if len(values) > 1},
    }


def joined_and_cookies(headers: Headers) -> dict[str, Any]:
    """Return the fields for a source that has one value for each name, and a list of cookies."""
    return {"headers": _joined(headers), "cookies": headers.get("set-cookie", [])}


def joined(headers: Headers) -> dict[str, Any]:
    """Return the field for a load balancer that has one value for each name."""
    # Seen with real ones: names that differ in case are sent as headers of their own, the only way to two cookies.
    cookies = dict(zip(_spellings("set-cookie"), headers.get("set-cookie", []), strict=False))
    return {"headers": _joined(headers) | cookies}


def content(headers: Headers, body: bytes) -> dict[str, Any]:
    """Return the fields for *body*: as it is if it is text, else in base64."""
    if "content-encoding" not in headers and _is_text(headers.get("content-type", [""])[-1]):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": bool(body)}


def description(status: int) -> str:
    """Return *status* with the words that belong to it, if there are any."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _is_text(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charset = next((part[8:].strip("\"' ") for part in parameters if part.startswith("charset=")), "")
    textual = media_type in _TEXT_TYPES or media_type.startswith("text/") or media_type.endswith(("+json", "+xml"))
    return textual and charset in _TEXT_CHARSETS


def _joined(headers: Headers) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in headers.items() if name != "set-cookie"}


def _spellings(name: str) -> Iterator[str]:
    """Return *name* in every mixture of lower and upper case."""
    return map("".join, product(*(sorted({letter, letter.upper()}, reverse=True) for letter in name)))
