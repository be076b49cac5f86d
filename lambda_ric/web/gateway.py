"""
A request to a WSGI application, and the response that it gives.

    https://peps.python.org/pep-3333/

The application and its iterable run on the main thread, as any handler does:
the deadline interrupts them wherever they are, and a slow reader holds them up.
"""

from __future__ import annotations

import sys
import threading
from io import BytesIO
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from .head import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any

    from lambda_ric.context import LambdaContext

    from .events import HTTPRequest

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def environ_of(request: HTTPRequest, event: Any, context: LambdaContext) -> dict[str, Any]:
    """Return the environment that a WSGI application sees: *request*, and the handler's two arguments."""
    host, port = request.server or ("localhost", 443 if request.scheme == "https" else 80)
    path = unquote_to_bytes(request.raw_path[len(request.raw_root_path) :])
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": unquote_to_bytes(request.raw_root_path).decode("latin-1"),
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": request.query_string.decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{request.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(request.body),
        # Of gunicorn and Werkzeug: the end of the file is that of the body.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.multithread": threading.current_thread() is not threading.main_thread(),
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "aws.event": event,
        "aws.context": context,
        # The names of serverless-wsgi.
        "serverless.event": event,
        "serverless.context": context,
    }
    if request.client is not None:
        environ["REMOTE_ADDR"] = request.client[0]
    for name, value in request.headers:
        # An underscore would pass for a hyphen: a client could forge what something in front of the function sets.
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


class WSGIResponse:
    """
    The response of *app* to the request of *environ*: an iterator over the parts of its body that are not empty.

    The head may change until the first of them is there.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        self._app = app
        self._environ = environ
        self._head: Head | None = None
        self._head_is_final = False
        self._written: list[bytes] = []
        self._result: Iterable[bytes] | None = None
        self._parts = self._run()

    @property
    def head(self) -> Head:
        """
        The status and the headers.

        Raises:
            RuntimeError: The application has not called start_response.
        """
        if self._head is None:
            raise RuntimeError("the WSGI application did not call start_response")
        return self._head

    @property
    def has_begun(self) -> bool:
        """Whether a part of the body is there."""
        return self._head_is_final

    @property
    def close(self) -> Callable[[], object] | None:
        """What has to be called at the end, however that came; None if there is nothing."""
        return getattr(self._result, "close", None)

    def __iter__(self) -> WSGIResponse:
        return self

    def __next__(self) -> bytes:
        return next(self._parts)

    def _run(self) -> Iterator[bytes]:
        self._result = self._app(self._environ, self._start_response)
        for part in self._result:
            self._write(part)
            yield from self._take()
        yield from self._take()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._head_is_final:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a circle of references
        elif self._head is not None:
            raise RuntimeError("the WSGI application called start_response again, and without exc_info")
        if not isinstance(status, str) or not status[:3].isdigit() or status[3:4] not in ("", " "):
            raise ValueError(f"the status of a WSGI application is like '200 OK', not {status!r}")
        self._head = Head(int(status[:3]), [(_bytes(name), _bytes(value)) for name, value in headers])
        return self._write

    def _write(self, part: bytes) -> None:
        if not isinstance(part, bytes):
            raise TypeError(f"the body of a WSGI application is made of bytes, not of {type(part).__name__!r}")
        if part:
            self._head_is_final = self.head is not None
            self._written.append(part)

    def _take(self) -> Iterator[bytes]:
        if self._written:
            written = b"".join(self._written)
            self._written.clear()
            yield written


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"names and values of headers of a WSGI application are text, not {type(text).__name__!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} cannot be in a header of a WSGI application: its text is Latin-1") from error
