"""What FastAPI offers, in one application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated

from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, File, Form, Header, HTTPException, Query, UploadFile
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from tests.proofs.frameworks.apps.job import work


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, bool]]:
    yield {"started": True}


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=500)


@app.middleware("http")
async def stamp(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["x-stamp"] = request.method
    return response


class Order(BaseModel):
    id: str
    items: list[str] = []


@app.get("/json")
def json() -> dict[str, str | None]:
    return {"framework": "fastapi", "name": "Zoë 🦀", "nothing": None}


@app.post("/orders", status_code=201)
async def order(order: Order) -> Order:
    return order


@app.api_route("/echo/{rest:path}", methods=["GET", "POST", "PATCH", "DELETE"])
async def echo(
    request: Request,
    rest: str,
    a: Annotated[list[str] | None, Query()] = None,
    x_of_test: Annotated[list[str] | None, Header()] = None,
    theme: Annotated[str | None, Cookie()] = None,
) -> dict[str, object]:
    return {
        "rest": rest,
        "a": a,
        "x-of-test": x_of_test,
        "theme": theme,
        "url": str(request.url),
        "parameters": request.query_params.multi_items(),
    }


@app.post("/form")
async def form(name: Annotated[str, Form()], file: Annotated[UploadFile | None, File()] = None) -> list[str | None]:
    return [name, file.filename, (await file.read()).hex()] if file else [name]


@app.post("/bytes")
async def reversed_bytes(request: Request) -> Response:
    return Response((await request.body())[::-1], media_type="application/octet-stream")


@app.get("/redirect")
def redirect() -> Response:
    return RedirectResponse("/json?name=Zoë")


@app.get("/slash/")
def slash() -> str:
    return "with a slash"


@app.delete("/nothing", status_code=204, response_model=None)
@app.get("/nothing", status_code=204, response_model=None)
def nothing() -> None:
    pass


@app.get("/cached")
def cached(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    if if_none_match == '"v1"':
        return Response(status_code=304, headers={"etag": '"v1"'})
    return PlainTextResponse("fresh", headers={"etag": '"v1"'})


@app.get("/error")
def error() -> None:
    raise RuntimeError("as ordered")


@app.get("/refusal")
def refusal() -> None:
    raise HTTPException(418, detail="a teapot", headers={"x-tea": "green"})


@app.get("/headers")
def headers(response: Response) -> str:
    response.headers.append("x-several", "one")
    response.headers.append("x-several", "two")
    response.set_cookie("theme", "dark", max_age=60)
    response.set_cookie("session", "a=b; c", secure=True)
    return "see the head"


@app.get("/stream")
def stream() -> Response:
    def chunks() -> Iterator[bytes]:
        yield b""
        yield bytes(range(256))
        yield b"x" * 100_000

    return StreamingResponse(chunks(), media_type="application/octet-stream")


@app.get("/slow-stream")
def slow_stream() -> Response:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        work("in the middle")
        yield b"second"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/large")
def large() -> list[str]:
    return ["Zoë"] * 1000


@app.post("/background", status_code=202)
def background(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(work, "one")
    return "accepted"


def connection() -> Iterator[str]:
    yield "connected"
    work("closed")


@app.post("/dependency")
def dependency(background_tasks: BackgroundTasks, to: Annotated[str, Depends(connection)]) -> str:
    return to


@app.get("/state")
def state(request: Request) -> bool:
    return bool(request.state.started)
