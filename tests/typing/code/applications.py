"""Applications as handlers, streams, and tests of handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from lambda_ric import Codec, LambdaContext, Payload, StreamingResponse, run
from lambda_ric.asgi import ASGIHandler
from lambda_ric.testing import invoke
from lambda_ric.wsgi import WSGIHandler


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None: ...


def classical(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return [b""]


handler = ASGIHandler(application)
handler_of_wsgi = WSGIHandler(classical)
ASGIHandler("app")  # refused


def streams(event: dict[str, Any], context: LambdaContext) -> StreamingResponse:
    return StreamingResponse(iter([b"1"]), status_code=200, headers={"x-a": "b"}, cookies=["a=b"])


StreamingResponse(17)  # refused


def picture(event: dict[str, Any], context: LambdaContext) -> Payload:
    return Payload(b"", "image/png")


class Upper(Codec):
    def decode(self, body: bytes, content_type: str) -> Any:
        return super().decode(body.upper(), content_type)


def test_handler() -> None:
    invoked = invoke(streams, {"n": 1})
    assert invoked.response is not None


def main() -> int:
    return run(streams, codec=Upper())


run(17)  # refused
