"""
What the Runtime API says to a runtime that behaves, and to one that does not.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambda_ric.emulator import Invocation, LogLine, in_thread

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

OK = '202 {"status":"OK"}'


def forbidden(before: str, after: str) -> str:
    text = f"State transition from {before} to {after} failed for runtime. Error: State transition is not allowed"
    return f'403 {{"errorMessage":"{text}","errorType":"InvalidStateTransition"}}'


def run(stand_in: StandIn, script: str, timeout: float = 10.0) -> Invocation:
    with in_thread(stand_in(script, timeout=timeout)) as emulator:
        return emulator.finished(emulator.invoke({"n": 1}))


def said(invocation: Invocation) -> list[str]:
    return [line.text for line in invocation.logs if not line.platform]


def test_event_comes_with_the_headers_of_lambda(stand_in: StandIn) -> None:
    """
    Id, deadline, ARN, trace id, nonce and content type are told with each event.
    """
    script = """
        request_id, event = next_event()
        for name in sorted(event.headers):
            say(f"{name}: {event.headers[name]}")
        respond(request_id)
        next_event()
    """
    before = time.time()
    invocation = run(stand_in, script, timeout=30)

    headers = dict(line.split(": ", 1) for line in said(invocation))
    assert headers == {
        "Content-Length": "7",
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
        "Lambda-Runtime-Deadline-Ms": headers["Lambda-Runtime-Deadline-Ms"],
        "Lambda-Runtime-Invocation-Id": invocation.nonce,
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:012345678912:function:function",
        "Lambda-Runtime-Trace-Id": invocation.trace_id,
    }
    assert before + 29 < int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000 < time.time() + 31
    assert invocation.trace_id.startswith("Root=1-")


def test_ping_is_answered_and_other_pages_are_not_there(stand_in: StandIn) -> None:
    """
    Unknown paths are a 404 in plain text, known ones with another method a 405 that names the right one.
    """
    script = """
        for method, path in [("GET", "/../ping"), ("GET", "/nowhere"), ("POST", "/invocation/next"), ("HEAD", "/x")]:
            connection.request(method, "/2018-06-01/ping" if "ping" in path else "/2018-06-01/runtime" + path)
            reply = connection.getresponse()
            say(reply.status, reply.read().decode().strip(), reply.headers["Content-Type"], reply.headers["Allow"])
        request_id, event = next_event()
        respond(request_id)
        next_event()
    """
    assert said(run(stand_in, script)) == [
        "200 pong text/plain; charset=utf-8 None",
        "404 404 page not found text/plain; charset=utf-8 None",
        "405  None GET",
        "404  text/plain; charset=utf-8 None",
    ]


def test_poll_before_the_answer_gets_the_same_event_again(stand_in: StandIn) -> None:
    """
    An event that is not answered is not over.
    """
    script = """
        first, event = next_event()
        again, event_again = next_event()
        say(first == again, event.content == event_again.content, dict(event.headers) == dict(event_again.headers))
        respond(first)
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == ["True True True"]
    assert invocation.status == "success"


def test_second_answer_is_refused_and_the_first_one_counts(stand_in: StandIn) -> None:
    """
    Nothing takes an answer back; the environment is fine.
    """
    script = """
        request_id, event = next_event()
        respond(request_id, b"first")
        tell(respond(request_id, b"second"))
        tell(respond(request_id, b"third", kind="error"))
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == [
        forbidden("RuntimeResponseSentState", "InvocationResponse"),
        forbidden("RuntimeResponseSentState", "InvocationErrorResponse"),
    ]
    assert invocation.answer is not None
    assert (invocation.answer.payload, invocation.status) == (b"first", "success")


def test_unknown_and_finished_ids_are_refused_before_the_state(stand_in: StandIn) -> None:
    """
    A request id that is not the current one is a 400, whatever the state.
    """
    script = """
        tell(respond("unknown"))
        request_id, event = next_event()
        tell(respond("unknown", kind="error"))
        respond(request_id)
        tell(respond("unknown"))
        next_event()
    """
    refused = '400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}'
    assert said(run(stand_in, script)) == [refused] * 3


def test_id_of_an_invocation_that_has_ended_is_unknown(stand_in: StandIn) -> None:
    """
    With the next poll the invocation is over, and its id worth nothing.
    """
    script = """
        request_id, event = next_event()
        respond(request_id)
        threading.Thread(target=next_event, daemon=True).start()
        while True:
            other = http.client.HTTPConnection(connection.host, connection.port)
            other.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", b"late")
            say(other.getresponse().status)
            time.sleep(0.01)
    """
    unknown = threading.Event()

    def on_log(line: LogLine) -> None:
        if line.text == "400":
            unknown.set()

    with in_thread(stand_in(script, freeze=False, on_log=on_log)) as emulator:
        emulator.invoke()

        assert unknown.wait(10)


def test_id_in_the_path_is_percent_decoded(stand_in: StandIn) -> None:
    """
    A runtime may encode the request id as a path segment asks for.
    """
    script = """
        request_id, event = next_event()
        tell(respond("".join(f"%{byte:02x}" for byte in request_id.encode())))
        next_event()
    """
    assert said(run(stand_in, script)) == [OK]


def test_nonce_of_another_attempt_is_refused(stand_in: StandIn) -> None:
    """
    A late answer with another Invocation-Id is not taken for this attempt's.
    """
    script = """
        request_id, event = next_event()
        tell(respond(request_id, b"stale", {"Lambda-Runtime-Invocation-Id": "another"}))
        nonce = event.headers["Lambda-Runtime-Invocation-Id"]
        tell(respond(request_id, b"fresh", {"Lambda-Runtime-Invocation-Id": nonce}))
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == ['410 {"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}', OK]
    assert invocation.answer is not None
    assert invocation.answer.payload == b"fresh"


def test_init_error_after_init_is_refused(stand_in: StandIn) -> None:
    """
    Init is over with the first poll.
    """
    script = """
        request_id, event = next_event()
        tell(call("POST", "/init/error", b"{}"))
        respond(request_id)
        next_event()
    """
    assert said(run(stand_in, script)) == [forbidden("Running", "InitError")]


def test_unknown_response_mode_leaves_the_runtime_stuck(stand_in: StandIn) -> None:
    """
    As on Lambda: an empty answer with an error type, and no way on until the deadline.
    """
    script = """
        request_id, event = next_event()
        tell(respond(request_id, b"x", {"Lambda-Runtime-Function-Response-Mode": "steaming"}))
        tell(call("GET", "/invocation/next"))
        time.sleep(60)
    """
    invocation = run(stand_in, script, timeout=1.0)

    assert said(invocation) == [
        '400 {"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}',
        forbidden("InvocationResponse", "Ready"),
    ]
    assert invocation.answer is not None
    assert invocation.answer.payload == b""
    assert invocation.answer.function_error == "Runtime.InvalidResponseModeHeader"
    assert invocation.status == "timeout"


@pytest.mark.parametrize("framing", ["body", "iter([body[:1000], body[1000:]]), encode_chunked=True"])
def test_response_of_the_largest_size_passes(stand_in: StandIn, framing: str) -> None:
    """
    Exactly 6,291,556 bytes are allowed, with a length or in chunks.
    """
    headers = "{}" if framing == "body" else '{"Transfer-Encoding": "chunked"}'
    script = f"""
        request_id, event = next_event()
        body = b"x" * 6291556
        tell(respond(request_id, headers={headers}, body={framing}))
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == [OK]
    assert invocation.answer is not None
    assert len(invocation.answer.payload) == 6291556


def test_response_over_the_limit_is_refused_and_the_loop_goes_on(stand_in: StandIn) -> None:
    """
    The runtime is told 413, the caller has Function.ResponseSizeTooLarge, the environment lives.
    """
    script = """
        while True:
            request_id, event = next_event()
            tell(respond(request_id, b"x" * 6291557))
    """
    with in_thread(stand_in(script)) as emulator:
        first, second = (emulator.finished(emulator.invoke()) for _ in range(2))

    text = "Exceeded maximum allowed payload size (6291556 bytes)."
    assert said(first) == [f'413 {{"errorMessage":"{text}","errorType":"RequestEntityTooLarge"}}']
    assert first.answer is not None
    assert first.answer.function_error == "Function.ResponseSizeTooLarge"
    assert first.answer.payload == (
        b'{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed '
        b'payload size (6291556 bytes)."}'
    )
    assert second.init_started_at is None


def test_body_cut_short_is_an_error_of_the_caller_and_not_the_end(stand_in: StandIn) -> None:
    """
    A response whose connection ends inside the body counts as truncated; the next poll works.
    """
    script = """
        request_id, event = next_event()
        import socket
        other = socket.create_connection((connection.host, connection.port))
        path = f"/2018-06-01/runtime/invocation/{request_id}/response"
        other.sendall(f"POST {path} HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 100\\r\\n\\r\\nshort".encode())
        other.shutdown(socket.SHUT_WR)
        reply = b""
        while data := other.recv(4096):
            reply += data
        say(reply.partition(b"\\r\\n\\r\\n")[2].decode().strip())
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == [
        '{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}'
    ]
    assert invocation.answer is not None
    assert invocation.answer.function_error == "Runtime.TruncatedResponse"
    assert invocation.frozen_at is not None


def test_garbage_on_another_connection_does_no_harm(stand_in: StandIn) -> None:
    """
    Whatever is sent to the server, the invocation in progress does not notice.
    """
    script = """
        request_id, event = next_event()
        import socket
        for garbage in [b"", b"\\x16\\x03 not http", b"GET", b"POST / HTTP/1.1\\r\\nContent-Length: -1\\r\\n\\r\\n"]:
            other = socket.create_connection((connection.host, connection.port))
            other.sendall(garbage)
            other.close()
        tell(respond(request_id))
        next_event()
    """
    invocation = run(stand_in, script)

    assert said(invocation) == [OK]
    assert invocation.status == "success"


def test_poll_that_was_given_up_swallows_the_next_event(stand_in: StandIn, tmp_path: Path) -> None:
    """
    As on Lambda nobody looks whether a waiting client is still there; a fresh poll gets the event again.
    """
    script = """
        import socket
        gone = socket.create_connection((connection.host, connection.port))
        gone.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        gone.close()
        while not os.path.exists("invoked"):
            time.sleep(0.01)
        request_id, event = next_event()
        respond(request_id, b"got it")
        next_event()
    """
    # The first line is START, written when the abandoned poll has ended the init.
    with in_thread(stand_in(script, on_log=lambda line: (tmp_path / "invoked").touch())) as emulator:
        answer = emulator.invoke()

    assert answer.payload == b"got it"
