"""
A runtime that does as it is told: it takes the steps of steps.json and writes what comes of each to transcript.

Both files lie beside this one; the second is a named pipe, which can be written in a read-only package too. When
the steps are done it serves like any other runtime.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

RUNTIME = "/2018-06-01/runtime"

HERE = Path(__file__).parent
REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"

Reply = dict[str, Any]


class Probe:
    """A runtime's side of some connections, and the ids that it has seen."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self._names: dict[str, str] = {}

    def take(self, step: dict[str, Any]) -> Reply | None:
        """Take *step*; return the reply, if one was waited for."""
        connection = step.get("on", "")
        if "cut" in step:
            return self._cut_short(step)
        if "call" in step:
            self._send(connection, step)
            return self._read(connection, step) if step.get("wait", True) else None
        if "read" in step:
            return self._read(step["read"], step)
        return None

    def _send(self, name: str, step: dict[str, Any]) -> None:
        connection = self._connections.setdefault(name, http.client.HTTPConnection(self._address))
        method, path = step["call"]
        headers = {key: self._filled(value) for key, value in step.get("headers", {}).items()}
        body = step.get("body")
        data = b"x" * body if isinstance(body, int) else (body or "").encode()
        if step.get("chunked"):
            headers["Transfer-Encoding"] = "chunked"
            connection.request(method, self._filled(path), iter([data]), headers, encode_chunked=True)
        else:
            connection.request(method, self._filled(path), data or None, headers)

    def _read(self, name: str, step: dict[str, Any]) -> Reply:
        reply = self._connections[name].getresponse()
        if request_id := reply.getheader(REQUEST_ID):
            for name in ("id", step.get("name", "id")):
                self._names[name] = request_id
                self._names[f"{name}'s nonce"] = reply.getheader(INVOCATION_ID, "")
        if extension := reply.getheader("Lambda-Extension-Identifier"):
            self._names["extension"] = extension
        return _told(reply)

    def _cut_short(self, step: dict[str, Any]) -> Reply | None:
        host, _, port = self._address.rpartition(":")
        method, path = step["call"]
        with socket.create_connection((host, int(port))) as connection:
            head = f"{method} {self._filled(path)} HTTP/1.1\r\nHost: {self._address}\r\n{step['cut']}"
            connection.sendall(head.encode())
            connection.shutdown(socket.SHUT_WR)
            reply = http.client.HTTPResponse(connection)
            try:
                reply.begin()
            except (http.client.HTTPException, ConnectionError):
                return None
            return _told(reply)

    def _filled(self, text: str) -> str:
        for name, value in self._names.items():
            text = text.replace(f"<{name}>", value)
        return text

    def serve(self) -> None:
        """Answer every event with null, as long as there are any."""
        while self.take({"call": ["GET", f"{RUNTIME}/invocation/next"]})["status"] == 200:  # type: ignore[index]
            self.take({"call": ["POST", f"{RUNTIME}/invocation/<id>/response"], "body": "null"})


def _told(reply: http.client.HTTPResponse) -> Reply:
    return {
        "status": reply.status,
        "content_type": reply.getheader("Content-Type"),
        "body": reply.read().decode(),
        "id": reply.getheader(REQUEST_ID, ""),
        "headers": dict(reply.getheaders()),
    }


def main() -> None:
    """Take the steps, then serve."""
    probe = Probe(os.environ["AWS_LAMBDA_RUNTIME_API"])
    with (HERE / "transcript").open("w", buffering=1) as transcript:
        for step in json.loads((HERE / "steps.json").read_text()):
            print(json.dumps(probe.take(step)), file=transcript)
            if "hang" in step:
                signal.pause()
            if (code := step.get("end", 0)) < 0:
                os.kill(os.getpid(), -code)
            if "end" in step:
                os._exit(code)
    probe.serve()
    signal.pause()


if __name__ == "__main__":
    main()
