"""What the loop does about every reply that is refused, broken or absurd: it goes on where Lambda would go on."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from lambda_ric.limits import MAX_RESPONSE
from tests.conftest import Serve, Served
from tests.support.fakes import ACCEPTED, Event, Intercept, Request, reply

# Succeeds for most events, fails for one.
HANDLER = """
from lambda_ric import wait_until

def handler(event, context):
    wait_until(print, "work after", event)
    if event == "bad":
        raise ValueError("the handler's own")
    return event
"""

CUT = b"HTTP/1.1 202 Accepted\r\nX: connection: close\r\nContent-Length: 99\r\n\r\nonly so much"
GARBAGE = b"GARBAGE connection: close\r\n\r\n"


def first(name: str, answer: bytes, *, times: int = 1) -> Intercept:
    """Answer the first *times* requests whose path ends in *name* with *answer*."""
    left = times

    def intercept(request: Request) -> bytes | None:
        nonlocal left
        if request.name != name or not left:
            return None
        left -= 1
        return answer

    return intercept


def asked(served: Served) -> list[str]:
    """Return the last part of every path, in order."""
    return [request.name for request in served.api.requests]


def runtime_lines(served: Served) -> list[str]:
    """Return what the runtime has logged of itself, without level, time and the refusal that ends every script."""
    lines = [line.split("\t", 2) for line in served.lines if re.match(r"\[(ERROR|WARNING)\]\t", line)]
    assert lines[-1][2] == "\tasking for the next event failed: the Runtime API said 410 end of the test"
    return [rest for _, _, rest in lines[:-1]]


# Refused answers...


REFUSALS = [(302, ""), (400, "; nothing waits for it any more"), (403, "; another answer was given before"), (404, "")]
REFUSALS += [(410, "; it came after the timeout, or for an attempt that was given up")]
REFUSALS += [(413, "; it is larger than Lambda takes, and the caller was told so")]


@pytest.mark.parametrize(("status", "meaning"), REFUSALS)
@pytest.mark.parametrize(("event", "name"), [("good", "response"), ("bad", "error")])
def test_refused_answer_is_logged_and_the_next_event_served(
    serve: Serve, event: str, name: str, status: int, meaning: str
) -> None:
    """One line, no error after a response, the environment lives; AWS's runtime exits. Parity 46, 53, 127."""
    served = serve(HANDLER, Event(event, request_id="r-1"), "good", intercept=first(name, reply(status, b"no")))

    assert asked(served) == ["next", name, "next", "response", "next"]
    assert runtime_lines(served) == [f"r-1\tposting the {name} failed: the Runtime API said {status} no{meaning}"]
    assert [line for line in served.lines if line.startswith("work")] == [f"work after {event}", "work after good"]
    assert served.stderr == ""


@pytest.mark.parametrize(("event", "name"), [("good", "response"), ("bad", "error")])
@pytest.mark.parametrize("status", [500, 503])
def test_answer_refused_with_5xx_ends_the_process(serve: Serve, event: str, name: str, status: int) -> None:
    """The platform says of it: container error, exit promptly. Parity 46."""
    served = serve(HANDLER, event, "good", intercept=first(name, reply(status, b"down")))

    assert asked(served) == ["next", name]
    assert served.lines[-1].endswith(f"\tposting the {name} failed: the Runtime API said {status} down")
    assert (served.exit_code, served.stderr) == (1, "")


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_2xx_accepts_an_answer(serve: Serve, status: int) -> None:
    """Parity 45."""
    served = serve(HANDLER, "good", "good", intercept=first("response", reply(status)))

    assert asked(served) == ["next", "response", "next", "response", "next"]
    assert runtime_lines(served) == []


@pytest.mark.parametrize(("event", "name"), [("good", "response"), ("bad", "error")])
def test_answer_whose_connection_was_lost_is_sent_once_more(serve: Serve, event: str, name: str) -> None:
    """Lambda may have closed the kept connection. Parity 46."""
    for broken in (b"", CUT):
        served = serve(HANDLER, event, "good", intercept=first(name, broken))

        assert asked(served) == ["next", name, name, "next", "response", "next"]
        assert runtime_lines(served) == []


@pytest.mark.parametrize(
    ("answer", "why", "posts"),
    [
        (b"", "the connection was closed without a reply", 2),
        (CUT, "the connection was closed in the middle of a reply", 2),
        (GARBAGE, "not the first line of an HTTP/1.1 reply: 'GARBAGE connection: close'", 1),
    ],
)
@pytest.mark.parametrize(("event", "name"), [("good", "response"), ("bad", "error")])
def test_answer_without_acknowledgement_is_logged_and_the_next_event_served(
    serve: Serve, event: str, name: str, answer: bytes, why: str, posts: int
) -> None:
    """Whether it has arrived is unknown; the poll that follows settles it. Parity 46."""
    served = serve(HANDLER, Event(event, request_id="r-1"), "good", intercept=first(name, answer, times=posts))

    assert asked(served) == ["next", *[name] * posts, "next", "response", "next"]
    assert runtime_lines(served) == [f"r-1\tthe {name} was not acknowledged: {why}"]
    assert served.stderr == ""


def test_response_over_the_limit_is_refused_and_the_next_event_served(serve: Serve) -> None:
    """6,291,556 bytes pass, one more does not. Parity 46, 81."""

    def intercept(request: Request) -> bytes | None:
        return reply(413, b"too large") if len(request.body) > MAX_RESPONSE else None

    served = serve(
        "def handler(event, context): return b'x' * event",
        MAX_RESPONSE,
        MAX_RESPONSE + 1,
        7,
        intercept=intercept,
    )

    assert asked(served) == ["next", "response"] * 3 + ["next"]
    assert [len(post.body) for post in served.posts] == [6_291_556, 6_291_557, 7]
    assert len(runtime_lines(served)) == 1


# ...refused and broken polls...


@pytest.mark.parametrize("status", [204, 301, 400, 403, 404, 410, 500, 503])
def test_refused_poll_ends_the_process_with_one_line(serve: Serve, status: int) -> None:
    """Nothing but 200 is an event. AWS's runtime adds a traceback. Parity 43, 44."""
    served = serve(HANDLER, "good", "good", intercept=first("next", reply(status, b"" if status == 204 else b"no")))

    (line,) = served.lines
    said = "204" if status == 204 else f"{status} no"
    assert re.fullmatch(rf"\[ERROR\]\t\S+Z\t\tasking for the next event failed: the Runtime API said {said}", line)
    assert (served.exit_code, served.stderr, asked(served)) == (1, "", ["next"])


@pytest.mark.parametrize("broken", [b"", CUT, GARBAGE])
def test_broken_poll_is_followed_by_a_fresh_one(serve: Serve, broken: bytes) -> None:
    """Silently: the event is not lost. Parity 44."""
    served = serve(HANDLER, "good", "good", intercept=first("next", broken))

    assert asked(served) == ["next", "next", "response", "next", "response", "next"]
    assert [request.connection for request in served.api.requests] == [0, 1, 1, 1, 1, 1]
    assert runtime_lines(served) == []


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "the connection was closed without a reply"),
        (CUT, "the connection was closed in the middle of a reply"),
        (GARBAGE, "not the first line of an HTTP/1.1 reply: 'GARBAGE connection: close'"),
        (reply(200, b"{}", Connection="close"), "the next event came without the header Lambda-Runtime-Aws-Request-Id"),
    ],
)
def test_poll_that_stays_broken_ends_the_process_with_one_line(serve: Serve, broken: bytes, why: str) -> None:
    """AWS's runtime adds a traceback. Parity 44, 51."""
    served = serve(HANDLER, "good", intercept=first("next", broken, times=2))

    (line,) = served.lines
    assert re.match(rf"\[ERROR\]\t\S+Z\t\t{re.escape(why)}", line)
    assert (served.exit_code, served.stderr) == (1, "")


def test_connection_that_is_closed_between_two_events_is_replaced(serve: Serve) -> None:
    """As the server asked for. Parity 40."""
    served = serve(HANDLER, "good", "good", intercept=first("response", reply(202, Connection="close")))

    assert [request.connection for request in served.api.requests] == [0, 0, 1, 1, 1]
    assert runtime_lines(served) == []


# ...absurd events...


@pytest.mark.parametrize(
    "deadline",
    ["", "0", "-1", "soon", "1e3", "3600000", "1" + "0" * 30, "1800000000000000000", "9" * 5000],
    ids=lambda deadline: deadline[:20] or "missing",
)
def test_absurd_deadline_is_taken_for_none(serve: Serve, deadline: str) -> None:
    """Zero and text end AWS's runtime with SIGABRT, an emulator's is 10⁶ times too far ahead. Parity 50."""
    served = serve(
        """
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(print, "work")
            return context.get_remaining_time_in_millis()
        """,
        *[Event(headers={"Lambda-Runtime-Deadline-Ms": deadline})] * 2,
    )

    assert [890_000 < left <= 900_000 for left in served.answers] == [True, True]
    assert served.lines.count("work") == 2
    assert runtime_lines(served) == []


def test_missing_content_type_is_json(serve: Serve) -> None:
    """It ends AWS's runtime with SIGSEGV. Parity 49."""
    served = serve(HANDLER, Event({"a": 1}, headers={"Content-Type": ""}))

    assert served.answers == [{"a": 1}]


@pytest.mark.parametrize(
    "headers",
    [
        dict.fromkeys(("Deadline-Ms", "Invoked-Function-Arn"), ""),
        dict.fromkeys(("Trace-Id", "Client-Context", "Cognito-Identity", "Aws-Tenant-Id", "Invocation-Id"), " "),
    ],
    ids=["absent", "blank"],
)
def test_event_with_little_more_than_a_request_id_is_served(serve: Serve, headers: dict[str, str]) -> None:
    """Managed instances send every header, with nothing in it. Parity 34."""
    served = serve(
        """
        def handler(event, context):
            return [event, context.client_context, context.tenant_id, context.trace_id, context.invocation_id]
        """,
        Event("x", headers={f"Lambda-Runtime-{name}": value for name, value in headers.items()}),
    )

    assert served.answers == [["x", None, None, None, None]]
    assert "lambda-runtime-invocation-id" not in served.posts[0].headers


def test_names_of_headers_are_read_in_any_case(serve: Serve) -> None:
    """Parity 34."""
    headers = {"Lambda-Runtime-Aws-Request-Id": "", "LAMBDA-RUNTIME-AWS-REQUEST-ID": "upper"}
    headers |= {"Content-Type": "", "content-TYPE": "text/plain"}

    served = serve("def handler(event, context): return [context.aws_request_id, event]", Event(b"a", headers=headers))

    assert served.answers == [["upper", "a"]]


@pytest.mark.parametrize(
    ("request_id", "segment"),
    [("a b", "a%20b"), ("a/../b", "a%2F..%2Fb"), ("a?b#c", "a%3Fb%23c"), ("%41", "%2541"), ("ü", "%C3%BC")],
)
def test_hostile_request_id_is_answered(serve: Serve, request_id: str, segment: str) -> None:
    """A space in the id ends AWS's runtime. Parity 39."""
    for event, name in (("good", "response"), ("bad", "error")):
        served = serve(HANDLER, Event(event, request_id=request_id))

        assert served.posts[0].path == f"/2018-06-01/runtime/invocation/{segment}/{name}"


def test_hostile_headers_of_an_event_do_no_harm(serve: Serve) -> None:
    """Characters of any kind in every header that goes somewhere else."""
    odd = "ü\u2028\x1b[31m日本\x7f"
    headers = dict.fromkeys(
        ("Lambda-Runtime-Invocation-Id", "Lambda-Runtime-Trace-Id", "Lambda-Runtime-Aws-Tenant-Id", "Content-Type"), odd
    )

    served = serve(
        """
        import os
        def handler(event, context):
            return [context.invocation_id, os.environ["_X_AMZN_TRACE_ID"], context.tenant_id]
        """,
        Event(headers=headers),
    )

    assert served.answers == [[odd, odd, odd]]
    assert served.posts[0].headers["lambda-runtime-invocation-id"].encode("latin-1") == odd.encode()


def test_null_character_in_a_header_is_a_broken_poll(serve: Serve) -> None:
    """No variable of the environment can hold it; no HTTP server may send it."""
    served = serve(HANDLER, Event("good", headers={"Lambda-Runtime-Trace-Id": "a\0b"}), "good")

    assert asked(served) == ["next", "next", "response", "next"]
    assert runtime_lines(served) == []


# ...and large, slow and unusual but right ones.


def test_event_and_response_of_six_megabytes_are_carried(serve: Serve) -> None:
    """The largest that Lambda takes. Parity 35."""
    payload = "x" * (6 * 1024 * 1024)

    served = serve("def handler(event, context): return event", payload)

    assert served.answers == [payload]
    assert served.posts[0].headers["content-length"] == str(len(payload) + 2)
    assert "transfer-encoding" not in served.posts[0].headers
    assert "expect" not in served.posts[0].headers


def test_event_in_chunks_after_a_100_continue_is_served(serve: Serve) -> None:
    """Parity 34."""
    wire = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nlambda-runtime-aws-request-id: r-1\r\n"
        b'Content-Type: application/json\r\n\r\n3;a=b\r\n{"a\r\n5\r\n": 1}\r\n0\r\nTrailer: x\r\n\r\n'
    )

    served = serve("def handler(event, context): return event", "second", intercept=first("next", wire))

    assert served.answers == [{"a": 1}, "second"]
    assert {request.connection for request in served.api.requests} == {0}


def test_all_events_come_over_one_connection(serve: Serve) -> None:
    """Parity 40."""
    served = serve(HANDLER, *["good", "bad"] * 5)

    assert len(served.posts) == 10
    assert {request.connection for request in served.api.requests} == {0}


def test_proxy_of_the_environment_is_not_asked(serve: Serve) -> None:
    """Parity 40."""
    served = serve(HANDLER, "good", env={"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"})

    assert served.answers == ["good"]


def test_late_event_is_waited_for_whatever_the_functions_default_timeout(serve: Serve) -> None:
    """No timeout on the poll: a poll that was given up swallows the event. Parity 40."""

    def intercept(request: Request) -> None:
        if request.name == "next":
            time.sleep(0.2)

    served = serve(
        """
        import socket
        socket.setdefaulttimeout(0.01)
        def handler(event, context): return event
        """,
        "late",
        intercept=intercept,
    )

    assert served.answers == ["late"]
    assert asked(served) == ["next", "response", "next"]


def test_threads_go_on_while_an_answer_is_posted(serve: Serve, tmp_path: Path) -> None:
    """AWS's runtime holds the interpreter's lock through the whole post. Parity 52."""
    ticked = tmp_path / "ticked"

    def intercept(request: Request) -> bytes:
        if request.name != "response":
            return Event().encode() if not ticked.exists() else reply(410, b"end of the test")
        (tmp_path / "posted").touch()
        return ACCEPTED if _appears(ticked) else reply(500)

    served = serve(
        """
        import os, threading, time

        def tick():
            while not os.path.exists("posted"):
                time.sleep(0.005)
            open("ticked", "w").close()

        def handler(event, context):
            threading.Thread(target=tick).start()
        """,
        intercept=intercept,
    )

    assert asked(served) == ["next", "response", "next"]


def _appears(path: Path) -> bool:
    until = time.monotonic() + 10
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.005)
    return path.exists()


def test_poll_survives_that_the_process_is_frozen_and_thawed(serve: Serve) -> None:
    """As Lambda does between two events: the connection is still the same."""
    process: list[int] = []

    def intercept(request: Request) -> None:
        if request.name == "response":
            process.append(request.json())
        elif process:
            os.kill(process[0], signal.SIGSTOP)
            os.kill(process[0], signal.SIGCONT)

    served = serve("import os\ndef handler(event, context): return os.getpid()", 1, 2, intercept=intercept)

    assert len(served.posts) == 2
    assert {request.connection for request in served.api.requests} == {0}
