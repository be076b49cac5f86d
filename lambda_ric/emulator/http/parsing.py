"""
How a request is read: one that came whole and is plain here, anything else by h11, which knows the rest of HTTP.

Both yield the same `Request`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

import h11

from .messages import BadRequestError, Request, is_resource

# Go's default, which the platform's own server has.
MAX_HEAD = 1024 * 1024
# Read and thrown away for the sake of a client that reads the reply only after it has written everything.
MAX_DISCARDED = 64 * 1024 * 1024
# What is waited for until it is whole; what is larger is read as it comes.
MAX_WHOLE = 256 * 1024


class Peer(Protocol):
    """The connection on which a request comes."""

    async def receive(self) -> bytes:
        """Return what has come, or nothing when nothing more will."""
        ...

    async def send(self, data: bytes) -> None:
        """Write *data*."""


# Plain requests...

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PLAIN = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*)\r\n")
# What h11 has to look at.
_SPECIAL = frozenset({"expect", "transfer-encoding", "upgrade"})


def parse(data: bytes) -> tuple[Request, bytes] | None:
    """Return the plain and whole request at the beginning of *data*, and what follows it; None if it is not such."""
    head = _plain_head(data)
    if head is None or len(data) < head.end:
        return None
    request = Request(head.method, head.target, head.headers, data[head.start : head.end])
    return request, data[head.end :]


class _PlainHead(NamedTuple):
    """The head of a plain request, and where its body starts and ends."""

    method: str
    target: str
    headers: Mapping[str, str]
    start: int
    end: int


def _plain_head(data: bytes) -> _PlainHead | None:
    start = data.find(b"\r\n\r\n") + 4
    if start < 4:
        return None
    read = _read_plain_head if start <= _MAX_KNOWN else _read_plain_head.__wrapped__
    return read(data[:start])


# A runtime polls with the same bytes each time, and most callers repeat themselves too: that is 20 µs of a call. What
# each request has of its own makes heads that nobody knows, so there are few of them, and no large ones.
_MAX_KNOWN = 4096


@lru_cache(maxsize=64)
def _read_plain_head(data: bytes) -> _PlainHead | None:
    match = _PLAIN.fullmatch(data)
    if match is None or match[1] == b"CONNECT" or not is_resource(match[2].decode()):
        return None
    fields = [line.partition(":") for line in match[3].decode("latin-1").split("\r\n")[:-1]]
    headers = {name.lower(): value.strip("\t ") for name, _, value in fields}
    if len(headers) < len(fields) or not _SPECIAL.isdisjoint(headers):
        return None
    length = headers.get("content-length", "0")
    if "host" not in headers or not _LENGTH.fullmatch(length):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return _PlainHead(match[1].decode(), match[2].decode(), headers, len(data), len(data) + int(length))


_LENGTH = re.compile(r"[0-9]{1,9}")
# h11 takes lines without CR as well.
_HEAD_END = re.compile(rb"\n\r?\n")


def may_become_plain(data: bytes) -> bool:
    """Return whether the rest of a request is worth waiting for, before h11 reads what has come of it."""
    if len(data) > MAX_WHOLE or not data[:1].isupper():
        return False
    if _HEAD_END.search(data) is None:
        return True
    head = _plain_head(data)
    return head is not None and head.end <= MAX_WHOLE


# ...and all others.


class RequestReader:
    """A request by way of h11."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def request(self) -> tuple[Request, bytes]:
        """Return the request, when its head has come, and its version of HTTP."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            raise BadRequestError("no request")
        target, method = head.target.decode("ascii"), head.method.decode("ascii")
        if head.http_version not in (b"1.0", b"1.1"):
            raise BadRequestError("this version of HTTP is not spoken here", 505)
        if method == "CONNECT" or not is_resource(target):
            raise BadRequestError(f"{method} {target} is not a request for a resource here")
        return Request(method, target, _by_name(head.headers), self), head.http_version

    async def body_part(self, trailers: dict[str, str]) -> bytes | None:
        """Return the next bytes of the body, or None after the last, when *trailers* have been filled in."""
        if self._http.their_state is not h11.SEND_BODY:
            return None
        if self._http.they_are_waiting_for_100_continue:
            await self._peer.send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            trailers.update(_by_name(event.headers))
        return None

    async def discard(self) -> bool:
        """Read the rest of the body; return whether that was possible."""
        size = 0
        while self._http.their_state is h11.SEND_BODY:
            if size > MAX_DISCARDED or self._http.they_are_waiting_for_100_continue:
                return False
            size += len(await self.body_part({}) or b"")
        return self._http.their_state is h11.DONE

    def rest(self) -> bytes:
        """Return what came after the request."""
        return self._http.trailing_data[0]

    async def _next_event(self) -> object:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._http.receive_data(await self._peer.receive())
            except h11.RemoteProtocolError as exc:
                raise BadRequestError(str(exc), exc.error_status_hint) from exc


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        if name in found:
            value = f"{found[name]}{'; ' if name == 'cookie' else ','}{value}"
        found[name] = value
    return found
