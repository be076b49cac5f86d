"""
One request to an ASGI application, and the response that it sends.

    started ──head, first part──▶ begun ──last part──▶ complete ──returned──▶ over
                                    └──caller gone──▶ broken ────────────────────┘

The application is one task. It writes all of the state, in `receive` and `send`, but for what the caller says: that a
part was taken up, that the response is broken, and that it is over. The last `send` returns when the caller has the
answer. What the task does after that is background work.

A response that goes out in one piece is collected without a pause, and posted within the last `send`, if nothing is to
happen before: so a request takes one turn of the event loop, which is stopped then. Else the task stands still there,
and goes on in another turn, which costs a tenth of the time of a small FastAPI application. A response that is streamed
is an asynchronous iterator: each `send` returns when its part was taken, and the next one is wanted.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Coroutine
from contextvars import copy_context

from lambda_ric.interrupt import TimeUp

from .adapter import AT_ONCE, tell_failure
from .head import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any

    from lambda_ric.event_loop import EventLoop
    from lambda_ric.serving import Serving

    from .events import HTTPRequest

    ASGIApplication = Callable[[Any, Any, Any], Awaitable[Any]]

log: logging.Logger = logging.getLogger("lambda_ric.asgi")


def _nobody() -> None:
    """Nobody waits."""


class Exchange:
    """
    *request* to the application *app*, and its response, which the caller *collects* or iterates over.

    One that is collected goes to *answer_at_once*, which says whether that has answered the caller. Its one subject is
    the conversation of one request: what the application is sent, and what may come from it.
    """

    def __init__(
        self,
        app: ASGIApplication,
        scope: dict[str, Any],
        request: HTTPRequest,
        serving: Serving,
        *,
        collects: bool = True,
        answer_at_once: Callable[[Head, bytes], bool] | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._http = request
        self._serving = serving
        self._collects = collects
        self._answer_at_once = answer_at_once
        self._chunks: deque[bytes] = deque()
        self._task = serving.event_loop.task(self._run(), copy_context())

    # As every exchange begins; few change all of it.
    _received = _complete = _taken_up = _broken = _is_handed_over = _is_over = _was_cut_off = False
    _answered_at = 0.0
    _head: Head | None = None
    _handled: BaseException | None = None
    _error: Exception | None = None
    # Each is made by who waits for it.
    _let_go: asyncio.Future[None] | None = None
    _gone: asyncio.Event | None = None
    _wanted: asyncio.Event | None = None
    _wake: Callable[[], object] = staticmethod(_nobody)

    # The application's side...

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            if not (self._complete or self._broken):
                how = "completing" if self._head else "starting"
                raise RuntimeError(f"the ASGI application returned without {how} its response")
        except Exception as error:
            self._error = error
            if self._is_of_request(error):
                # Here, in the context that it was raised in, where Sentry knows what it has reported.
                tell_failure(log, "ASGI", error)
        finally:
            self._wake()

    def _is_of_request(self, error: Exception) -> bool:
        """Say whether *error* was there before the answer: frameworks raise it again after the 500 that they make."""
        if self._complete:
            return error is self._handled
        return not (self._taken_up or self._broken)

    async def _receive(self) -> dict[str, Any]:
        if self._received:
            if not self._is_over:
                self._gone = gone = self._gone or asyncio.Event()
                await gone.wait()
            return {"type": "http.disconnect"}
        self._received = True
        return {"type": "http.request", "body": self._http.body, "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._broken:
            raise Disconnected
        if self._complete:
            raise RuntimeError(f"unexpected ASGI message {kind!r} after the response was complete")
        if self._head is None:
            if kind != "http.response.start":
                raise RuntimeError(f"expected the ASGI message 'http.response.start', but got {kind!r}")
            self._head = Head(message["status"], message.get("headers", ()))
            return
        if kind != "http.response.body":
            raise RuntimeError(f"expected the ASGI message 'http.response.body', but got {kind!r}")
        chunk = _bytes(message.get("body", b""))
        self._chunks.append(chunk if self._http.has_body(self._head.status) else b"")
        if message.get("more_body", False):
            if not self._collects:
                await self._until_wanted()
        else:
            self._complete = True
            self._handled = sys.exception()
            if self._answer_at_once is not None and self._answer_at_once(self._head, self._body()):
                self._answered_at = time.time()
                self._end()
            self._wake()
            if not self._is_over:
                self._let_go = self._task.get_loop().create_future()
                await self._let_go
        if self._broken:
            raise Disconnected

    async def _until_wanted(self) -> None:
        self._wanted = wanted = self._wanted or asyncio.Event()
        wanted.clear()
        self._wake()
        await wanted.wait()

    # The caller's side...

    @property
    def has_begun(self) -> bool:
        """Whether a part of the body is there."""
        return bool(self._chunks)

    def run(self, event_loop: EventLoop) -> tuple[Head, bytes] | None:
        """
        Run the loop until the response is complete, and return it; None if it was answered, or the application failed.

        Raises:
            TimeUp: It took too long, and was cancelled.
            BaseException: The application has raised it, and it is no Exception.
        """
        self._wake = self._task.get_loop().stop
        try:
            event_loop.run_until(self._task, self._is_complete)
        except BaseException as error:
            if not self._answered_at:
                raise
            self._was_cut_off = isinstance(error, TimeUp)
            self._hand_over_rest()
            if not self._task.done() or self._task.cancelled() or self._task.exception() is not error:
                raise
            # It is the application's own, of the time after its answer.
        finally:
            del self._wake
        if self._answered_at:
            self._hand_over_rest()
            return None
        return self._collected()

    async def collected(self) -> tuple[Head, bytes] | None:
        """Wait for the response while the loop runs, and return it; None if the application has failed."""
        await self._arrival(self._is_complete)
        return self._collected()

    def _is_complete(self) -> bool:
        return self._complete

    def _collected(self) -> tuple[Head, bytes] | None:
        if self._complete:
            self._hand_over_rest()
            assert self._head is not None
            return self._head, self._body()
        self._raise_base_error()
        return None

    def _body(self) -> bytes:
        return b"".join(self._chunks) if len(self._chunks) > 1 else self._chunks[0]

    async def begun(self) -> Head | None:
        """Wait for the first part of the body, and return the head; None if the application has failed."""
        await self._arrival(lambda: bool(self._chunks))
        if self._chunks:
            self._taken_up = True
            return self._head
        self._raise_base_error()
        return None

    def __aiter__(self) -> Exchange:
        return self

    async def __anext__(self) -> bytes:
        if not (self._chunks or self._complete or self._broken):
            if self._wanted is not None:
                self._wanted.set()
            await self._arrival(lambda: bool(self._chunks))
        if self._broken:
            raise StopAsyncIteration
        if self._chunks:
            return self._chunks.popleft()
        if not self._complete:
            self._is_handed_over = True  # the stream tells its error, and nothing is left
            self._raise_base_error()
            assert self._error is not None
            raise self._error
        self._hand_over_rest()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Break the response off, unless all of it was taken."""
        if not self._is_handed_over:
            self._broken = True
            self._chunks.clear()
            if self._wanted is not None:
                self._wanted.set()
            self._hand_over_rest()

    async def _arrival(self, is_there: Callable[[], bool]) -> None:
        arrived = asyncio.Event()
        self._wake = arrived.set
        try:
            while not (is_there() or self._complete or self._task.done()):
                arrived.clear()
                await arrived.wait()
        except asyncio.CancelledError:
            self._broken = self._taken_up  # nobody takes the rest
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        finally:
            del self._wake

    def _raise_base_error(self) -> None:
        if self._error is None:
            self._task.result()

    # After the answer...

    def _hand_over_rest(self) -> None:
        if not self._is_handed_over:
            self._is_handed_over = True
            self._serving.follow_up.before_drain(self._return)

    def _return(self, until: float) -> None:
        """Let the application return, as most do at once; what has more to do is background work."""
        started_at = self._answered_at or time.time()
        if not self._answered_at and started_at < until:
            self._end()
            self._was_cut_off = not self._serving.follow_up.run_once(self._task, until)
        if self._was_cut_off:
            self._serving.follow_up.background.add_cut_off(self._http.line, started_at, metric_name=self._metric_name())
            return
        if self._task.done() and not self._has_failed_since():
            # To tell an error of the request takes its time, and is no work of the application's.
            if self._error is not None or time.time() - started_at < AT_ONCE:
                return
        rest = Rest(self._http.line, self._go_on(), self._task)
        self._serving.follow_up.background.hand_over(rest, mention_from=AT_ONCE, metric_name=self._metric_name())

    def _metric_name(self) -> str:
        """Return the method and the route, as far as the framework tells it: paths are as many as there are clients."""
        route = self._scope.get("route")  # of Starlette and FastAPI
        path = getattr(route, "path_format", None) or getattr(route, "path", None)
        path = path or self._scope.get("path_template")  # of Litestar
        method = self._http.known_method
        return f"{method} {path}" if isinstance(path, str) else method

    def _end(self) -> None:
        self._is_over = True
        if self._let_go is not None and not self._let_go.done():
            self._let_go.set_result(None)
        if self._gone is not None:
            self._gone.set()

    async def _go_on(self) -> None:
        self._end()
        await self._task
        if self._error is not None and self._has_failed_since():
            raise self._error

    def _has_failed_since(self) -> bool:
        error = self._error
        if error is None:
            # SystemExit, say, which is no answer any more.
            return self._task.cancelled() or (self._task.done() and self._task.exception() is not None)
        return not (self._is_of_request(error) or (self._broken and _is_of_disconnect(error)))


class Rest(Coroutine[object, object, None]):
    """What is left of the application: awaited, it goes on; closed, for want of time, it is cancelled."""

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        self.__qualname__ = name
        self._coroutine = coroutine
        self._task = task

    def __await__(self) -> Generator[object, None, None]:
        return self._coroutine.__await__()

    def send(self, value: object) -> object:
        """Go on to the next await."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> object:
        """Raise *error* where it stands."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Cancel the application."""
        self._task.cancel()
        self._coroutine.close()


class Disconnected(OSError):
    """The caller does not get the rest of the response."""


def _is_of_disconnect(error: BaseException | None) -> bool:
    for _ in range(64):  # a chain of errors can be a circle
        if error is None or isinstance(error, Disconnected):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, Disconnected)


def _bytes(value: object) -> bytes:
    if type(value) is bytes:
        return value
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"bodies of ASGI messages are bytes, not {type(value).__name__!r}")
    return bytes(value)
