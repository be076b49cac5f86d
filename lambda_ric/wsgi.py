"""Flask, Django and other WSGI applications as handlers: over `asgi`, by way of a2wsgi."""

from __future__ import annotations

from .asgi import ASGIHandler
from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal


class WSGIHandler(ASGIHandler):
    """
    A handler that serves HTTP events with the WSGI application *app*.

    The answer is posted when the application has given all of its body; what
    its `close()` does then is background work. *invoke_mode* and *root_path*
    are those of `ASGIHandler`.

    Raises:
        ConfigurationError: a2wsgi is not installed, or an argument is not one of those that there are.
    """

    def __init__(
        self,
        app: Any,
        *,
        invoke_mode: Literal["buffered", "response_stream"] | None = None,
        root_path: str | None = None,
    ) -> None:
        try:
            from a2wsgi import WSGIMiddleware
        except ImportError as exc:
            raise ConfigurationError("WSGIHandler needs a2wsgi: pip install 'lambda-ric[wsgi]'") from exc
        # Threads are made as they are needed: one, and one more for each whose close() outlived its deadline.
        super().__init__(WSGIMiddleware(app), lifespan="off", invoke_mode=invoke_mode, root_path=root_path)
