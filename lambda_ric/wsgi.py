"""
WSGI applications as handlers: an HTTP event is a request, and what `close()` does is background work.

    https://peps.python.org/pep-3333/
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import chain

from .interrupt import TimeUp
from .web.adapter import AT_ONCE, WebHandler, check_application, tell_cut, tell_failure
from .web.gateway import WSGIResponse, environ_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Unpack

    from .context import LambdaContext
    from .serving import Serving
    from .streaming.response import StreamingResponse
    from .web.adapter import Options
    from .web.events import HTTPRequest
    from .web.head import Head

log: logging.Logger = logging.getLogger("lambda_ric.wsgi")


class WSGIHandler(WebHandler):
    """
    A handler that serves HTTP events with the WSGI application *app*.

    The answer is posted when the application has given all of its body; what
    its `close()` does then is background work. The *options* are those of
    `ASGIHandler`, but for the lifespan.

    Raises:
        TypeError: *app* is not a WSGI application.
        TypeError, ValueError, ConfigurationError: An option is not one of those that there are.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], **options: Unpack[Options]) -> None:
        check_application("WSGIHandler", app, "WSGI", ("environ", "start_response"))
        super().__init__(**options)
        self._app = app

    def _serve(
        self, request: HTTPRequest, event: Any, context: LambdaContext, serving: Serving, *, is_direct: bool
    ) -> dict[str, Any] | StreamingResponse:
        response = WSGIResponse(self._app, environ_of(request, event, context))
        # However this ends, and after the answer: https://peps.python.org/pep-3333/#specification-details
        serving.follow_up.before_drain(partial(_close, response, serving, request))
        try:
            first = next(response, b"")
            head = response.head
            is_collected = self._collects(request) or head.status in self._error_statuses
            body = b"".join((first, *response)) if is_collected else first
        except Exception as error:
            tell_failure(log, "WSGI", error)
            return self._failed(request)
        except TimeUp:
            if response.has_begun:
                tell_cut(log, request)
            raise
        if self._collects(request):
            return self._response(request, head, body)
        self._check(request, head)
        return head.streaming(_parts(request, head, first, response))


def _parts(request: HTTPRequest, head: Head, first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    parts = chain((first,), others)
    if request.has_body(head.status):
        return parts
    return (b"" for _ in parts)


def _close(response: WSGIResponse, serving: Serving, request: HTTPRequest, until: float) -> None:
    if response.close is not None:
        # A path would be a metric for each client, and WSGI knows of no routes.
        serving.follow_up.run_now(
            "task", request.line, response.close, until, at_once=AT_ONCE, metric_name=request.known_method
        )
