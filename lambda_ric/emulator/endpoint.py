"""
What callers reach on one port: the Invoke API, the function URL, the page. Every URL is on one screen.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from lambda_ric.errors import ConfigurationError

from .emulator import Emulator
from .event_queue import EventInvokeConfig, EventQueue
from .event_source import SQSEventSource
from .feed import Feed
from .function_url import FunctionURL, Mode
from .invoke_api import InvokeAPI
from .messages import Later, Reply, Request, json_reply
from .page import Page, same_site
from .server import listening


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running emulator is reached, and its queue of asynchronous invocations."""

    url: str
    """What boto3 calls endpoint_url, without a slash at the end."""
    events: EventQueue


@asynccontextmanager
async def serve(
    emulator: Emulator,
    port: int = 0,
    *,
    events: EventInvokeConfig | None = None,
    url_mode: Mode = "auto",
    sources: Sequence[SQSEventSource] = (),
) -> AsyncIterator[Endpoint]:
    """
    Let others call the function of *emulator*, which must be open, on *port* of the loopback interface.

    Raises:
        ConfigurationError: The port cannot be had.
    """
    feed = Feed(emulator.function, concurrency=emulator.concurrency)
    emulator.observers.add(feed)
    queue = EventQueue(emulator.submit, events or EventInvokeConfig(), note=emulator.observers.note)
    routes = _Routes(emulator, queue, feed, url_mode)
    async with AsyncExitStack() as stack:
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


# The paths of the API's other operations are those of a function URL as well; their signature tells them apart.
_SIGNED_FOR_LAMBDA = re.compile(r"^AWS4-HMAC-SHA256 .*/lambda/aws4_request")


class _Routes:
    def __init__(self, emulator: Emulator, queue: EventQueue, feed: Feed, url_mode: Mode) -> None:
        self._api = InvokeAPI(emulator.function, emulator.submit, queue)
        self._url = FunctionURL(emulator.function, emulator.submit, mode=url_mode)
        self._page = Page(feed)
        self._names = {emulator.function.name, "function", "_"}

    def dispatch(self, request: Request) -> Reply | Later | Awaitable[Reply]:
        """Answer a caller's request; what is nothing else is for the function URL."""
        match request.segments:
            case ["lambda-url", name, *_] if name in self._names:
                path = request.path.removeprefix("/lambda-url/").partition("/")[2]
                return self._url.serve(request, f"/{path}")
            case ["lambda-url", *_]:
                return json_reply(404, {"Message": None})
            case [("2015-03-31" | "2021-11-15"), *_] if not same_site(request):
                return json_reply(403, {"Type": "User", "Message": "The request comes from another site."})
            case ["_", *_]:
                return self._page.serve(request)
            case ["2015-03-31", "functions", name, "invocations"] if request.method == "POST":
                return self._api.invoke(name, request)
            case ["2021-11-15", "functions", name, "response-streaming-invocations"] if request.method == "POST":
                return self._api.invoke_with_response_stream(name, request)
            case [("2015-03-31" | "2021-11-15"), *_]:
                return _unknown_operation()
            case _ if _SIGNED_FOR_LAMBDA.search(request.headers.get("authorization", "")):
                return _unknown_operation()
        return self._url.serve(request, request.path)


def _unknown_operation() -> Reply:
    """Answer as the service does to what it does not know."""
    text = "The emulator has the operations Invoke and InvokeWithResponseStream of the Lambda API only."
    headers = {"x-amzn-ErrorType": "UnknownOperationException", "x-amzn-RequestId": str(uuid.uuid4())}
    return json_reply(403, {"message": text}, headers)
