"""What Starlette offers, in one application."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.proofs.frameworks.apps.job import work

HERE = Path(__file__).parent


async def json(request: Request) -> Response:
    return JSONResponse({"framework": "starlette", "name": "Zoë 🦀", "nothing": None})


async def echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "path": request.scope["path"],
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "root_path": request.scope["root_path"],
            "path_params": request.path_params,
            "query": request.scope["query_string"].decode("latin-1"),
            "parameters": request.query_params.multi_items(),
            "headers": [[name, value] for name, value in request.headers.items() if name.startswith(("x-of-", "acc"))],
            "cookies": request.cookies,
            "client": request.client and request.client.host,
            "http_version": request.scope["http_version"],
        }
    )


async def form(request: Request) -> Response:
    async with request.form() as form:
        fields: list[list[str | int | None]] = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.append([name, value])
            else:
                fields.append([name, value.filename, value.content_type, (await value.read()).hex()])
    return JSONResponse(fields)


async def reversed_bytes(request: Request) -> Response:
    return Response((await request.body())[::-1], media_type="application/octet-stream")


async def read_in_parts(request: Request) -> Response:
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
    return PlainTextResponse(str(length))


async def redirect(request: Request) -> Response:
    return RedirectResponse("/json?name=Zoë&space=a b", status_code=303)


async def nothing(request: Request) -> Response:
    return Response(status_code=204)


async def cached(request: Request) -> Response:
    if request.headers.get("if-none-match") == '"v1"':
        return Response(status_code=304, headers={"etag": '"v1"'})
    return PlainTextResponse("fresh", headers={"etag": '"v1"'})


async def error(request: Request) -> Response:
    raise RuntimeError("as ordered")


async def refusal(request: Request) -> Response:
    raise HTTPException(418, detail="a teapot", headers={"x-tea": "green"})


async def odd_status(request: Request) -> Response:
    return PlainTextResponse("odd", status_code=299)


async def headers(request: Request) -> Response:
    response = PlainTextResponse("see the head", headers={"x-latin": "Zoë", "x-empty": ""})
    response.headers.append("x-several", "one")
    response.headers.append("x-several", "two, three")
    response.headers.append("vary", "Cookie")
    response.set_cookie("theme", "dark", max_age=60, path="/", httponly=True, samesite="strict")
    response.set_cookie("session", "a=b; c", domain="example.org", secure=True)
    return response


async def async_stream(request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}é\n"

    return StreamingResponse(numbers(), media_type="text/plain", headers={"x-streamed": "yes"})


def lines() -> Iterator[bytes]:
    yield b""
    yield bytes(range(256))
    yield b"x" * 100_000


async def stream(request: Request) -> Response:
    return StreamingResponse(lines(), media_type="application/octet-stream")


def slow_lines() -> Iterator[bytes]:
    yield b"first"
    work("in the middle")
    yield b"second"


async def slow_stream(request: Request) -> Response:
    return StreamingResponse(slow_lines(), media_type="text/plain")


async def stream_with_background(request: Request) -> Response:
    return StreamingResponse(lines(), background=BackgroundTask(work, "after the stream"))


async def large(request: Request) -> Response:
    return HTMLResponse("<p>Zoë</p>" * 1000)


async def file(request: Request) -> Response:
    return FileResponse(HERE / "static" / "pixel.png", filename="Bild ä.png", media_type="image/png")


async def background(request: Request) -> Response:
    return PlainTextResponse("accepted", status_code=202, background=BackgroundTask(work, "one"))


async def several(request: Request) -> Response:
    done: list[str] = []

    async def first() -> None:
        done.append("first")

    def second(name: str) -> None:
        work(f"{done[0]}, then {name}")

    tasks = BackgroundTasks()
    tasks.add_task(first)
    tasks.add_task(second, name="second")
    return PlainTextResponse("accepted", background=tasks)


async def state(request: Request) -> Response:
    return JSONResponse({"started": request.state.started, "times": request.app.state.times})


async def session(request: Request) -> Response:
    seen = request.session.get("seen", 0)
    return JSONResponse({"seen": seen})


async def on_bad_value(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"bad value: {error}", status_code=400)


async def bad_value(request: Request) -> Response:
    raise ValueError("it is odd")


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.url.path == "/forbidden":
            return PlainTextResponse("not here", status_code=403)
        request.state.stamped = True
        response = await call_next(request)
        response.headers["x-stamp"] = request.method
        return response


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, bool]]:
    app.state.times = getattr(app.state, "times", 0) + 1
    yield {"started": True}
    (Path(os.environ["JOB_DIRECTORY"]) / "ended").touch()


inner = Starlette(routes=[Route("/echo/{rest:path}", echo), Route("/error", error)])

app = Starlette(
    routes=[
        Route("/json", json),
        Route("/echo/{rest:path}", echo, methods=["GET", "POST", "DELETE", "PATCH"]),
        Route("/form", form, methods=["POST"]),
        Route("/bytes", reversed_bytes, methods=["POST"]),
        Route("/parts", read_in_parts, methods=["POST"]),
        Route("/redirect", redirect),
        Route("/slash/", json),
        Route("/nothing", nothing),
        Route("/cached", cached),
        Route("/error", error),
        Route("/refusal", refusal),
        Route("/odd-status", odd_status),
        Route("/headers", headers),
        Route("/async-stream", async_stream),
        Route("/stream", stream),
        Route("/slow-stream", slow_stream),
        Route("/stream-with-background", stream_with_background, methods=["POST"]),
        Route("/large", large),
        Route("/file", file),
        Route("/background", background, methods=["POST"]),
        Route("/several", several, methods=["POST"]),
        Route("/state", state),
        Route("/session", session),
        Route("/bad-value", bad_value),
        Mount("/inner", inner),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["app.example.org"]),
        Middleware(CORSMiddleware, allow_origins=["https://example.org"], allow_methods=["*"], expose_headers=["x-a"]),
        Middleware(SessionMiddleware, secret_key="no secret"),
        Middleware(GZipMiddleware, minimum_size=500),
        Middleware(Stamp),
    ],
    exception_handlers={ValueError: on_bad_value},
    lifespan=lifespan,
)
