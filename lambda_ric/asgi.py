"""
ASGI applications as handlers: an HTTP event is a request, and what follows the end of the response is background work.

    https://asgi.readthedocs.io/en/stable/specs/www.html
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, copy_context

from .failures import exc_info
from .handover import handover_of, wait_until
from .http_events import HTTPRequest
from .lifespan import Lifespan
from .settings import Settings
from .streaming import StreamingResponse
from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any, Literal

    from .context import LambdaContext

    ASGIApplication = Callable[[Any, Any, Any], Awaitable[Any]]
    Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("lambda_ric.asgi")


class ASGIHandler:
    """
    A handler that serves HTTP events with the ASGI application *app*.

    The answer is posted when the application has sent all of its body; the
    rest of it, background tasks say, is background work.

    *lifespan* is ``"on"``, ``"off"``, or ``"auto"``, which does without when
    the application knows of none. *invoke_mode* has to be that of the function
    URL or API in front, ``"buffered"`` or ``"response_stream"``; by default it
    is the setting ``LAMBDA_RIC_INVOKE_MODE``. *root_path* is where the
    application is mounted, if the event does not tell.

    Raises:
        TypeError: *app* is not an ASGI 3 application.
        ValueError: *lifespan* or *invoke_mode* is none of these words.
        ConfigurationError: The setting is not.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *,
        lifespan: Literal["auto", "on", "off"] = "auto",
        invoke_mode: Literal["buffered", "response_stream"] | None = None,
        root_path: str | None = None,
    ) -> None:
        if not callable(app) or isinstance(app, type):
            raise TypeError(f"ASGIHandler takes an application, called with scope, receive and send, not {app!r}")
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"ASGIHandler takes lifespan='auto', 'on' or 'off', not {lifespan!r}")
        if invoke_mode not in ("buffered", "response_stream", None):
            raise ValueError(f"ASGIHandler takes invoke_mode='buffered' or 'response_stream', not {invoke_mode!r}")
        # Powertools, for one, asks a handler for its name.
        self.__name__ = type(self).__name__
        self._app = app
        self._streams = (invoke_mode or Settings(os.environ).invoke_mode) == "response_stream"
        self._root_path = root_path
        self._lifespan = Lifespan(app, lifespan)

    async def __call__(self, event: Any, context: LambdaContext) -> dict[str, Any] | StreamingResponse:
        """
        Serve the request of *event*.

        Raises:
            UnsupportedEventError: It is not an HTTP event.
            RuntimeError: It was called outside of any invocation.
        """
        handover_of(self.__name__)
        request = HTTPRequest.of(event, self._root_path)
        # At startup, but for tests: those have none, and their first request starts it.
        await self._lifespan.start()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query_string,
            "root_path": request.root_path,
            "headers": request.headers,
            "client": request.client,
            "server": request.server,
            "state": self._lifespan.state.copy(),
            # Mangum's names.
            "aws.event": event,
            "aws.context": context,
        }
        exchange = _Exchange(self._app, scope, request.body)
        streams = self._streams and request.can_stream
        body: Any = exchange
        try:
            status, headers = await exchange.head()
            if not streams:
                body = b"".join([chunk async for chunk in exchange])
        except Exception as error:
            _log(error)
            status, headers, body = 500, [(b"content-type", b"text/plain; charset=utf-8")], b"Internal Server Error"
        return _streaming(status, headers, body) if streams else request.response(status, headers, body)


class _Exchange:
    """
    One request to the application, and the body of its response: an asynchronous iterator.

    The application runs as a task of its own. Each `send` returns when its
    chunk was taken and the next one is wanted; the last one when the caller
    has the response.
    """

    def __init__(self, app: ASGIApplication, scope: dict[str, Any], body: bytes) -> None:
        self._scope = scope
        self._request: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}
        self._head: tuple[int, Headers] | None = None
        self._chunks: deque[bytes] = deque()
        self._complete = self._closed = self._broken = False
        self._arrived, self._taken, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # Made in an empty context, where no invocation sees it: it is waited for, or cancelled, and never an orphan.
        create_task = asyncio.get_running_loop().create_task
        self._task = Context().run(create_task, self._run(app), context=copy_context())
        self._task.add_done_callback(lambda task: self._arrived.set())

    # The application's side...

    async def _run(self, app: ASGIApplication) -> None:
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._request is None:
            await self._over.wait()
            return {"type": "http.disconnect"}
        request, self._request = self._request, None
        return request

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._broken:
            raise _Disconnected
        if self._complete:
            raise RuntimeError(f"unexpected ASGI message {kind!r} after the response was complete")
        expected = "http.response.body" if self._head else "http.response.start"
        if kind != expected:
            raise RuntimeError(f"expected the ASGI message {expected!r}, but got {kind!r}")
        if self._head is None:
            headers = [(_bytes(name), _bytes(value)) for name, value in message.get("headers", ())]
            _streaming(message["status"], headers)  # raises what is wrong with them
            self._head = message["status"], headers
            return
        chunk = _bytes(message.get("body", b""))
        has_no_body = self._scope["method"] == "HEAD" or self._head[0] in (204, 304)
        self._chunks.append(b"" if has_no_body else chunk)
        self._complete = not message.get("more_body", False)
        self._taken.clear()
        self._arrived.set()
        await (self._over if self._complete else self._taken).wait()
        if self._broken:
            raise _Disconnected

    # The caller's side...

    async def head(self) -> tuple[int, Headers]:
        """Return the status and the headers when a part of the body is there; raises what the application raises."""
        await self._arrival()
        if self._head is None or not self._chunks:
            raise self._failure()
        return self._head

    def __aiter__(self) -> _Exchange:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        if not self._chunks:
            self._taken.set()
            await self._arrival()
        if self._chunks:
            return self._chunks.popleft()
        self._closed = True
        if not self._complete:
            raise self._failure()
        self._hand_over_rest()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Break the response off, unless all of it was taken."""
        if not self._closed:
            self._closed = self._broken = True
            self._taken.set()
            self._hand_over_rest()

    async def _arrival(self) -> None:
        while not (self._chunks or self._complete or self._task.done()):
            self._arrived.clear()
            try:
                await self._arrived.wait()
            except asyncio.CancelledError:
                self._closed = True
                await self._cancel()
                raise

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        error = None if self._task.cancelled() else self._task.exception()
        if isinstance(error, Exception):
            _log(error)

    def _failure(self) -> BaseException:
        how = "completing" if self._head else "starting"
        return self._task.exception() or RuntimeError(f"the ASGI application returned without {how} its response")

    def _hand_over_rest(self) -> None:
        handover_of("an ASGI application").rests.append(self._return)

    def _return(self, until: float) -> None:
        """Let the application return, as most do at once; what has more to do is background work."""
        event_loop = handover_of("an ASGI application").environment.event_loop
        started_at = time.time()
        if started_at < until:
            self._over.set()
            event_loop.settle(until - started_at)
        if _returned(self._task) and time.time() - started_at < _AT_ONCE:
            return
        name = f"{self._scope['method']} {self._scope['raw_path'].decode('latin-1')}"
        wait_until(_Rest(name, self._go_on(), self._task)).mention_from = _AT_ONCE

    async def _go_on(self) -> None:
        self._over.set()
        try:
            await self._task
        except Exception as error:
            if not _is_of_disconnect(error):
                raise


def _returned(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


# In seconds. What takes no longer is not mentioned in the log.
_AT_ONCE = 0.01


class _Rest(Coroutine[object, object, None]):
    """What is left of the application: awaited, it goes on; closed, for want of time, it is cancelled."""

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        self.__qualname__ = name
        self._coroutine = coroutine
        self._task = task

    def __await__(self) -> Generator[object, None, None]:
        return self._coroutine.__await__()

    def send(self, value: object) -> object:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> object:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._task.cancel()
        self._coroutine.close()


class _Disconnected(OSError):
    """The caller does not get the rest of the response."""


def _is_of_disconnect(error: BaseException | None) -> bool:
    for _ in range(64):  # a chain of errors can be a circle
        if error is None or isinstance(error, _Disconnected):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, _Disconnected)


def _log(error: Exception) -> None:
    tell(log, logging.ERROR, "Exception in ASGI application", exc_info=exc_info(error))


def _bytes(value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"headers and bodies of ASGI messages are bytes, not {type(value).__name__!r}")
    return bytes(value)


def _streaming(status: int, headers: Headers, body: Any = b"") -> StreamingResponse:
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return StreamingResponse(body, status, text)
