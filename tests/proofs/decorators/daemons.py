"""What receives the traces and reports of a function: real sockets on loopback."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ports import free_port


class XRayDaemon:
    """A UDP socket where the X-Ray SDK sends its segments; *address* is the value for AWS_XRAY_DAEMON_ADDRESS."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def segments(self) -> list[Any]:
        """Return what has come since the last call; on loopback that is all when the sender has ended."""
        found: list[Any] = []
        while True:
            try:
                header, _, segment = self._socket.recv(65536).partition(b"\n")
            except BlockingIOError:
                return found
            assert json.loads(header) == {"format": "json", "version": 1}
            found.append(json.loads(segment))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()


class SentryServer:
    """An HTTP server that takes Sentry's envelopes; *dsn* is the value for `sentry_sdk.init`."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        """The reports of errors, in order."""
        events = self.events

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                # https://develop.sentry.dev/sdk/data-model/envelopes/: a head, then items of a head and a payload.
                lines = [json.loads(line) for line in body.splitlines() if line]
                events.extend(
                    item for head, item in zip(lines[1::2], lines[2::2], strict=True) if head["type"] == "event"
                )
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.dsn = f"http://key@127.0.0.1:{self._server.server_port}/1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
