"""
What callers reach on one port: the Invoke API, the function URL, the page. Every URL is on one screen.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from lambda_ric.emulator.emulator import Emulator
from lambda_ric.emulator.http.messages import Later, Reply, Request, json_reply
from lambda_ric.emulator.http.origin import same_site
from lambda_ric.emulator.http.server import listening
from lambda_ric.errors import ConfigurationError

from .control_api import ControlAPI
from .cors import Cors
from .event_queue import EventInvokeConfig, EventQueue
from .feed import Feed
from .function_url import FunctionURL, Mode
from .invoke_api import InvokeAPI
from .page import Page
from .signatures import LAMBDA, refusal, service_of


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running emulator is reached, and its queue of asynchronous invocations."""

    url: str
    """What boto3 calls endpoint_url, without a slash at the end."""
    events: EventQueue


class EventSource(Protocol):
    """What calls the function by itself."""

    async def run(self) -> None:
        """Work until cancelled."""

    def described(self) -> Mapping[str, Any]:
        """Return what the Lambda API tells of it."""
        ...


@asynccontextmanager
async def serve(
    emulator: Emulator,
    port: int = 0,
    *,
    events: EventInvokeConfig | None = None,
    url_mode: Mode = "auto",
    cors: Cors | None = None,
    sources: Sequence[EventSource] = (),
) -> AsyncIterator[Endpoint]:
    """
    Let others call the function of *emulator*, which must be open, on *port* of the loopback interface.

    *url_mode* and *cors* are settings of its URL.

    Raises:
        ConfigurationError: The port cannot be had.
    """
    feed = Feed(emulator.function, concurrency=emulator.concurrency)
    queue = EventQueue(emulator.submit, events or EventInvokeConfig(), note=emulator.observers.note)
    routes = _Routes(emulator, queue, feed, url_mode, cors, sources)
    async with AsyncExitStack() as stack:
        emulator.observers.add(feed)
        stack.callback(emulator.observers.discard, feed)
        try:
            bound = await stack.enter_async_context(listening(routes.dispatch, port))
        except (OSError, OverflowError) as exc:
            raise ConfigurationError(f"cannot listen on port {port}: {getattr(exc, 'strerror', exc)}") from exc
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(queue.run)
        for source in sources:
            tasks.start_soon(source.run)
        # The task group does not see an exception of the body, which so is not wrapped in a group.
        closing = stack.pop_all()
    try:
        yield Endpoint(f"http://127.0.0.1:{bound}", queue)
    finally:
        await closing.aclose()


# The paths of the API begin with the date of a version.
_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
_API_ROOMS = ("functions", "event-source-mappings", "account-settings", "tags", "layers", "code-signing-configs")


class _Routes:
    def __init__(
        self,
        emulator: Emulator,
        queue: EventQueue,
        feed: Feed,
        url_mode: Mode,
        cors: Cors | None,
        sources: Sequence[EventSource],
    ) -> None:
        self._api = InvokeAPI(emulator.function, emulator.submit, queue)
        self._control = ControlAPI(
            emulator.function, url_mode, emulator.concurrency, lambda: [source.described() for source in sources]
        )
        self._cors = cors
        self._url = FunctionURL(emulator.function, emulator.submit, mode=url_mode, note=emulator.observers.note)
        self._page = Page(feed)
        self._names = {emulator.function.name, "function", "_"}

    def dispatch(self, request: Request) -> Reply | Later | Awaitable[Reply]:
        """Answer a caller's request; what is nothing else is for the function URL."""
        service = service_of(request)
        if service is not None and (refused := refusal(service, request)) is not None:
            return refused
        match request.segments:
            case ["lambda-url", name, *_] if name in self._names:
                path = request.path.removeprefix("/lambda-url/").partition("/")[2]
                return self._serve_url(request, f"/{path}")
            case ["lambda-url", *_]:
                return json_reply(404, {"Message": None})
            case ["_", *_]:
                return self._page.serve(request)
            case [("2015-03-31" | "2021-11-15"), *_]:
                return self._serve_api(request)
            case [version, room, *_] if _VERSION.fullmatch(version) and (room in _API_ROOMS or service == LAMBDA):
                return self._serve_api(request)
        return self._serve_url(request, request.path)

    def _serve_api(self, request: Request) -> Reply | Later | Awaitable[Reply]:
        if not same_site(request):
            return json_reply(403, {"Type": "User", "Message": "The request comes from another site."})
        match request.method, *request.segments:
            case "POST", "2015-03-31", "functions", name, "invocations":
                return self._api.invoke(name, request)
            case "POST", "2021-11-15", "functions", name, "response-streaming-invocations":
                return self._api.invoke_with_response_stream(name, request)
        return self._control.answer(request) or _unknown_operation()

    def _serve_url(self, request: Request, path: str) -> Reply | Awaitable[Reply]:
        if self._cors is None:
            return self._url.serve(request, path)
        if self._cors.answers(request):
            return self._cors.answer(request)
        return self._with_cors(self._cors, request, path)

    async def _with_cors(self, cors: Cors, request: Request, path: str) -> Reply:
        return cors.applied(request, await self._url.serve(request, path))


def _unknown_operation() -> Reply:
    """Answer as the service does to what it does not know."""
    text = "The emulator has Invoke, InvokeWithResponseStream and operations that read of the Lambda API only."
    headers = {"x-amzn-ErrorType": "UnknownOperationException", "x-amzn-RequestId": str(uuid.uuid4())}
    return json_reply(403, {"message": text}, headers)
