"""
Responses that are sent while they are made: iterators, and HTTP responses with a head of their own.

    not begun ┬─ its first chunk ─▶ begun ┬─ its end ───────────────────▶ delivered, when Lambda acknowledges it
              │                           ├─ its body raised ───────────▶ failed: its trailers say so
              │                           ├─ the connection broke ──────▶ refused: nobody can be told
              │                           └─ its reader was too slow ───▶ broken off
              └─ its body raised ─▶ an error like any other handler's

Nothing is sent before the first chunk, so whatever fails until then is still an ordinary error. From then on the caller
has a part: what fails is told in the trailers, behind what was sent.

Who makes the body also sends it, on the main thread, as far as the connection has room, so the first byte costs no
change of threads. What there is no room for waits in the `_Writer` for a thread. As long as much waits there, whoever
makes the body waits too: an iterator in its thread, an asynchronous one in an await, while the event loop goes on. So a
slow reader holds its producer up, and no body is held in memory.

Loaded when the first one appears.
"""

from __future__ import annotations

from collections.abc import Mapping

from lambda_ric.errors import AnswerRefusedError, ConnectionLostError, LambdaRICError, ResultEncodeError
from lambda_ric.protocol import PRELUDE_TYPE

from .response import StreamingResponse
from .writer import _Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
    from typing import Any

    from lambda_ric.client import RuntimeClient
    from lambda_ric.event_loop import EventLoop
    from lambda_ric.failures import Failure
    from lambda_ric.protocol import Invocation

    Chunk = bytes | bytearray | memoryview | str
    Body = Chunk | Iterable[Chunk] | AsyncIterable[Chunk]
    Headers = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


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
        self._has_ended = False
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
        body: Any = result
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
            if self._has_ended:
                raise
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
        self._has_ended = True
        if self.refused is not None:
            raise self.refused
        self._client.end_stream(self._writer.body, self._writer.close(), failure)

    def cut(self) -> None:
        """Break its connection off, under a send of another thread; who sends hears of it."""
        if self._writer is not None:
            self._writer.body.abort()

    def abort(self) -> None:
        """Break it off: its caller learns that this was not all."""
        self._has_ended = True
        if self._writer is not None:
            self._writer.body.abort()
            self._writer.close()
            self._writer.body.close()


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
