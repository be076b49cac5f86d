"""Applications of the shapes that Starlette's own tests of responses, background tasks and middleware have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.proofs.frameworks.apps.job import work


class Discard(BaseHTTPMiddleware):
    """Has the application answer, and answers something else."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        await call_next(request)
        return PlainTextResponse("another answer", status_code=203)


class Catch(BaseHTTPMiddleware):
    """Answers for the application that fails."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            return await call_next(request)
        except RuntimeError as exc:
            return PlainTextResponse(f"caught: {exc}", status_code=503)


class ReadFirst(BaseHTTPMiddleware):
    """Reads the body that the application reads again."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        length = len(await request.body())
        response = await call_next(request)
        response.headers["x-length"] = str(length)
        return response


class Buffer:
    """Holds the head back until there is a body, as middleware that changes heads does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def later(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body":
                for one in held:
                    await send(one)
                held.clear()

        await self.app(scope, receive, later)


current: ContextVar[str] = ContextVar("current", default="nothing")


class SetCurrent:
    """Sets a variable that the application sees, and which is as before in the next request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before = current.get()
        current.set("set")
        scope["before"] = before
        await self.app(scope, receive, send)


def fail() -> None:
    raise RuntimeError("as ordered")


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def failing(request: Request) -> Response:
    raise RuntimeError("as ordered")


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def context(request: Request) -> Response:
    return PlainTextResponse(f"{request.scope['before']}, {current.get()}")


def context_in_thread(request: Request) -> Response:
    return PlainTextResponse(current.get())


async def numbers() -> AsyncIterator[str]:
    for number in range(1, 6):
        yield str(number)
        if number != 5:
            yield ", "


async def stream(request: Request) -> Response:
    return StreamingResponse(numbers(), media_type="text/plain", background=BackgroundTask(work, "after the stream"))


async def plain_stream(request: Request) -> Response:
    return StreamingResponse(numbers(), media_type="text/plain")


async def broken() -> AsyncIterator[str]:
    yield "first"
    raise RuntimeError("as ordered")


async def broken_stream(request: Request) -> Response:
    return StreamingResponse(broken(), media_type="text/plain")


class Custom:
    """Neither a generator nor a list."""

    def __iter__(self) -> Iterator[str]:
        return iter(["one", "two"])


async def custom(request: Request) -> Response:
    return StreamingResponse(Custom(), media_type="text/plain", headers={"content-length": "6"})


async def view(request: Request) -> Response:
    return Response(memoryview(b"\x89PNG"))


async def none(request: Request) -> Response:
    return JSONResponse(None)


async def disconnected(request: Request) -> Response:
    await request.body()
    return JSONResponse(await request.is_disconnected())


async def failing_background(request: Request) -> Response:
    return PlainTextResponse("answered", background=BackgroundTask(fail))


async def after_response(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the request that has been answered."""
    await PlainTextResponse("answered")(scope, receive, send)
    raise HTTPException(406)


ROUTES = [
    Route("/plain", plain),
    Route("/failing", failing),
    Route("/length", length, methods=["POST"]),
    Route("/context", context),
    Route("/context-in-thread", context_in_thread),
    Route("/stream", stream, methods=["POST"]),
    Route("/plain-stream", plain_stream),
    Route("/broken-stream", broken_stream),
    Route("/custom", custom),
    Route("/view", view),
    Route("/none", none),
    Route("/disconnected", disconnected),
    Route("/failing-background", failing_background),
    Mount("/after-response", after_response),
]


def under(*middleware: Callable[[ASGIApp], ASGIApp]) -> Starlette:
    return Starlette(routes=ROUTES, middleware=[Middleware(one) for one in middleware])


app = Starlette(
    routes=[
        Mount("/discard", under(Discard)),
        Mount("/catch", under(Catch)),
        Mount("/read-first", under(ReadFirst)),
        Mount("/buffer", under(Buffer)),
        Mount("/set-current", under(SetCurrent)),
        Mount("/all", under(Buffer, Catch, ReadFirst, SetCurrent)),
        *ROUTES,
    ]
)
