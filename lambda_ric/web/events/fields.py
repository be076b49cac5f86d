"""
Fields of HTTP events, which may hold anything: read, or refused by name.
"""

from __future__ import annotations

import base64

from lambda_ric.errors import UnsupportedEventError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
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
    value = document.get(name)
    if type(value) is str:  # as nearly all are
        return value
    return field(document, name, str) or ""


def required(document: Mapping[str, Any], name: str) -> str:
    """Return the string in the field *name*."""
    value = document.get(name)
    if isinstance(value, str):
        return value
    raise malformed(name, "a string")


def strings(document: Mapping[str, Any], name: str) -> Collection[tuple[str, str]]:
    """Return the names and values in the field *name*."""
    found = field(document, name, dict) or {}
    _check(name, found, found.values())
    return found.items()


def values(document: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Return the names and values in the field *name*, where each name has an array of values, or one."""
    found = field(document, name, dict) or {}
    pairs = [(key, each) for key, given in found.items() for each in (given if type(given) is list else (given,))]
    _check(name, found, [value for _, value in pairs])
    return pairs


def _check(name: str, names: Iterable[object], found: Iterable[object]) -> None:
    if not (are_strings(names) and are_strings(found)):
        raise malformed(name, "an object of strings")


def are_strings(found: Iterable[object]) -> bool:
    """Say whether *found* is strings, at the speed of C: this is done for much of each request."""
    return _STR.issuperset(map(type, found))


_STR = frozenset((str,))


def merged(
    several: list[tuple[str, str]], single: Collection[tuple[str, str]], key: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """
    Return *several*, and those of *single* whose names are not among them.

    AWS sends both maps complete; an event that was edited may have a name in one of them only.
    """
    known = {key(name) for name, _ in several}
    return [*several, *(pair for pair in single if key(pair[0]) not in known)]


def unzipped(pairs: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the names of *pairs*, and as many values."""
    return [name for name, _ in pairs], [value for _, value in pairs]


def body(event: Mapping[str, Any], is_base64_encoded: str) -> bytes:
    """Return the body of a request; *is_base64_encoded* is the field that says how it was written."""
    given = text(event, "body")
    if not field(event, is_base64_encoded, bool):
        return given.encode(errors="replace")
    try:
        return base64.b64decode(given, validate=True)
    except ValueError as exc:
        raise malformed("body", f"the base64 that {is_base64_encoded!r} says it is") from exc


def header_pairs(
    names: Collection[str], texts: Collection[str], cookies: list[str] | None, body: bytes
) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """
    Return the headers of a request with this *body*, and the last value of each name.

    *cookies* stand in for those of their names among the headers, if there are any.
    """
    keys = list(map(_NAMES.__getitem__, names))
    try:
        found = list(map(str.encode, texts))  # at the speed of C: this is done for each header of each request
    except TypeError:
        raise malformed("headers", "an object of strings") from None
    except UnicodeEncodeError:
        found = [text.encode(errors="replace") for text in texts]
    last = dict(zip(keys, found, strict=True))
    has_length = bool(body) or b"content-length" in last
    if b"cookie" in last and not (cookies and last[b"cookie"] == "; ".join(cookies).encode(errors="replace")):
        # There are several over HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3
        headers = [value.decode() for key, value in zip(keys, found, strict=True) if key == b"cookie"]
        cookies = [*cookies, *_cookies_beside(cookies, headers)] if cookies else headers
    if len(last) == len(keys):
        for key in _NOT_AS_THEY_CAME:
            last.pop(key, None)
        pairs = list(last.items())
    else:
        pairs = [pair for pair in zip(keys, found, strict=True) if pair[0] not in _NOT_AS_THEY_CAME]
    if cookies:
        pairs.append((b"cookie", "; ".join(cookies).encode(errors="replace")))
    # Recorded: REST APIs leave it out, and without it WSGI applications read no body.
    if has_length:
        pairs.append((b"content-length", b"%d" % len(body)))
    return pairs, last


def _cookies_beside(cookies: list[str], headers: list[str]) -> list[str]:
    """Return the cookies of *headers* whose names are not among *cookies*."""
    known = {cookie.partition("=")[0].strip() for cookie in cookies}
    others = (cookie.strip() for header in headers for cookie in header.split(";"))
    return [cookie for cookie in others if cookie and cookie.partition("=")[0].strip() not in known]


# The body is whole: how it came over the client's connection is no matter, and its length is at hand.
_NOT_AS_THEY_CAME = (b"content-length", b"cookie", b"transfer-encoding")


class _Names(dict[str, bytes]):
    """Names of headers as they are given to applications: requests have the same ones again and again."""

    def __missing__(self, name: str) -> bytes:
        if not isinstance(name, str):
            raise malformed("headers", "an object of strings")
        if len(self) >= _MOST_NAMES:
            self.clear()  # a client invents them
        # What the client sent, as far as AWS could decode it: servers pass the bytes on.
        self[name] = encoded = name.lower().encode(errors="replace")
        return encoded


_MOST_NAMES = 1024
_NAMES = _Names()


def address(host_port: str, default_port: int) -> tuple[str, int]:
    """Return the host and the port of ``host:port``, ``host``, ``[IPv6]:port`` or an IPv6 address."""
    host, colon, digits = host_port.rpartition(":")
    if colon and (":" not in host or host.endswith("]")):
        return host.strip("[]"), port(digits, default_port)
    return host_port.strip("[]"), default_port


def port(digits: str, default: int) -> int:
    """Return the port that *digits* are, or *default* if they are none."""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else default
