"""
Responses that are sent while they are made: iterators, and HTTP responses with a head of their own.

Loaded when the first one appears.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Mapping

from .errors import AnswerRefusedError, ConnectionLostError, LambdaRICError, ResultEncodeError
from .protocol import PRELUDE_END, PRELUDE_TYPE
from .threads import start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .client import RuntimeClient, StreamedBody
    from .event_loop import EventLoop
    from .failures import Failure
    from .protocol import Invocation

    Chunk = bytes | bytearray | memoryview | str
    Body = Chunk | Iterable[Chunk] | AsyncIterable[Chunk]
    Headers = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


class StreamingResponse:
    """
    An HTTP response whose *body* is sent as it is made.

    *body* is an iterable or asynchronous iterable of bytes or str, or one of
    these itself. *headers* are names and values; a name with several values
    is given a list, or comes in several pairs. *cookies* are the values of
    ``Set-Cookie``, such as ``"theme=dark; Path=/"``.

    It is of use behind what streams: a function URL whose invoke mode is
    RESPONSE_STREAM, or a REST API that is set to stream.

    Raises:
        TypeError, ValueError: It could not be an HTTP response.
    """

    def __init__(self, body: Body, status_code: int = 200, headers: Headers = (), cookies: Sequence[str] = ()) -> None:
        if isinstance(status_code, bool) or not isinstance(status_code, int) or not 200 <= status_code <= 599:
            raise ValueError(f"status_code={status_code!r}: expected a number from 200 to 599")
        if isinstance(cookies, str):
            raise TypeError("cookies takes a list of them, not one text")
        self.body = body
        self.status_code = status_code
        self.headers: dict[str, list[str]] = {}
        self.cookies = [_checked("Set-Cookie", cookie) for cookie in cookies]
        spelling: dict[str, str] = {}
        for name, given in _pairs(headers):
            if not isinstance(name, str) or not re.fullmatch(_NAME, name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            values = [_checked(name, value) for value in (given if isinstance(given, (list, tuple)) else [given])]
            if name.lower() == "set-cookie":
                self.cookies += values
            else:
                self.headers.setdefault(spelling.setdefault(name.lower(), name), []).extend(values)

    def prelude(self) -> bytes:
        """Return the head as it comes before the body: JSON, and eight NUL bytes."""
        document: dict[str, object] = {"statusCode": self.status_code}
        # A name must not be in both: API Gateway merges them.
        if single := {name: values[0] for name, values in self.headers.items() if len(values) == 1}:
            document["headers"] = single
        if several := {name: values for name, values in self.headers.items() if len(values) > 1}:
            document["multiValueHeaders"] = several
        if self.cookies:
            document["cookies"] = self.cookies
        return json.dumps(document).encode() + PRELUDE_END


# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def _pairs(headers: Headers) -> Iterable[tuple[str, str | Sequence[str]]]:
    return headers.items() if isinstance(headers, Mapping) else headers


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the value of the header {name!r} is text, not {type(value).__name__!r}")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise ValueError(f"the value of the header {name!r} has a line break or another control character in it")
    return value


class ResponseStream:
    """
    The answer to *invocation*, sent while it is made.

    Nothing is sent before the first chunk is there: until then it can still
    become an ordinary error. An empty chunk sends the head alone.
    """

    def __init__(self, client: RuntimeClient, invocation: Invocation, event_loop: EventLoop) -> None:
        self.error: BaseException | None = None
        """What ended it early."""
        self.refused: BaseException | None = None
        """The same, if that was Lambda or the connection: then nobody can be told."""
        self._client = client
        self._invocation = invocation
        self._event_loop = event_loop
        self._writer: _Writer | None = None
        self._content_type = "application/octet-stream"
        self._prelude = b""

    @property
    def begun(self) -> bool:
        """Whether the caller may have a part of it."""
        return self._writer is not None

    def send(self, result: Any) -> None:
        """
        Send what the iterator or `StreamingResponse` *result* gives, to its end, and close it.

        Raises:
            ResultEncodeError: It gave something else than bytes and str.
            AnswerRefusedError: Lambda takes no more of it.
            BaseException: What the iterator raises.
        """
        body = result
        if isinstance(result, StreamingResponse):
            body = result.body
            self._content_type = PRELUDE_TYPE
            self._prelude = result.prelude()
        try:
            if hasattr(type(body), "__aiter__"):
                self._event_loop.run(self._send_async(body))
            else:
                self._send_all(body)
            if self._writer is None:
                self._put(b"")
        except ConnectionLostError as lost:
            self.error = self.refused = self._refusal(lost)
            raise self.error from lost
        except BaseException as error:
            self.error = error
            raise

    def _send_all(self, body: Any) -> None:
        chunks = _chunks_of(body)
        try:
            for data in chunks:
                for piece in _pieces_of(data):
                    writer = self._put(piece)
                    if not writer.has_room:
                        writer.wait_for_room()
        finally:
            close = getattr(chunks, "close", None) or getattr(body, "close", None)
            if close is not None:
                close()

    async def _send_async(self, body: AsyncIterable[Chunk]) -> None:
        chunks = aiter(body)
        try:
            async for data in chunks:
                for piece in _pieces_of(data):
                    writer = self._put(piece)
                    if not writer.has_room:
                        await writer.room()
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def _put(self, data: bytes) -> _Writer:
        writer = self._writer
        if writer is None:
            body = self._client.stream(self._invocation, self._content_type)
            self._writer = writer = _Writer(body)
            writer.put(self._prelude + data)
        elif data:
            writer.put(data)
        return writer

    def _refusal(self, lost: ConnectionLostError) -> BaseException:
        if self._writer is None:
            return lost
        self._writer.close()
        try:
            self._client.end_stream(self._writer.body)
        except LambdaRICError as refused:
            return refused
        return AnswerRefusedError(str(lost))  # accepted before all of it was there

    def end(self, failure: Failure | None) -> None:
        """
        Say that this was all of it, or which *failure* ended it early.

        Raises:
            AnswerRefusedError: Lambda did not take it all.
            RuntimeAPIError: The process has to end.
        """
        assert self._writer is not None
        if self.refused is not None:
            raise self.refused
        self._client.end_stream(self._writer.body, self._writer.close(), failure)

    def abort(self) -> None:
        """Break it off: its caller learns that this was not all."""
        if self._writer is not None:
            self._writer.body.abort()
            self._writer.close()
            self._writer.body.close()


class _Writer:
    """
    Sends chunks over *body*, in their order.

    What the connection has room for is sent at once. The rest, and small
    chunks that follow each other closely, wait for a thread, which sends
    together what has come by then. Whoever makes the chunks waits as soon as
    there is no room for more.
    """

    def __init__(self, body: StreamedBody) -> None:
        self.body = body
        self._changed = threading.Condition()
        self._left = 0
        self._waiting: list[bytes] = []
        self._size = 0
        self._sent_at = -math.inf
        self._sending = False
        self._closed = False
        self._lost: ConnectionLostError | None = None
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], object] = _do_nothing

    @property
    def has_room(self) -> bool:
        """Whether more may be put in, or nothing ever will be."""
        return self._left + self._size < _MOST_WAITING or self._lost is not None

    def put(self, data: bytes) -> None:
        """
        Take *data* in, which the first time may be empty.

        Raises:
            ConnectionLostError: The connection broke, and what was put in before may be lost.
        """
        with self._changed:
            if self._lost is not None:
                raise self._lost
            if not (self._sending or self._left or self._size):
                now = time.monotonic()
                if now - self._sent_at >= _MOMENT or len(data) >= _ENOUGH:
                    self._sent_at = now
                    self._left = self.body.send_some(data)
                    if self._left:
                        self._rouse()
                    return
            self._waiting.append(data)
            self._size += len(data)
            if self._size == len(data) or self._size >= _ENOUGH:
                self._rouse()

    def wait_for_room(self) -> None:
        """Wait until most of what was put in has been sent; raises what *put* raises."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_room)
            if self._lost is not None:
                raise self._lost

    async def room(self) -> None:
        """Do the same while the event loop goes on."""
        import asyncio

        loop = asyncio.get_running_loop()
        made = asyncio.Event()
        with self._changed:
            self._wake = lambda: loop.call_soon_threadsafe(made.set)
            if self.has_room:
                made.set()
        await made.wait()
        if self._lost is not None:
            raise self._lost

    def close(self) -> bytes:
        """Take nothing more; return what has not been given to *body*."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._sending)
            return self._take()

    def _take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._left = self._size = 0
        return data

    def _rouse(self) -> None:
        if self._thread is not None:
            self._changed.notify_all()
            return
        self._thread = start_daemon("lambda_ric.streaming", self._run)
        if self._thread is None:
            self.body.send(self._take())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._left or self._size)
                if not self._left:
                    self._changed.wait_for(lambda: self._closed or self._size >= _ENOUGH, _MOMENT)
                if self._closed:
                    return
                data = self._take()
                self._sending = True
            lost = None
            try:
                self.body.send(data)
            except ConnectionLostError as error:
                lost = error
            with self._changed:
                self._sending = False
                self._sent_at = time.monotonic()
                self._lost = lost
                self._changed.notify_all()
                self._wake()
            if lost is not None:
                return


def _do_nothing() -> None:
    pass


# Chunks that come within a moment, in seconds, are sent together, up to a size that is enough for one send. The moment
# is less than anybody notices; a send costs some 10 us, and Lambda passes each chunk on by itself.
_MOMENT = 0.001
_ENOUGH = 16 * 1024
_MOST_WAITING = 64 * 1024
# A larger one is copied piece by piece.
_PIECE = 256 * 1024


def _chunks_of(body: Any) -> Iterator[Chunk]:
    if isinstance(body, (bytes, bytearray, memoryview, str)):
        return iter((body,))
    if hasattr(body, "read1"):  # a binary file: its lines can be as long as itself
        return iter(lambda: body.read1(_PIECE), b"")
    return iter(body)


def _pieces_of(data: object) -> Iterable[bytes]:
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError as error:
            raise ResultEncodeError(f"a chunk of the stream is not text that UTF-8 has: {error}") from error
    elif isinstance(data, (bytearray, memoryview)):
        data = bytes(data)
    elif not isinstance(data, bytes):
        raise ResultEncodeError(
            f"a stream is made of bytes or str, not of {type(data).__name__!r}. To answer with JSON, return a dict or "
            "a list; to answer first and go on after that, put @after_response on the generator"
        )
    if len(data) <= _PIECE:
        return (data,)
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
