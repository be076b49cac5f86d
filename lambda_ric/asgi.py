"""
ASGI applications as handlers: an HTTP event is a request, and what follows the end of the response is background work.

    https://asgi.readthedocs.io/en/stable/specs/www.html
"""

from __future__ import annotations

import logging

from .interrupt import TimeUp
from .web.adapter import WebHandler, check_application, is_websocket_event, tell_cut
from .web.exchange import Exchange
from .web.lifespan import Lifespan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Literal, Unpack

    from .context import LambdaContext
    from .serving import Serving
    from .streaming.response import StreamingResponse
    from .web.adapter import Options
    from .web.events import HTTPRequest
    from .web.head import Head

    ASGIApplication = Callable[[Any, Any, Any], Awaitable[Any]]

log: logging.Logger = logging.getLogger("lambda_ric.asgi")


class ASGIHandler(WebHandler):
    """
    A handler that serves HTTP events with the ASGI application *app*.

    The answer is posted when the application has sent all of its body; the
    rest of it, background tasks say, is background work.

    *lifespan* is ``"on"``, ``"off"``, or ``"auto"``, which does without when
    the application knows of none. The *options*: *invoke_mode* has to be that
    of the function URL or API in front, ``"buffered"`` or
    ``"response_stream"``; by default it is the setting
    ``LAMBDA_RIC_INVOKE_MODE``. *root_path* is where the application is
    mounted, if the event does not tell. *events* is the handler of all other
    events. Answers with one of *error_statuses* are errors of the function.
    Bodies of *binary_types* go out in base64, those of *text_types* as text
    if they are UTF-8: media types such as ``"image/svg+xml"``, or ``"image/*"``.

    Raises:
        TypeError: *app* is not an ASGI 3 application, *events* no handler, a
            list is none, or there is no such option.
        ValueError: *lifespan* or *invoke_mode* is none of these words, or a
            status none that a function can answer with.
        ConfigurationError: The setting is none of the words.
    """

    is_asynchronous: bool = True
    """Whether it answers with what is to be awaited: on managed instances its requests share one event loop."""

    def __init__(
        self,
        app: ASGIApplication,
        *,
        lifespan: Literal["auto", "on", "off"] = "auto",
        **options: Unpack[Options],
    ) -> None:
        check_application("ASGIHandler", app, "ASGI", ("scope", "receive", "send"))
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"ASGIHandler takes lifespan='auto', 'on' or 'off', not {lifespan!r}")
        super().__init__(**options)
        self._app = app
        self._lifespan = Lifespan(app, lifespan)

    def _serve_other(self, event: Any, context: LambdaContext, serving: Serving) -> Any:
        if is_websocket_event(event):
            return self._serve_websocket(event, context, serving)
        return super()._serve_other(event, context, serving)

    async def _serve_websocket(self, event: Any, context: LambdaContext, serving: Serving) -> dict[str, Any]:
        from .web.websocket import WebSocketRequest, WebSocketSession  # few functions have them

        request = WebSocketRequest(event)
        await self._lifespan.start()
        scope = request.scope(self._lifespan.state.copy(), event, context)
        return await WebSocketSession(self._app, scope, request, serving).answer()

    def _serve(
        self, request: HTTPRequest, event: Any, context: LambdaContext, serving: Serving, *, is_direct: bool
    ) -> Any:
        collects = self._collects(request)
        event_loop = serving.event_loop
        if not (collects and event_loop.is_at_hand):
            return self._serve_async(request, event, context, serving, collects)
        if not self._lifespan.is_started:
            event_loop.run(self._lifespan.start())

        def answer_at_once(head: Head, body: bytes) -> bool:
            if not is_direct or head.status in self._error_statuses:
                return False
            return serving.answer_at_once(request.response(head, body, self._body_types))

        exchange = Exchange(
            self._app, self._scope_of(request, event, context), request, serving, answer_at_once=answer_at_once
        )
        try:
            response = exchange.run(event_loop)
        except TimeUp:
            if exchange.has_begun and not serving.answered:
                tell_cut(log, request)
            raise
        return serving.outcome.result if serving.answered else self._answer(request, response)

    async def _serve_async(
        self, request: HTTPRequest, event: Any, context: LambdaContext, serving: Serving, collects: bool
    ) -> dict[str, Any] | StreamingResponse:
        # At startup, but for tests: those have none, and their first request starts it.
        await self._lifespan.start()
        exchange = Exchange(self._app, self._scope_of(request, event, context), request, serving, collects=collects)
        if collects:
            return self._answer(request, await exchange.collected())
        head = await exchange.begun()
        if head is None:
            return self._failed(request)
        if head.status in self._error_statuses:
            async for _ in exchange:
                pass  # nobody gets it: the error goes out instead
            self._check(request, head)
        return head.streaming(exchange)

    def _answer(self, request: HTTPRequest, response: tuple[Head, bytes] | None) -> dict[str, Any] | StreamingResponse:
        return self._failed(request) if response is None else self._response(request, *response)

    def _scope_of(self, request: HTTPRequest, event: Any, context: LambdaContext) -> dict[str, Any]:
        return {
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
