"""
Events in, results out: JSON with the rules of AWS's own Python runtime.

Those rules differ from the standard library's in a few places that callers
rely on: a Decimal is written as a number, a named tuple as an object, bytes
as the text they hold, and NaN literals are refused on the way in.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys

from .errors import EventDecodeError, ResultEncodeError
from .failures import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

log: logging.Logger = logging.getLogger("lambda_ric.payloads")


class Payload:
    """A result whose bytes and content type the handler chose itself."""

    def __init__(self, body: bytes | bytearray | memoryview, content_type: str = "application/octet-stream") -> None:
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"the body of a Payload is bytes, not {type(body).__name__!r}")
        if not content_type.isascii() or not content_type.isprintable():
            raise ValueError(f"{content_type!r} cannot be a content type")
        self.body: bytes = bytes(body)
        self.content_type = content_type


def is_stream(result: object) -> bool:
    """Say whether *result* is not one value but makes the response piece by piece."""
    kind = type(result)
    if kind in _PLAIN_SCALARS or kind is dict or kind is list:
        return False
    if hasattr(kind, "__next__") or hasattr(kind, "__aiter__"):
        return True
    # Without importing it: a result can be one only if somebody else did.
    streaming = sys.modules.get(f"{__package__}.streaming.response")
    return streaming is not None and isinstance(result, streaming.StreamingResponse)


class Codec:
    """
    Decodes events and encodes results.

    A subclass given to `lambda_ric.run` may do either in another way.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        encoder = json.JSONEncoder(ensure_ascii=ascii_only)
        self._encode = encoder.encode
        self._encode_plain = _fast_encoder(encoder) or json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False).encode
        self._warned_of_nan = False

    def decode(self, body: bytes, content_type: str) -> Any:
        """
        Return the event that *body* holds: JSON's value, or the bytes themselves when they are not JSON.

        Raises:
            EventDecodeError: The content type says JSON, but the body is none.
        """
        if content_type != "application/json" and not _is_json(content_type):
            return body
        try:
            text = body.decode()
            if text.startswith("\ufeff"):
                text = text[1:]
            return _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            raise EventDecodeError(f"Unable to unmarshal input: {error}") from error

    def encode(self, result: Any) -> tuple[bytes, str]:
        """
        Return the body and the content type that *result* is delivered as.

        Raises:
            ResultEncodeError: It has no JSON form.
        """
        if isinstance(result, bytes):
            return result, "application/unknown"
        if isinstance(result, Payload):
            return result.body, result.content_type
        try:
            text = self._encode_json(result)
        except Exception as error:  # the code of a result's classes is the function's
            raise ResultEncodeError(f"Unable to marshal response: {error}") from error
        # A lone surrogate has no UTF-8 form, but JSON's own escape.
        return text.encode("utf-8", "backslashreplace"), "application/json"

    def _encode_json(self, result: Any) -> str:
        try:
            text = self._encode_plain(result)
        except (TypeError, ValueError):  # something that JSON does not have, such as NaN, a circle, or bytes for a key
            return self._encode_rewritten(result)
        return text if _is_plain(result) else self._encode_rewritten(result)

    def _encode_rewritten(self, result: Any) -> str:
        numbers: list[str] = []
        text = self._encode(_rewritten(result, numbers, set()))
        if numbers:
            text = re.sub(_NUMBER_MARKER, lambda marker: numbers[int(marker[1])], text)
        if not self._warned_of_nan and ("NaN" in text or "Infinity" in text):
            self._warn_of_nan(text)
        return text

    def _warn_of_nan(self, text: str) -> None:
        try:
            _DECODER.decode(text)
        except RecursionError:
            return  # too deep to tell
        except ValueError:
            self._warned_of_nan = True
            tell(
                log,
                logging.WARNING,
                "the result holds NaN or Infinity, which JSON does not have: callers may not read it",
            )


def checked_encode(codec: Codec, result: Any) -> tuple[bytes, str]:
    """
    Return what a codec of the function's own makes of *result*.

    Raises:
        ResultEncodeError: It is nothing that can be posted.
    """
    encoded = codec.encode(result)
    match encoded:
        case (bytes(), str(content_type)) if content_type.isascii() and content_type.isprintable():
            return encoded
    name = type(codec).__name__
    raise ResultEncodeError(f"{name}.encode returned {encoded!r:.200}: expected bytes and a content type")


def _fast_encoder(encoder: json.JSONEncoder) -> Callable[[Any], str] | None:
    """
    Return what `encoder.encode` does, without making a new C encoder for every result.

    It refuses NaN and Infinity with a ValueError. A long text in which nothing has to be escaped, such as a file in
    base64, is written in a fifth of the time: 100 kB in 40 µs.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return None
    escape = json.encoder.encode_basestring_ascii if encoder.ensure_ascii else json.encoder.encode_basestring
    encode = make(None, encoder.default, escape, None, ": ", ", ", False, False, False)

    def encode_one(value: Any) -> str:
        return f'"{value}"' if _is_long(value) and not _has_escapes(value) else "".join(encode(value, 0))

    def encode_plain(result: Any) -> str:
        try:
            if type(result) is dict:
                for value in result.values():
                    if type(value) is str and len(value) >= _LONG and _STR.issuperset(map(type, result)):
                        pairs = [f"{encode_one(key)}: {encode_one(value)}" for key, value in result.items()]
                        return f"{{{', '.join(pairs)}}}"
            elif type(result) is str:
                return encode_one(result)
            return "".join(encode(result, 0))
        except RecursionError:
            return encoder.encode(result)  # which tells a circle from a depth

    return encode_plain


_STR = frozenset((str,))
_LONG = 4096
# To look for each of them is faster than to look at each character.
_ESCAPED = ['"', "\n", "\\", "\x7f", *(chr(code) for code in range(0x20))]


def _is_long(value: Any) -> bool:
    return type(value) is str and len(value) >= _LONG and value.isascii()


def _has_escapes(text: str) -> bool:
    return any(map(text.__contains__, _ESCAPED))


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _refuse(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)

_PLAIN_SCALARS = frozenset((str, int, float, bool, type(None)))


def _is_plain(result: Any) -> bool:
    """
    Say whether *result*, which could be encoded, is made of exactly JSON's own types.

    If not, the encoder may have written it in another way than AWS's runtime
    does: it takes a named tuple for an array.
    """
    unread = [result]
    for value in unread:
        kind = type(value)
        if kind is dict:
            value = value.values()
        elif kind is not list and kind is not tuple:
            if kind in _PLAIN_SCALARS:
                continue
            return False
        unread += [item for item in value if type(item) not in _PLAIN_SCALARS]
    return True


# Cannot be part of a result: it is made anew in each process.
_MARKER = f"lambda_ric:{os.urandom(16).hex()}"
_NUMBER_MARKER = f'"{_MARKER}:([0-9]+)"'


def _rewritten(value: Any, numbers: list[str], within: set[int]) -> Any:
    """Return *value* with what AWS's runtime writes in its own way put into JSON's types."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode()
    if _is_decimal(value):
        numbers.append("NaN" if value.is_nan() else str(value))
        return f"{_MARKER}:{len(numbers) - 1}"
    fields = getattr(value, "_asdict", None)
    if callable(fields) and not isinstance(value, type):
        value = fields()
        if not isinstance(value, dict):
            raise TypeError(f"_asdict() must return a dict, not {type(value).__name__}")
    if not isinstance(value, (dict, list, tuple)):
        return value  # the encoder knows what to say of it
    if id(value) in within:
        raise ValueError("Circular reference detected")
    within.add(id(value))
    rewritten: Any
    if isinstance(value, dict):
        rewritten = {_key(key): _rewritten(item, numbers, within) for key, item in value.items()}
    else:
        rewritten = [_rewritten(item, numbers, within) for item in value]
    within.remove(id(value))
    return rewritten


def _key(key: Any) -> Any:
    if isinstance(key, bytes):
        return key.decode()
    if isinstance(key, (str, int, float)) or key is None:
        return key
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")


def _is_decimal(value: Any) -> bool:
    # Without importing decimal: a result can hold one only if somebody else did.
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)
