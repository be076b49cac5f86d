"""One application in FastAPI and in Starlette: bare, behind Mangum, and behind our own adapter."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import PlainTextResponse as FastAPIText
from mangum import Mangum
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

LARGE = "0123456789" * 10_000

fastapi = FastAPI()


@fastapi.post("/orders/{order_id}")
async def accept(order_id: str, expand: str = "") -> dict[str, str]:
    return {"order": order_id, "expand": expand}


@fastapi.post("/large/{order_id}", response_class=FastAPIText)
async def large(order_id: str, request: Request) -> str:
    return (await request.body()).decode()


@fastapi.post("/background/{order_id}")
async def background(order_id: str, background_tasks: BackgroundTasks) -> dict[str, str]:
    background_tasks.add_task(receipt, order_id)
    return {"order": order_id}


@fastapi.post("/stream/{order_id}")
async def stream(order_id: str) -> StreamingResponse:
    return StreamingResponse(steps(order_id), media_type="text/plain")


async def receipt(order_id: str) -> None:
    await asyncio.sleep(0)


async def steps(order_id: str) -> AsyncIterator[str]:
    for step in range(5):
        yield f"{order_id} {step}\n"


async def accept_with_starlette(request: Request) -> JSONResponse:
    return JSONResponse({"order": request.path_params["order_id"], "expand": request.query_params["expand"]})


async def large_with_starlette(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


starlette = Starlette(
    routes=[
        Route("/orders/{order_id}", accept_with_starlette, methods=["POST"]),
        Route("/large/{order_id}", large_with_starlette, methods=["POST"]),
    ]
)

fastapi_behind_mangum = Mangum(fastapi, lifespan="off", api_gateway_base_path="/prod")
starlette_behind_mangum = Mangum(starlette, lifespan="off", api_gateway_base_path="/prod")

# On AWS's runtime the import would have an extension registered, which has no part in what is measured there.
if "awslambdaric" not in sys.modules:
    from lambda_ric.asgi import ASGIHandler

    fastapi_behind_asgi_handler = ASGIHandler(fastapi, lifespan="off")
    starlette_behind_asgi_handler = ASGIHandler(starlette, lifespan="off")
    fastapi_streamed = ASGIHandler(fastapi, lifespan="off", invoke_mode="response_stream")


def bare(app: Any) -> Any:
    """Return a handler that knows nothing of Lambda: it calls *app* with a scope made beforehand."""
    loop = asyncio.new_event_loop()
    headers = [(b"content-type", b"application/json"), (b"host", b"example.com")]

    def handler(event: Any, context: Any) -> Any:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": event["rawPath"].removeprefix("/prod"),
            "query_string": b"expand=lines",
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "state": {},
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": event["body"].encode(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        loop.run_until_complete(app(scope, receive, send))
        return {"statusCode": sent[0]["status"], "body": sent[1]["body"].decode()}

    return handler


fastapi_bare = bare(fastapi)
starlette_bare = bare(starlette)


def nothing(event: Any, context: Any) -> Any:
    """Answer what the application does, without one."""
    path = event["rawPath"]
    body = event["body"] if "large" in path else '{"order":"o-17","expand":"lines"}'
    return {"statusCode": 200, "body": body}
