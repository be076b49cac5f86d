"""
Event-stream frames: botocore reads what we write, and we read it however it is cut.
"""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric.emulator.callers.event_stream import Decoder, EventStreamError, invoke_complete, payload_chunk

CHUNK = payload_chunk(b"hello")
TEXT = st.none() | st.text()


def frame(headers: bytes, payload: bytes = b"") -> bytes:
    """Build a frame by hand, with right lengths and checksums."""
    prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    prelude += struct.pack("!I", crc32(prelude))
    message = prelude + headers + payload
    return message + struct.pack("!I", crc32(message))


def string(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()


def botocore_events(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def decoded(data: bytes, cuts: list[int] | None = None) -> list[tuple[str, bytes]]:
    """Feed *data* to a decoder in the parts that *cuts* makes."""
    decoder, start = Decoder(), 0
    events: list[tuple[str, bytes]] = []
    for cut in [*sorted(cuts or []), len(data)]:
        events += decoder.feed(data[start:cut])
        start = cut
    decoder.close()
    return events


@given(data=st.binary())
def test_botocore_reads_a_payload_chunk(data: bytes) -> None:
    """
    A chunk is an event of type PayloadChunk whose payload is the raw bytes.
    """
    headers = {
        ":event-type": "PayloadChunk",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    assert botocore_events(payload_chunk(data)) == [(headers, data)]


@given(code=TEXT, details=TEXT, log=TEXT)
def test_botocore_reads_the_end_of_an_invocation(code: str | None, details: str | None, log: str | None) -> None:
    """
    InvokeComplete is JSON with the members that there are.
    """
    [(headers, payload)] = botocore_events(invoke_complete(code, details, log))

    assert headers[":event-type"] == "InvokeComplete"
    assert headers[":content-type"] == "application/json"
    members = {"ErrorCode": code, "ErrorDetails": details, "LogResult": log}
    assert json.loads(payload) == {name: value for name, value in members.items() if value is not None}


@given(payloads=st.lists(st.binary()), cuts=st.lists(st.integers(0, 2000)))
def test_what_was_encoded_is_decoded_however_it_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    """
    TCP keeps no boundaries: events come out whole and in order.
    """
    data = b"".join(map(payload_chunk, payloads)) + invoke_complete(None, None, None)

    assert decoded(data, cuts) == [*(("PayloadChunk", payload) for payload in payloads), ("InvokeComplete", b"{}")]


@pytest.mark.parametrize("position", range(len(CHUNK)))
def test_any_broken_byte_is_noticed(position: int) -> None:
    """
    Both checksums are checked: a damaged frame is never taken for a good one.
    """
    broken = bytearray(CHUNK)
    broken[position] ^= 0x10

    with pytest.raises(EventStreamError, match="checksum"):
        decoded(bytes(broken))


@given(data=st.binary(max_size=200))
def test_anything_else_is_a_clear_error(data: bytes) -> None:
    """
    Whatever a server sends, the client gets events or an EventStreamError.
    """
    try:
        decoded(data)
        decoded(frame(data))
    except EventStreamError:
        pass


@pytest.mark.parametrize("length", [1, 11, 12, len(CHUNK) - 1])
def test_stream_that_ends_inside_a_frame_is_an_error(length: int) -> None:
    """
    A connection that was cut is not the end of a response.
    """
    with pytest.raises(EventStreamError, match="ended inside a frame"):
        decoded(CHUNK + CHUNK[:length])


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (16, 1), (100, 101), (2**32 - 1, 4), (200_000, 150_000)])
def test_impossible_lengths_are_refused_at_once(total: int, headers: int) -> None:
    """
    Nobody waits for gigabytes because of a length, even one with a right checksum.
    """
    prelude = struct.pack("!II", total, headers)

    with pytest.raises(EventStreamError, match="cannot have"):
        decoded(prelude + struct.pack("!I", crc32(prelude)))


def test_headers_of_every_type_are_passed_over() -> None:
    """
    The format has ten types of values; Lambda needs one, others may come.
    """
    others = b"".join(
        bytes([1]) + b"x" + bytes([kind]) + bytes(size) for kind, size in [(0, 0), (4, 4), (6, 2), (9, 16)]
    )

    assert decoded(frame(others + string(":event-type", "PayloadChunk"), b"data")) == [("PayloadChunk", b"data")]


BROKEN_HEADERS = [b"\x05a", b"\x01x\x07\x00\x09a", b"\x01x\x0b", b"\x02\xff\xff\x00", b"\x01x\x07\x00"]


@pytest.mark.parametrize("headers", BROKEN_HEADERS)
def test_broken_headers_are_a_clear_error(headers: bytes) -> None:
    """
    A header that is cut short, of an unknown type or not UTF-8 cannot be understood.
    """
    with pytest.raises(EventStreamError, match="headers of a frame"):
        decoded(frame(headers))


def test_error_frame_is_raised_with_its_text() -> None:
    """
    Exceptions and errors of the service come as frames of other message types.
    """
    headers = string(":message-type", "exception") + string(":exception-type", "ServiceException")

    with pytest.raises(EventStreamError, match="an exception ServiceException: out of order"):
        decoded(frame(headers, b"out of order"))
