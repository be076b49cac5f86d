"""
As much of SQS as `SendMessageBatch` needs, and of Lambda as an asynchronous invocation does; each takes its time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SlowQueue(ThreadingHTTPServer):
    """A queue at *url* whose requests take *seconds*; *accepted* has the envelopes of those that it has answered."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds = seconds
        self.accepted: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        """How many messages each request had."""
        self.url = f"http://127.0.0.1:{self.server_port}/123456789012/tasks"

    def accept(self, bodies: list[dict[str, Any]]) -> None:
        """Take *bodies* for good."""
        self.sizes.append(len(bodies))
        self.accepted += bodies

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: whoever asked does not wait any more."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SlowQueue

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.server.seconds)
        if "Records" in document:
            self.server.accept([json.loads(record["body"]) for record in document["Records"]])
            answer, status = b"", 202
        else:
            self.server.accept([json.loads(entry["MessageBody"]) for entry in document["Entries"]])
            successful = [{"Id": entry["Id"], "MessageId": "m"} for entry in document["Entries"]]
            answer, status = json.dumps({"Successful": successful, "Failed": []}).encode(), 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def slow_queue(seconds: float) -> Iterator[SlowQueue]:
    """Serve such a queue beside the test."""
    with SlowQueue(seconds) as queue:
        threading.Thread(target=queue.serve_forever, daemon=True).start()
        try:
            yield queue
        finally:
            queue.shutdown()
