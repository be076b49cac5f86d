"""
The frames of `application/vnd.amazon.eventstream`, in which Lambda's API sends a streamed response.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from zlib import crc32

from lambda_ric.errors import LambdaRICError

CONTENT_TYPE = "application/vnd.amazon.eventstream"

PAYLOAD_CHUNK = "PayloadChunk"
INVOKE_COMPLETE = "InvokeComplete"

# What the AWS SDKs accept.
MAX_HEADERS = 128 * 1024
MAX_PAYLOAD = 24 * 1024 * 1024

_PRELUDE = struct.Struct("!III")  # the lengths of the frame and of its headers, and the checksum of both
_CHECKSUM = struct.Struct("!I")

# How many bytes a header's value has, by the number of its type; types 6 and 7 begin with their length.
_VALUE_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _STRING = 6, 7


class EventStreamError(LambdaRICError):
    """What came is not the event stream of a Lambda response; the text says why."""


def payload_chunk(data: bytes) -> bytes:
    """Return the frame that carries *data*, the next bytes of the response."""
    return _frame(PAYLOAD_CHUNK, "application/octet-stream", data)


def invoke_complete(error_code: str | None, error_details: str | None, log_result: str | None) -> bytes:
    """Return the last frame; *log_result* is in base64 already, and what is None is left out."""
    members = {"ErrorCode": error_code, "ErrorDetails": error_details, "LogResult": log_result}
    document = {name: value for name, value in members.items() if value is not None}
    return _frame(INVOKE_COMPLETE, "application/json", json.dumps(document, separators=(",", ":")).encode())


class Decoder:
    """Takes the bytes of an event stream as they come; gives its events."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """
        Return the type and the payload of each event that *data* completes.

        Raises:
            EventStreamError: A length or checksum is wrong, or a frame carries an error instead of an event.
                Raised while iterating, after the events before it.
        """
        self._buffer += data
        return self._events()

    def close(self) -> None:
        """
        Say that no more bytes will come.

        Raises:
            EventStreamError: The last frame is not complete.
        """
        if self._buffer:
            raise EventStreamError(f"the event stream ended inside a frame, {len(self._buffer)} bytes after its start")

    def _events(self) -> Iterator[tuple[str, bytes]]:
        while (frame := self._next_frame()) is not None:
            yield _event(*frame)

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < _PRELUDE.size:
            return None
        # Checked before anything else: a wrong length could make us wait for bytes that never come.
        length, headers_length, checksum = _PRELUDE.unpack_from(self._buffer)
        if checksum != crc32(self._buffer[:8]):
            raise EventStreamError("the checksum of a frame's prelude is wrong: no event stream, or a broken one")
        start, end = _PRELUDE.size + headers_length, length - _CHECKSUM.size
        if headers_length > MAX_HEADERS or not 0 <= end - start <= MAX_PAYLOAD:
            raise EventStreamError(f"a frame of {length} bytes cannot have {headers_length} bytes of headers")
        if len(self._buffer) < length:
            return None
        frame = bytes(self._buffer[:length])
        del self._buffer[:length]
        if _CHECKSUM.unpack_from(frame, end)[0] != crc32(frame[:end]):
            raise EventStreamError("the checksum of a frame is wrong")
        return frame[_PRELUDE.size : start], frame[start:end]


def _event(headers: bytes, payload: bytes) -> tuple[str, bytes]:
    try:
        fields = dict(_parse_headers(headers))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as exc:
        raise EventStreamError("the headers of a frame cannot be understood") from exc
    kind = fields.get(":message-type", "event")
    if kind != "event" or ":event-type" not in fields:
        name = fields.get(":exception-type") or fields.get(":error-code") or "without a type"
        text = fields.get(":error-message") or payload[:1000].decode(errors="replace")
        raise EventStreamError(f"a frame carries no event, but an {kind} {name}: {text}")
    return fields[":event-type"], payload


def _parse_headers(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the headers whose value is a string, the only ones that Lambda sends."""
    position = 0
    while position < len(data):
        name_end = position + 1 + data[position]
        name = data[position + 1 : name_end].decode()
        kind, position = data[name_end], name_end + 1
        if kind in (_BYTES, _STRING):
            (size,) = struct.unpack_from("!H", data, position)
            position += 2
        else:
            size = _VALUE_SIZES[kind]
        if position + size > len(data):
            raise IndexError("a value is longer than the headers")
        if kind == _STRING:
            yield name, data[position : position + size].decode()
        position += size


def _frame(event_type: str, content_type: str, payload: bytes) -> bytes:
    # https://smithy.io/2.0/aws/amazon-eventstream.html
    headers = b"".join(
        bytes([len(name)]) + name + struct.pack("!BH", _STRING, len(value)) + value
        for name, value in (
            (b":event-type", event_type.encode()),
            (b":content-type", content_type.encode()),
            (b":message-type", b"event"),
        )
    )
    lengths = struct.pack("!II", _PRELUDE.size + len(headers) + len(payload) + _CHECKSUM.size, len(headers))
    frame = b"".join((lengths, _CHECKSUM.pack(crc32(lengths)), headers, payload))
    return frame + _CHECKSUM.pack(crc32(frame))
