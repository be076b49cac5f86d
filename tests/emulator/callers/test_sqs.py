"""
The calls to an SQS-compatible server, and servers that answer them badly.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anyio
import pytest

from lambda_ric.emulator.callers.local_service import LocalServiceError
from lambda_ric.emulator.callers.sqs import SQSQueue
from lambda_ric.errors import ConfigurationError

Call = Callable[[SQSQueue], Awaitable[Any]]


class Server(HTTPServer):
    """Gives each request the same answer."""

    reply = (200, b"{}")
    requests: list[tuple[dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body))
        status, content = self.server.reply
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def made(server: Server, call: Call) -> Any:
    async def main() -> Any:
        url = f"http://127.0.0.1:{server.server_port}"
        async with SQSQueue(f"{url}/123456789012/queue", url, "eu-west-1") as queue:
            return await call(queue)

    return anyio.run(main)


def receive(queue: SQSQueue) -> Awaitable[Any]:
    return queue.receive(10, 0)


def delete(queue: SQSQueue) -> Awaitable[Any]:
    return queue.delete([str(number) for number in range(11)])


def attributes(queue: SQSQueue) -> Awaitable[Any]:
    return queue.attributes()


def test_call_is_one_of_the_json_protocol(server: Server) -> None:
    """With an authorization that tells a server the region, and is worth nothing."""
    made(server, receive)
    ((headers, body),) = server.requests

    assert headers["X-Amz-Target"] == "AmazonSQS.ReceiveMessage"
    assert headers["Content-Type"] == "application/x-amz-json-1.0"
    assert "/eu-west-1/sqs/aws4_request" in headers["Authorization"]
    assert b"/123456789012/queue" in body


def test_more_messages_than_a_call_takes_are_deleted_in_several(server: Server) -> None:
    """Ten at a time."""
    made(server, delete)

    assert len(server.requests) == 2


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on this machine is reached without leaving it."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:1")

    assert made(server, receive) == []


@pytest.mark.parametrize(
    ("call", "status", "content", "problem"),
    [
        (receive, 200, b"<html>", "200 without JSON"),
        (receive, 200, b"[]", "200 without a JSON object"),
        (receive, 200, b"[" * 100_000, "200 without JSON"),
        (receive, 500, b"", "status 500: no reason"),
        (receive, 400, b'{"__type": "com.amazonaws.sqs#Oops"}', "status 400: com.amazonaws.sqs#Oops"),
        (receive, 200, b'{"Messages": {}, "x": 1}', None),
        (receive, 200, b'{"Messages": {"a": 1}}', "something else than messages"),
        (receive, 200, b'{"Messages": [1]}', "something else than messages"),
        (receive, 200, b'{"Messages": [{"MessageId": "a", "Body": "b"}]}', "something else than messages"),
        (
            receive,
            200,
            b'{"Messages": [{"MessageId": "a", "Body": "b", "ReceiptHandle": "c", "MessageAttributes": [1]}]}',
            "something else than messages",
        ),
        (
            receive,
            200,
            b'{"Messages": [{"MessageId": "a", "Body": "b", "ReceiptHandle": "c", "MessageAttributes": {"n": 1}}]}',
            "something else than messages",
        ),
        (delete, 200, b'{"Failed": [{"Id": "1", "Code": "ReceiptHandleIsInvalid"}]}', "ReceiptHandleIsInvalid"),
        (attributes, 200, b"{}", "no usable attributes"),
        (attributes, 200, b'{"Attributes": 1}', "no usable attributes"),
        (attributes, 200, b'{"Attributes": {"QueueArn": "queue"}}', "no usable attributes"),
        (
            attributes,
            200,
            b'{"Attributes": {"QueueArn": "a:b:c:d:e:f", "VisibilityTimeout": "soon"}}',
            "no usable attributes",
        ),
    ],
)
def test_bad_answer_is_an_error_in_words(
    server: Server, call: Call, status: int, content: bytes, problem: str | None
) -> None:
    """Nothing that a server says ends the emulator."""
    server.reply = (status, content)
    if problem is None:
        assert made(server, call) == []
        return

    with pytest.raises(LocalServiceError, match=problem):
        made(server, call)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a queue",
        "arn:aws:sns:us-east-1:1:topic",
        "ftp://localhost/1/queue",
        "http://localhost/queue",
        "http://[::1/1/q",
    ],
)
def test_queue_url_of_another_form_is_refused(url: str) -> None:
    """The account and the name are in its path."""
    with pytest.raises(ConfigurationError, match="queue URL"):
        SQSQueue(url, "http://localhost:5000", "us-east-1")
