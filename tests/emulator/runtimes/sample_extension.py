"""
Running code after the response, in the way that AWS published for Python: an internal extension in a thread.

The thread takes part in every invocation, so that Lambda waits for it as well as for the runtime; the handler hands
it work through a queue. https://aws.amazon.com/blogs/compute/running-code-after-returning-a-response-from-an-aws-lambda-function/
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

EXTENSIONS = "/2020-01-01/extension"

work: queue.Queue[Any] = queue.Queue()


def extension(connection: http.client.HTTPConnection, identifier: str) -> None:
    """Ask for the event, then do what the handler of the same invocation has handed over."""
    while True:
        connection.request("GET", f"{EXTENSIONS}/event/next", headers={"Lambda-Extension-Identifier": identifier})
        event = json.loads(connection.getresponse().read())
        job = work.get()
        # A named pipe: reading waits until somebody writes.
        with Path(job["pipe"]).open() as pipe:
            print(f"{event['eventType']} {event['requestId']}: {pipe.readline().rstrip()}", flush=True)


def register() -> None:
    """Register before the runtime asks for its first event, after which Lambda takes no more registrations."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    name = {"Lambda-Extension-Name": "after-response"}
    connection.request("POST", f"{EXTENSIONS}/register", json.dumps({"events": ["INVOKE"]}), name)
    reply = connection.getresponse()
    reply.read()
    identifier = reply.headers["Lambda-Extension-Identifier"]
    threading.Thread(target=extension, args=[connection, identifier], daemon=True).start()


register()


def handler(event: Any, context: Any) -> Any:
    """Answer at once; the rest is the extension's."""
    work.put(event)
    return "accepted"
