"""An application without a framework, which does what frameworks seldom do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Awaitable[None]]) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    text = [(b"content-type", b"text/plain")]
    match scope["path"]:
        case "/json":
            shown = {name: scope[name] for name in ("type", "http_version", "method", "path", "query_string", "scheme")}
            await send({"type": "http.response.start", "status": 200, "headers": text})
            await send({"type": "http.response.body", "body": repr(shown).encode()})
        case "/no-headers":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x"})
        case "/many-parts":
            await send({"type": "http.response.start", "status": 201, "headers": text})
            for part in (b"a", b"", b"b" * 70_000):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})
        case "/no-body":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        case "/fails-at-once":
            raise RuntimeError("as ordered")
        case "/returns-at-once":
            return
        case "/upper-case":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Upper", b"upper")]})
            await send({"type": "http.response.body", "body": b""})
        case "/disconnect":
            seen = [(await receive())["type"]]
            await send({"type": "http.response.start", "status": 200, "headers": text})
            await send({"type": "http.response.body", "body": repr(seen).encode()})
            assert (await receive())["type"] == "http.disconnect"
        case _:
            await send({"type": "http.response.start", "status": 404, "headers": text})
            await send({"type": "http.response.body", "body": b"not found"})
