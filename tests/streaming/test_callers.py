"""Streamed responses as callers see them: boto3 and an HTTP client, through the emulator."""

from __future__ import annotations

import json
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from lambda_ric.emulator import BlockingEmulator, Emulator, Invocation, Observer, in_thread
from tests.conftest import ROOT
from tests.support.callers import client

Start = Callable[..., BlockingEmulator]

# After the first piece, each is made only when the other end of the port that the event names says so.
SOURCE = """
    import os, socket
    from lambda_ric import StreamingResponse, wait_until

    def pieces(port):
        try:
            yield b"ready"
            with socket.create_connection(("127.0.0.1", port)) as gate:
                while piece := gate.recv(100):
                    yield piece
                    if piece == b"fail":
                        raise ValueError("no more")
        finally:
            print("closed")

    def handler(event, context):
        if "pid" in event:
            return os.getpid()
        wait_until(print, "after the response")
        if "port" in event:
            return pieces(event["port"])
        headers = {"X-Two": ["a", "b"], "Content-Type": "text/event-stream"}
        port = int(event["queryStringParameters"]["port"])
        return StreamingResponse(pieces(port), 201, headers, cookies=["a=1; Path=/", "b=2"])
"""


class Seen(Observer):
    """What has happened."""

    def __init__(self) -> None:
        self.invocations: list[Invocation] = []

    def changed(self, invocation: Invocation) -> None:
        if invocation not in self.invocations:
            self.invocations.append(invocation)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the emulator with the function above."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))
    with ExitStack() as stack:

        def start(*observers: Observer) -> BlockingEmulator:
            emulator = Emulator("app.handler", task_root=tmp_path, timeout=20)
            for observer in observers:
                emulator.observers.add(observer)
            return stack.enter_context(in_thread(emulator))

        yield start


class Gate:
    """Where the function asks for its pieces."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None

    def let(self, piece: bytes) -> None:
        """Let the function make *piece*; an empty one is the end."""
        if self._connection is None:
            self._connection, _ = self._listener.accept()
        if piece:
            self._connection.sendall(piece)
        else:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def test_function_url_passes_every_piece_on_before_the_next_is_made(start: Start, gate: Gate) -> None:
    """With the status, the headers and the cookies of the response before them."""
    left = [b"two", b"three", b""]
    received = []
    with start().serve(url_mode="stream") as endpoint, httpx.Client(trust_env=False, timeout=20) as browser:
        with browser.stream("GET", f"{endpoint.url}/lambda-url/function/?port={gate.port}") as response:
            for data in response.iter_raw():
                received.append(data)
                gate.let(left.pop(0))

    assert received == [b"ready", b"two", b"three"]
    assert response.status_code == 201
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers.get_list("x-two") == ["a", "b"]
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]


def test_boto3_gets_every_piece_as_it_is_made_and_then_the_error(start: Start, gate: Gate) -> None:
    """The error's type and document are in the event that completes the stream."""
    left = [b"two", b"fail", b""]
    received: list[bytes] = []
    complete: Any = None
    with start().serve() as endpoint:
        answer = client("lambda", endpoint.url).invoke_with_response_stream(
            FunctionName="function", Payload=json.dumps({"port": gate.port})
        )
        for event in answer["EventStream"]:
            if "PayloadChunk" in event:
                received.append(event["PayloadChunk"]["Payload"])
                gate.let(left.pop(0))
            else:
                complete = event["InvokeComplete"]

    assert received == [b"ready", b"two", b"fail"]
    assert complete["ErrorCode"] == "Function.ValueError"
    assert "no more" in complete["ErrorDetails"]


def test_caller_who_waits_for_the_whole_response_gets_it_in_one_piece(start: Start, gate: Gate) -> None:
    """An invocation that is not streamed collects what the function streams."""
    with start().serve() as endpoint:
        opening = threading.Thread(target=gate.let, args=(b"",))
        opening.start()
        answer = client("lambda", endpoint.url).invoke(FunctionName="function", Payload=json.dumps({"port": gate.port}))
        opening.join()

    assert answer["Payload"].read() == b"ready"


def test_function_goes_on_when_its_caller_has_gone(start: Start, gate: Gate) -> None:
    """As on Lambda: it runs to its end, its work after the response is done, and the process serves the next."""
    seen = Seen()
    emulator = start(seen)
    with emulator.serve(url_mode="stream") as endpoint:
        before = emulator.invoke({"pid": True})
        emulator.finished(before)
        with httpx.Client(trust_env=False, timeout=20) as browser:
            with browser.stream("GET", f"{endpoint.url}/lambda-url/function/?port={gate.port}") as response:
                assert next(response.iter_raw()) == b"ready"
        gate.let(b"x" * 100)
        gate.let(b"")
        after = emulator.invoke({"pid": True})

    assert [line.text for line in seen.invocations[1].logs][1:3] == ["closed", "after the response"]
    assert after.payload == before.payload


def test_work_after_the_response_begins_when_the_caller_has_all_of_it(start: Start, gate: Gate) -> None:
    """The stream's end counts, not its beginning."""
    seen = Seen()
    emulator = start(seen)
    with emulator.serve() as endpoint:
        answer = client("lambda", endpoint.url).invoke_with_response_stream(
            FunctionName="function", Payload=json.dumps({"port": gate.port})
        )
        gate.let(b"")
        list(answer["EventStream"])
        emulator.finished(emulator.invoke({"pid": True}))

    (streamed, _) = seen.invocations
    (task,) = [span for span in streamed.spans if span.kind == "task"]
    assert streamed.answered_at is not None
    assert task.start >= streamed.answered_at
