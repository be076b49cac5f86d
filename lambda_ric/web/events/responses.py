"""
Parts of the response that a source of HTTP events wants: its status, headers and body in JSON.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from itertools import product

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    Headers = dict[str, list[str]]

# What is UTF-8 by chance only. Anything else goes out as text if it is UTF-8: its bytes come through everywhere, those
# in base64 through a REST API only if that is set to decode them.
_BINARY_TYPES = (
    "application/gzip",
    "application/octet-stream",
    "application/pdf",
    "application/wasm",
    "application/x-protobuf",
    "application/zip",
    "audio/*",
    "font/*",
    "image/*",
    "video/*",
)
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml")


class BodyTypes:
    """Which bodies are never sent as text: by media type, or family of them, such as ``image/*``."""

    def __init__(self, text: Collection[str] = (), binary: Collection[str] = ()) -> None:
        self._text = {name.lower() for name in text}
        self._binary = {name.lower() for name in binary}
        self._known: dict[str, bool] = {}

    def are_binary(self, content_type: str) -> bool:
        """Say whether a body of this type goes out in base64, whatever is in it; the most specific word counts."""
        known = self._known.get(content_type)
        if known is None:
            known = self._are_binary(content_type.partition(";")[0].strip().lower())
            if len(self._known) < _MOST_KNOWN:  # a client may have a say in it
                self._known[content_type] = known
        return known

    def _are_binary(self, media_type: str) -> bool:
        family = f"{media_type.partition('/')[0]}/*"
        for name in (media_type, family):
            if name in self._binary or name in self._text:
                return name in self._binary
        if media_type.endswith(_TEXT_SUFFIXES):
            return False
        return media_type in _BINARY_TYPES or family in _BINARY_TYPES


_MOST_KNOWN = 256
BODY_TYPES = BodyTypes()


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


def content(headers: Headers, body: bytes, types: BodyTypes) -> dict[str, Any]:
    """Return the fields for *body*: as it is if it is UTF-8, and neither compressed nor of a binary type."""
    is_plain = "content-encoding" not in headers or all(
        encoding.lower() in ("", "identity") for encoding in headers["content-encoding"]
    )
    if is_plain and not types.are_binary(headers.get("content-type", ("",))[-1]):
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


def _joined(headers: Headers) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in headers.items() if name != "set-cookie"}


def _spellings(name: str) -> Iterator[str]:
    """Return *name* in every mixture of lower and upper case."""
    return map("".join, product(*(sorted({letter, letter.upper()}, reverse=True) for letter in name)))
