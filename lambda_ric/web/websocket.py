"""
Events of a WebSocket API of API Gateway, as ASGI's websockets.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api.html
    https://asgi.readthedocs.io/en/stable/specs/www.html#websocket

API Gateway holds the connection, and each of its events may come to another environment. So the application is run once
for each event, with what ASGI would send it up to there: ``websocket.connect`` alone, with a message behind it, or with
``websocket.disconnect``. Its run ends when it waits for more. What it sends goes to API Gateway's management API, once
there is a connection: after the answer to ``$connect``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from contextvars import copy_context
from urllib.parse import quote, urlencode

from .adapter import AT_ONCE, tell_failure
from .events.fields import body, header_pairs, malformed, merged, required, strings, text, unzipped, values
from .exchange import Disconnected, Rest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from lambda_ric.overflow.service import Service
    from lambda_ric.serving import Serving

    ASGIApplication = Callable[[Any, Any, Any], Awaitable[Any]]

log: logging.Logger = logging.getLogger("lambda_ric.asgi")


class WebSocketRequest:
    """
    What an event tells of its connection: headers and query come with ``$connect`` only.

    Raises:
        UnsupportedEventError: It is malformed.
    """

    def __init__(self, event: Mapping[str, Any]) -> None:
        context = event["requestContext"]
        self.kind: str = required(context, "eventType")
        self.route: str = text(context, "routeKey")
        self.connection_id: str = required(context, "connectionId")
        self.api_id: str = required(context, "apiId")
        self.stage: str = text(context, "stage")
        if not (self.api_id.isascii() and self.api_id.isalnum()):
            raise malformed("apiId", "the id of an API")
        named = merged(values(event, "multiValueHeaders"), strings(event, "headers"), key=str.lower)
        pairs, last = header_pairs(*unzipped(named), None, b"")
        self.headers: list[tuple[bytes, bytes]] = pairs
        offered = last.get(b"sec-websocket-protocol", b"").decode()
        self.subprotocols: list[str] = [name.strip() for name in offered.split(",")]
        query = merged(values(event, "multiValueQueryStringParameters"), strings(event, "queryStringParameters"))
        self.query_string: bytes = urlencode(query, errors="replace").encode()
        identity = context.get("identity")
        source_ip = text(identity, "sourceIp") if isinstance(identity, dict) else ""
        self.client: tuple[str, int] | None = (source_ip, 0) if source_ip else None
        self.server: tuple[str, int] = (text(context, "domainName"), 443)
        self.messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        if self.kind == "MESSAGE":
            content = body(event, "isBase64Encoded")
            shown = {"bytes": content} if event.get("isBase64Encoded") else {"text": content.decode()}
            self.messages.append({"type": "websocket.receive", **shown})
        elif self.kind == "DISCONNECT":
            code = context.get("disconnectStatusCode")
            reason = text(context, "disconnectReason")
            given = code if isinstance(code, int) and code > 0 else 1005
            self.messages.append({"type": "websocket.disconnect", "code": given, "reason": reason})

    def scope(self, state: dict[str, Any], event: Any, context: Any) -> dict[str, Any]:
        """Return the scope of ASGI; the path is that of the stage, an API of this kind has no other."""
        mount = f"/{self.stage}" if self.stage and any(".execute-api." in part for part in self.server[:1]) else ""
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss",
            "path": f"{mount}/",
            "raw_path": quote(f"{mount}/").encode(),
            "query_string": self.query_string,
            "root_path": mount,
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "subprotocols": [name for name in self.subprotocols if name],
            "state": state,
            "extensions": {"websocket.http.response": {}},
            "aws.event": event,
            "aws.context": context,
        }


class WebSocketSession:
    """One run of the application *app*, for the event of *request*."""

    def __init__(
        self, app: ASGIApplication, scope: dict[str, Any], request: WebSocketRequest, serving: Serving
    ) -> None:
        self._app = app
        self._scope = scope
        self._request = request
        self._serving = serving
        self._incoming = deque(request.messages)
        self._status = 200
        self._headers: dict[str, str] = {}
        self._is_accepted = self._is_closed = False
        self._error: Exception | None = None
        self._answered, self._over, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._task = serving.event_loop.task(self._run(), copy_context())

    async def answer(self) -> dict[str, Any]:
        """Wait for what the application has to say before its caller is answered, and return the answer."""
        try:
            await self._answered.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        if self._task.done() and self._error is None:
            self._task.result()  # raises what is no Exception
        self._serving.follow_up.before_drain(self._hand_over_rest)
        answer: dict[str, Any] = {"statusCode": self._status}
        return answer | ({"headers": self._headers} if self._headers else {})

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            if self._request.kind == "CONNECT" and not self._answered.is_set():
                self._status = 403  # neither accepted nor closed
        except Disconnected:
            pass  # the client has gone: that is for the application to know, and nobody's error
        except Exception as error:
            self._error = error
            if not self._answered.is_set():
                self._status = 500
                tell_failure(log, "ASGI", error)
        finally:
            self._answered.set()
            self._idle.set()

    async def _receive(self) -> dict[str, Any]:
        if self._incoming:
            return self._incoming.popleft()
        # What comes next comes in another event, and perhaps to another process.
        self._answered.set()
        self._idle.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("this run was cancelled")

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._request.kind == "CONNECT" and not self._is_accepted:
            await self._send_before_connection(kind, message)
        elif kind == "websocket.accept" and not self._is_accepted:
            self._is_accepted = True  # it was, when the connection was made
        elif kind == "websocket.send" and self._is_accepted:
            if self._is_closed or self._request.kind == "DISCONNECT":
                raise Disconnected
            given = message.get("text")
            await self._call("POST", message.get("bytes") or b"" if given is None else given.encode())
        elif kind == "websocket.close":
            if not (self._is_closed or self._request.kind == "DISCONNECT"):
                self._is_closed = True
                await self._call("DELETE", b"")
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}: a websocket is accepted once, and before it is used")

    async def _send_before_connection(self, kind: str, message: dict[str, Any]) -> None:
        if self._answered.is_set():
            raise RuntimeError(f"unexpected ASGI message {kind!r} after the connection was refused")
        if kind == "websocket.accept":
            self._is_accepted = True
            if message.get("subprotocol"):
                self._headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
        elif kind == "websocket.close":
            self._status = 403
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
            return
        elif kind != "websocket.http.response.body":
            raise RuntimeError(f"expected the ASGI message 'websocket.accept' or 'websocket.close', but got {kind!r}")
        elif message.get("more_body", False):
            return  # nobody gets it: API Gateway refuses with the status alone
        self._answered.set()
        # Nothing can be sent before API Gateway has made the connection.
        await self._over.wait()

    async def _call(self, method: str, content: bytes) -> None:
        from lambda_ric.overflow.failure import ServiceError

        until = self._serving.ends_at() if self._over.is_set() else self._serving.answer_until()
        seconds = until - time.time()
        try:
            await asyncio.to_thread(_call, self._request, method, content, time.monotonic() + seconds)
        except ServiceError as error:
            if error.status == 410:
                raise Disconnected from error
            raise

    # After the answer...

    def _hand_over_rest(self, until: float) -> None:
        rest = Rest(f"WebSocket {self._request.route}", self._finish(), self._task)
        self._serving.follow_up.background.hand_over(rest, mention_from=AT_ONCE)

    async def _finish(self) -> None:
        self._over.set()
        already_told = self._error
        await self._idle.wait()
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        if self._error is not already_told and self._error is not None:
            raise self._error


_SERVICES: dict[tuple[str, str], Service] = {}


def _call(request: WebSocketRequest, method: str, content: bytes, until: float) -> None:
    path = f"/@connections/{quote(request.connection_id, safe='')}"
    expected = 200 if method == "POST" else 204
    _service_of(request).post(path, {}, content, until, int, method=method, expected=expected)


def _service_of(request: WebSocketRequest) -> Service:
    key = request.api_id, request.stage
    if key not in _SERVICES:
        from lambda_ric.overflow.addresses import domain_of, endpoint_of, region_of
        from lambda_ric.overflow.service import Service

        region = region_of(None, None, os.environ)
        # Not the domain of the event: what is sent is signed, and whoever may invoke the function writes the event.
        default = f"https://{request.api_id}.execute-api.{region}.{domain_of(region)}/{quote(request.stage, safe='')}"
        endpoint = endpoint_of("apigatewaymanagementapi", None, default, os.environ)
        _SERVICES[key] = Service("execute-api", endpoint, region)
    return _SERVICES[key]
