"""What Litestar offers, in one application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, delete, get, post, route
from litestar.background_tasks import BackgroundTask
from litestar.config.compression import CompressionConfig
from litestar.datastructures import Cookie, ResponseHeader, State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException
from litestar.params import Body
from litestar.response import Redirect, Stream

from tests.proofs.frameworks.apps.job import work

AnyRequest = Request[Any, Any, Any]


@get("/json")
async def json() -> dict[str, str | None]:
    return {"framework": "litestar", "name": "Zoë 🦀", "nothing": None}


@route("/echo/{rest:path}", http_method=["GET", "POST"], status_code=200)
async def echo(request: AnyRequest, rest: str) -> dict[str, object]:
    return {
        "method": request.method,
        "rest": str(rest),
        "url": str(request.url),
        "parameters": list(request.query_params.multi_items()),
        "headers": [[name, value] for name, value in request.headers.multi_items() if name.startswith("x-of-")],
        "cookies": request.cookies,
        "client": request.client and request.client.host,
    }


@post("/form", status_code=200)
async def form(data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in data.items():
        fields[name] = [value.filename, (await value.read()).hex()] if isinstance(value, UploadFile) else value
    return fields


@post("/bytes", status_code=200, media_type="application/octet-stream")
async def reversed_bytes(request: AnyRequest) -> bytes:
    return (await request.body())[::-1]


@get("/redirect", status_code=302)
async def redirect() -> Redirect:
    return Redirect("/json?name=x")


@get("/nothing", status_code=204)
async def nothing() -> None:
    pass


@delete("/nothing")
async def delete_nothing() -> None:
    pass


@get("/cached", media_type=MediaType.TEXT)
async def cached(request: AnyRequest) -> Response[str | None]:
    if request.headers.get("if-none-match") == '"v1"':
        return Response(None, status_code=304, headers={"etag": '"v1"'})
    return Response("fresh", headers={"etag": '"v1"'})


@get("/error")
async def error() -> None:
    raise RuntimeError("as ordered")


@get("/refusal")
async def refusal() -> None:
    raise HTTPException(detail="a teapot", status_code=418, headers={"x-tea": "green"})


@get(
    "/headers",
    media_type=MediaType.TEXT,
    response_headers=[ResponseHeader(name="x-one", value="1")],
    response_cookies=[Cookie(key="theme", value="dark", max_age=60)],  # of several the order is never the same
)
async def headers() -> str:
    return "see the head"


@get("/stream")
async def stream() -> Stream:
    def chunks() -> Iterator[bytes]:
        yield b""
        yield bytes(range(256))
        yield b"x" * 100_000

    return Stream(chunks, media_type="application/octet-stream")


@get("/async-stream")
async def async_stream() -> Stream:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}é\n"

    return Stream(lines(), media_type="text/plain")


@get("/slow-stream")
async def slow_stream() -> Stream:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        work("in the middle")
        yield b"second"

    return Stream(chunks, media_type="text/plain")


@get("/large")
async def large() -> list[str]:
    return ["Zoë"] * 1000


@post("/background", status_code=202, media_type=MediaType.TEXT, sync_to_thread=False)
def background() -> Response[str]:
    return Response("accepted", background=BackgroundTask(work, "one"))


def hooked(request: AnyRequest) -> None:
    work("hooked")


@post("/hook", status_code=202, media_type=MediaType.TEXT, after_response=hooked)
async def hook() -> str:
    return "accepted"


@get("/state")
async def state(state: State) -> bool:
    return bool(state.started)


@contextlib.asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.started = True
    yield


app = Litestar(
    route_handlers=[
        json, echo, form, reversed_bytes, redirect, nothing, delete_nothing, cached, error, refusal, headers, stream,
        async_stream, slow_stream, large, background, hook, state,
    ],
    lifespan=[lifespan],
    compression_config=CompressionConfig(backend="gzip", minimum_size=500),
    openapi_config=None,
)  # fmt: skip
