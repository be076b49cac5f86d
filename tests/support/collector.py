"""A collector of traces and errors, as Sentry and OpenTelemetry have them: an HTTP server on loopback."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ports import free_port


class Collector:
    """
    Use it as a context manager; it takes *seconds* for every request.

    While it is *busy*, no request is replied to.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.envelopes: list[tuple[str, Any]] = []
        """The items of Sentry's envelopes: type and content."""
        self.spans: list[Any] = []
        """Those of OpenTelemetry, as messages of protobuf."""
        self.metrics: list[tuple[str, list[float]]] = []
        """Those of Datadog: name and values."""
        self._changed = threading.Condition()
        self._idle = threading.Event()
        self._idle.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                elif self.headers["content-encoding"] == "deflate":
                    body = zlib.decompress(body)
                collector._idle.wait()
                time.sleep(seconds)
                with collector._changed:
                    collector._take(self.path, body)
                    collector._changed.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        """Where OpenTelemetry's exporters send to."""
        self.dsn = f"http://key@127.0.0.1:{self._server.server_port}/1"
        """What `sentry_sdk.init` wants."""

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Type and text of each error that was reported to Sentry, in order."""
        events = [item for kind, item in self.envelopes if kind == "event" and "exception" in item]
        raised = [event["exception"]["values"][-1] for event in events]
        return [(error["type"], error["value"]) for error in raised]

    @property
    def transactions(self) -> list[Any]:
        """Sentry's traces of invocations."""
        return [item for kind, item in self.envelopes if kind == "transaction"]

    def _take(self, path: str, body: bytes) -> None:
        if path.endswith("/envelope/"):
            self.envelopes += _items(body)
        elif path == "/v1/traces":
            self.spans += _spans(body)
        elif path.startswith("/api/v1/distribution_points"):
            self.metrics += _metrics(body)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition*, looked at after every request, holds."""
        with self._changed:
            assert self._changed.wait_for(condition, 20), "what the test waits for was not sent"

    def be_busy(self) -> None:
        """Reply to nothing until *be_idle* is called."""
        self._idle.clear()

    def be_idle(self) -> None:
        """Reply again, also to what has come meanwhile."""
        self._idle.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.be_idle()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _items(body: bytes) -> list[tuple[str, Any]]:
    # https://develop.sentry.dev/sdk/data-model/envelopes/: a head, then items of a head and a payload.
    lines = [json.loads(line) for line in body.splitlines() if line]
    return [(head["type"], item) for head, item in zip(lines[1::2], lines[2::2], strict=True)]


def _metrics(body: bytes) -> list[tuple[str, list[float]]]:
    # https://docs.datadoghq.com/api/latest/metrics/#submit-distribution-points
    return [
        (series["metric"], [value for _, values in series["points"] for value in values])
        for series in json.loads(body)["series"]
    ]


def _spans(body: bytes) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
