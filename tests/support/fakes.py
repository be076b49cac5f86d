"""
A scripted Runtime API: a real HTTP server on loopback that records what it is asked.

It hands out the events it was given, one a poll, and answers a poll for more
with 410, which ends the runtime's loop. *intercept* may answer any request
with bytes of its own, or with none and a closed connection.

An extension that registers for INVOKE is told of each event before the
runtime is, and the next one is not handed out before it has asked, too.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any

END = b"HTTP/1.1 410 Gone\r\nContent-Length: 15\r\n\r\nend of the test"
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP/1.1 reply; underscores in the names of headers are dashes."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Event:
    """One event to hand out; *payload* is sent as it is when it is bytes, else as JSON."""

    payload: Any = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    timeout: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def deadline_ms(self) -> int:
        """The deadline of one that is handed out now."""
        return int((time.time() + self.timeout) * 1000)

    def encode(self) -> bytes:
        """Return the reply to the poll; a header given as an empty string is left out."""
        body = self.payload if isinstance(self.payload, bytes) else json.dumps(self.payload).encode()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:test",
        } | self.headers
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value]
        return f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Request:
    """One request as it came in; *at* is the time of its last byte, *connection* counts from zero."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    connection: int
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    """Of a body that came in chunks: when each was there, and what it held."""
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of the path: next, response, error."""
        return self.path.rpartition("/")[2]

    @property
    def request_id(self) -> str:
        """The request id that the path names."""
        return self.path.split("/")[-2]

    @property
    def is_of_extension(self) -> bool:
        """Whether it went to the Extensions API."""
        return "/extension/" in self.path

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


@dataclass
class Extension:
    """The one that has registered for INVOKE: whether it asks, and what it is to be told of."""

    asks: bool = False
    told_of: Event | None = None


IDENTIFIER = "5f3c0c4e-84d8-4ea3-a83c-605bb8d0ca5c"


class _Refused(Exception):
    """A body was answered before it had all come."""


def _line(stream: BufferedReader) -> bytes:
    """Read one line; ConnectionError when the client has closed before its end, as one does that breaks a body off."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError(f"the client closed the connection after {line!r}")
    return line


Intercept = Callable[[Request], "bytes | None"]
OnChunk = Callable[[bytes], "bytes | None"]


class FakeRuntimeAPI:
    """Use it as a context manager; *address* is the value for AWS_LAMBDA_RUNTIME_API."""

    def __init__(
        self,
        *events: Any,
        intercept: Intercept | None = None,
        on_chunk: OnChunk | None = None,
        keep_chunks: bool = True,
    ) -> None:
        self.events = [event if isinstance(event, Event) else Event(event) for event in events]
        self.requests: list[Request] = []
        self.intercept = intercept
        self.on_chunk = on_chunk
        """Called with each chunk before the next is read; what it returns is sent, and the connection closed."""
        self._keep_chunks = keep_chunks
        self._left = list(self.events)
        self._extension: Extension | None = None
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._serving: dict[object, threading.Thread] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def posts(self) -> list[Request]:
        """Everything that the runtime posted, in order."""
        return [request for request in self.requests if request.method == "POST" and not request.is_of_extension]

    @property
    def polls(self) -> list[Request]:
        """Every GET of the runtime for the next event, in order."""
        return [request for request in self.requests if request.name == "next" and not request.is_of_extension]

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until *condition*, looked at after every request, holds."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "the runtime did not ask for what the test waits for"

    def read_to_the_end(self) -> None:
        """Wait until everything has been read that clients have sent who have ended."""
        with contextlib.suppress(OSError):  # it listens no longer
            with socket.create_connection(self._listener.getsockname()) as last:
                peer = last.getsockname()
                while peer not in self._serving:
                    time.sleep(0.001)
        for thread in list(self._serving.values()):
            thread.join(10)

    def __enter__(self) -> FakeRuntimeAPI:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # What waits in another thread hears of the end by a shutdown; a close lets it wait for ever.
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, len(self._open) - 1), daemon=True)
            thread.start()
            self._serving[peer] = thread

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as stream:
            while True:
                try:
                    request = self._read(stream, number)
                except _Refused as refused:
                    with contextlib.suppress(OSError):  # the client may have gone
                        connection.sendall(refused.args[0])
                    return
                except OSError:
                    return
                if request is None:
                    return
                with self._changed:
                    if request.is_of_extension:  # it waits for its answer
                        self.requests.append(request)
                    answer = self._answer(request)
                    if not request.is_of_extension:
                        self.requests.append(request)
                    self._changed.notify_all()
                try:
                    connection.sendall(answer)
                except OSError:
                    return
                if not answer or b"connection: close" in answer.lower():
                    return

    def _read(self, stream: BufferedReader, number: int) -> Request | None:
        if not stream.peek(1):
            return None
        first = _line(stream)
        method, path, _ = first.decode().split(" ", 2)
        headers = {}
        while line := _line(stream).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        request = Request(method, path, headers, b"", 0.0, number)
        if headers.get("transfer-encoding") == "chunked":
            self._read_chunks(stream, request)
        else:
            request.body = stream.read(int(headers.get("content-length", 0)))
        request.at = time.time()
        return request

    def _read_chunks(self, stream: BufferedReader, request: Request) -> None:
        while size := int(_line(stream), 16):
            data = stream.read(size)
            assert _line(stream) == b"\r\n"
            if self._keep_chunks:
                request.chunks.append((time.time(), data))
            refusal = self.on_chunk(data) if self.on_chunk is not None else None
            if refusal is not None:
                raise _Refused(refusal)
        request.body = b"".join(data for _, data in request.chunks)
        while line := _line(stream).strip():
            name, _, value = line.decode("latin-1").partition(":")
            request.trailers[name.lower()] = value.strip()

    def _answer(self, request: Request) -> bytes:
        own = self.intercept(request) if self.intercept is not None else None
        if own is not None:
            return own
        if request.is_of_extension:
            return self._answer_extension(request)
        if request.method == "POST":
            return ACCEPTED
        extension = self._extension
        if extension is not None:
            self._changed.wait_for(lambda: extension.asks)
        if not self._left:
            return END
        event = self._left.pop(0)
        if extension is not None:
            extension.told_of, extension.asks = event, False
            self._changed.notify_all()
        return event.encode()

    def _answer_extension(self, request: Request) -> bytes:
        if request.name == "register":
            if not request.json()["events"]:
                return ACCEPTED  # which registers nobody
            self._extension = Extension()
            return reply(200, b"{}", Lambda_Extension_Identifier=IDENTIFIER)
        extension = self._extension
        if extension is None:
            return END
        extension.asks = True
        self._changed.notify_all()
        self._changed.wait_for(lambda: extension.told_of is not None)
        event, extension.told_of = extension.told_of, None
        assert event is not None
        told = {"eventType": "INVOKE", "requestId": event.request_id, "deadlineMs": event.deadline_ms}
        return reply(200, json.dumps(told).encode())
