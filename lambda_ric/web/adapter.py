"""
What the handlers for web applications have in common: which events they serve, and in which way they answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from lambda_ric.callables import application_kind, may_take, no_such_argument
from lambda_ric.errors import ErrorStatusError, UnsupportedEventError
from lambda_ric.failures import exc_info, tell
from lambda_ric.serving import serving_of
from lambda_ric.settings import Settings

from .events import BodyTypes, HTTPRequest
from .head import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, Literal, TypedDict

    from lambda_ric.context import LambdaContext
    from lambda_ric.serving import Serving
    from lambda_ric.streaming.response import StreamingResponse

    class Options(TypedDict, total=False):
        """The arguments that `ASGIHandler` and `WSGIHandler` have in common."""

        invoke_mode: Literal["buffered", "response_stream"] | None
        root_path: str | None
        events: Callable[[Any, Any], Any] | None
        error_statuses: Collection[int]
        text_types: Collection[str]
        binary_types: Collection[str]


AT_ONCE = 0.01
"""In seconds: what an application does after its answer is mentioned in the log when it takes as long, or fails."""


class WebHandler:
    """
    A handler that serves HTTP events with a web application.

    *invoke_mode* has to be that of the function URL or API in front,
    ``"buffered"`` or ``"response_stream"``; by default it is the setting
    ``LAMBDA_RIC_INVOKE_MODE``. *root_path* is where the application is
    mounted, if the event does not tell. *events* is the handler of all other
    events. Answers with one of *error_statuses* are errors of the function.
    Bodies of *binary_types* go out in base64, those of *text_types* as text
    if they are UTF-8: media types such as ``"image/svg+xml"``, or ``"image/*"``.

    Raises:
        TypeError: *events* cannot be called, a list is none, or there is no such option.
        ValueError: *invoke_mode* is none of its words, or a status none that a function can answer with.
        ConfigurationError: The setting is none of the words.
    """

    def __init__(
        self,
        *,
        invoke_mode: Literal["buffered", "response_stream"] | None = None,
        root_path: str | None = None,
        events: Callable[[Any, Any], Any] | None = None,
        error_statuses: Collection[int] = (),
        text_types: Collection[str] = (),
        binary_types: Collection[str] = (),
        **unknown: Any,
    ) -> None:
        # Powertools, for one, asks a handler for its name.
        self.__name__: str = type(self).__name__
        if unknown:
            names = [*_keywords_of(type(self).__init__), *_keywords_of(WebHandler.__init__)]
            raise no_such_argument(self.__name__, next(iter(unknown)), names)
        if invoke_mode not in ("buffered", "response_stream", None):
            raise ValueError(f"{self.__name__} takes invoke_mode='buffered' or 'response_stream', not {invoke_mode!r}")
        if events is not None and not (callable(events) and may_take(events, 2)):
            raise TypeError(
                f"{self.__name__} takes a handler for events=, called with an event and a context, not {events!r}"
            )
        for name, what, example, given in (
            ("error_statuses", "statuses", [500, 502], error_statuses),
            ("text_types", "media types", ["image/svg+xml"], text_types),
            ("binary_types", "media types", ["application/x-tar"], binary_types),
        ):
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise TypeError(f"{self.__name__} takes a list of {what} for {name}=, such as {example}, not {given!r}")
        for status in error_statuses:
            Head(status, ())  # raises what is wrong with it
        self._streams = (invoke_mode or Settings(os.environ).invoke_mode) == "response_stream"
        self._root_path = root_path
        self._events = events
        self._error_statuses = frozenset(error_statuses)
        self._body_types = BodyTypes(text_types, binary_types)

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """
        Serve the request of *event*, or give it to the handler of other events.

        Raises:
            UnsupportedEventError: It is not an HTTP event, and there is no other handler.
            RuntimeError: It was called outside of any invocation.
        """
        serving = serving_of(self.__name__)
        is_direct = serving.is_direct_call_of(self)
        try:
            kind = HTTPRequest.kind_of(event)
        except UnsupportedEventError:
            return self._serve_other(event, context, serving)
        return self._serve(kind(event, self._root_path), event, context, serving, is_direct=is_direct)

    def _serve(
        self, request: HTTPRequest, event: Any, context: LambdaContext, serving: Serving, *, is_direct: bool
    ) -> Any:
        """Return the result for *request*; the runtime takes it as it is if the call *is direct*."""
        raise NotImplementedError

    def _serve_other(self, event: Any, context: LambdaContext, serving: Serving) -> Any:
        """Give *event* to the handler of other events; called while the error is handled that there is without."""
        if self._events is None:
            raise
        return self._events(event, context)

    def _collects(self, request: HTTPRequest) -> bool:
        """Say whether the response to *request* goes out in one piece."""
        return not (self._streams and request.can_stream)

    def _response(self, request: HTTPRequest, head: Head, body: bytes) -> dict[str, Any]:
        """
        Return what the handler returns for a response in one piece.

        Raises:
            ErrorStatusError: Its status counts as an error.
        """
        self._check(request, head)
        return request.response(head, body, self._body_types)

    def _check(self, request: HTTPRequest, head: Head) -> None:
        if head.status in self._error_statuses:
            raise ErrorStatusError(f"the application has answered {request.line} with the status {head.status}")

    def _failed(self, request: HTTPRequest) -> dict[str, Any] | StreamingResponse:
        """Return the answer to a *request* whose application failed before it had one."""
        head, body = Head(500, [(b"content-type", b"text/plain; charset=utf-8")]), b"Internal Server Error"
        if self._collects(request):
            return self._response(request, head, body)
        self._check(request, head)
        return head.streaming(body)


def check_application(whose: str, app: object, kind: str, arguments: tuple[str, ...]) -> None:
    """
    Hold *app* against what the handler *whose* serves: applications of this *kind*, called with these *arguments*.

    Raises:
        TypeError: It cannot be such.
    """
    other = application_kind(app)
    if other and other != kind:
        raise TypeError(
            f"{whose} takes an {kind} application, and {app!r} is an {other} application: from "
            f"lambda_ric.{other.lower()} import {other}Handler; handler = {other}Handler(app)"
        )
    # Of ASGI 2 a class may be one; of ASGI 3 a class whose objects are awaited, such as Starlette's views.
    is_of_asgi_2 = kind == "ASGI" and isinstance(app, type) and not hasattr(app, "__await__")
    if not callable(app) or is_of_asgi_2 or not may_take(app, len(arguments)):
        shown = f"{', '.join(arguments[:-1])} and {arguments[-1]}"
        raise TypeError(f"{whose} takes an application, called with {shown}, not {app!r}")


def _keywords_of(function: Callable[..., Any]) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]


def is_websocket_event(event: object) -> bool:
    """Say whether *event* is one of a WebSocket API."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and context.get("eventType") in ("CONNECT", "MESSAGE", "DISCONNECT")


def tell_failure(log: logging.Logger, kind: str, error: Exception) -> None:
    """Log what the application of this *kind*, ASGI say, has raised: where it was raised, Sentry knows it again."""
    tell(log, logging.ERROR, f"Exception in {kind} application", exc_info=exc_info(error))


def tell_cut(log: logging.Logger, request: HTTPRequest) -> None:
    """Log that the response to *request* had begun, and nobody gets it."""
    remedy = "what sent this event takes a response in one piece; a function URL or a REST API can stream"
    if request.can_stream:
        remedy = (
            "to send each part as it is made, set LAMBDA_RIC_INVOKE_MODE=response_stream, and the function URL or REST "
            "API to stream"
        )
    what = "the response to %s had begun, and was being collected to be sent in one piece when its time was up: %s"
    tell(log, logging.WARNING, what, request.line, remedy)
