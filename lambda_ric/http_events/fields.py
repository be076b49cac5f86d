"""
Fields of HTTP events, which may hold anything: read, or refused by name.
"""

from __future__ import annotations

import base64

from lambda_ric.errors import UnsupportedEventError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeVar

    Kind = TypeVar("Kind")

_IN_JSON = {"dict": "an object", "list": "an array", "str": "a string", "bool": "true or false"}


def malformed(name: str, expected: str) -> UnsupportedEventError:
    """Return the error for the field *name*, which is not what is *expected*."""
    return UnsupportedEventError(f"malformed HTTP event: the field {name!r} is not {expected}")


def field(document: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind | None:
    """Return the field *name*, or None if it is null or not there."""
    value = document.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise malformed(name, _IN_JSON[kind.__name__])


def text(document: Mapping[str, Any], name: str) -> str:
    """Return the string in the field *name*; an empty one if it is null or not there."""
    return field(document, name, str) or ""


def required(document: Mapping[str, Any], name: str) -> str:
    """Return the string in the field *name*."""
    value = field(document, name, str)
    if value is None:
        raise malformed(name, "a string")
    return value


def strings(document: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Return the names and values in the field *name*."""
    return _strings(name, list((field(document, name, dict) or {}).items()))


def string_lists(document: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Return the names and values in the field *name*, where each name has several."""
    lists = (field(document, name, dict) or {}).items()
    if not all(isinstance(values, list) for _, values in lists):
        raise malformed(name, "an object of arrays")
    return _strings(name, [(key, value) for key, values in lists for value in values])


def _strings(name: str, found: list[tuple[Any, Any]]) -> list[tuple[str, str]]:
    if not all(isinstance(part, str) for pair in found for part in pair):
        raise malformed(name, "an object of strings")
    return found


def body(event: Mapping[str, Any]) -> bytes:
    """Return the body of a request."""
    given = text(event, "body")
    if not field(event, "isBase64Encoded", bool):
        return given.encode(errors="replace")
    try:
        return base64.b64decode(given, validate=True)
    except ValueError as exc:
        raise malformed("body", "the base64 that 'isBase64Encoded' says it is") from exc


def header_pairs(named: list[tuple[str, str]], body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers *named*, whose names are in lower case, as they belong to a request with this *body*."""
    for name, value in named:
        # The body is whole: how it came over the client's connection is no matter.
        if name not in ("cookie", "transfer-encoding"):
            yield _bytes(name), _bytes(value)
    # There are several over HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3
    if cookies := [value for name, value in named if name == "cookie"]:
        yield b"cookie", _bytes("; ".join(cookies))
    # Recorded: REST APIs leave it out, and without it WSGI applications read no body.
    if body and not any(name == "content-length" for name, _ in named):
        yield b"content-length", str(len(body)).encode()


def address(host_port: str, default_port: int) -> tuple[str, int]:
    """Return the host and the port of ``host:port``, ``host``, ``[IPv6]:port`` or an IPv6 address."""
    host, colon, digits = host_port.rpartition(":")
    if colon and (":" not in host or host.endswith("]")):
        return host.strip("[]"), port(digits, default_port)
    return host_port.strip("[]"), default_port


def port(digits: str, default: int) -> int:
    """Return the port that *digits* are, or *default* if they are none."""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else default


def _bytes(value: str) -> bytes:
    try:
        # What ASGI frameworks decode with: the application sees what the event says.
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode(errors="replace")
