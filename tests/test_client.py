"""Lambda's verbs over a real connection: what each asks, what it makes of the answer, and what it tries again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lambda_ric.client import RuntimeClient
from lambda_ric.connection import Connection
from lambda_ric.errors import AnswerRefusedError, ConnectionLostError, MalformedReplyError, RuntimeAPIError
from lambda_ric.failures import Failure
from lambda_ric.limits import MAX_RESPONSE
from lambda_ric.protocol import Invocation
from lambda_ric.replies import Reply
from lambda_ric.settings import Address
from tests.support.fakes import Event, FakeRuntimeAPI, Intercept, Request, reply

FAILURE = Failure(ValueError("boom"), "r-1")

Verb = Callable[[RuntimeClient], object]

NEXT: Verb = lambda client: client.next()  # noqa: E731
RESTORE: Verb = lambda client: client.restore_next()  # noqa: E731


def respond(client: RuntimeClient) -> None:
    client.respond(client.next(), b"[1]", "application/json")


def fail(client: RuntimeClient) -> None:
    client.fail(client.next(), FAILURE)


def fail_init(client: RuntimeClient) -> None:
    client.fail_init(FAILURE)


def fail_restore(client: RuntimeClient) -> None:
    client.fail_restore(FAILURE, "Runtime.AfterRestoreError")


POSTS = [
    (respond, "the response"),
    (fail, "the error"),
    (fail_init, "the init error"),
    (fail_restore, "the restore error"),
]


@pytest.fixture
def client() -> Iterator[Callable[[FakeRuntimeAPI], RuntimeClient]]:
    """Make clients, and close their connections."""
    connections: list[Connection] = []

    def make(api: FakeRuntimeAPI) -> RuntimeClient:
        connections.append(Connection(Address.parse(api.address)))
        return RuntimeClient(connections[-1])

    yield make
    for connection in connections:
        connection.close()


Make = Callable[[FakeRuntimeAPI], RuntimeClient]


def answering(answer: bytes | None, *names: str, times: int = 1000) -> Intercept:
    """Answer the first *times* requests whose last part is one of *names* with *answer*."""
    left = times

    def intercept(request: Request) -> bytes | None:
        nonlocal left
        if request.name not in names or not left:
            return None
        left -= 1
        return answer

    return intercept


# Every endpoint...


def test_next_brings_an_event(client: Make) -> None:
    """The event, and what the headers say of it."""
    with FakeRuntimeAPI(Event({"n": 1}, request_id="r-1")) as api:
        event = client(api).next()

    assert (event.request_id, event.body) == ("r-1", b'{"n": 1}')
    assert [(request.method, request.path) for request in api.requests] == [
        ("GET", "/2018-06-01/runtime/invocation/next")
    ]


def test_respond_delivers_the_body_as_it_is(client: Make) -> None:
    """Parity 35, 36."""
    with FakeRuntimeAPI(Event(request_id="r-1")) as api:
        made = client(api)
        made.respond(made.next(), b"\x00\xff", "application/unknown")

    assert api.posts[0].path == "/2018-06-01/runtime/invocation/r-1/response"
    assert api.posts[0].body == b"\x00\xff"
    assert {"content-type", "user-agent", "content-length", "host"} == set(api.posts[0].headers)
    assert api.posts[0].headers["content-type"] == "application/unknown"


def test_fail_delivers_document_type_and_cause(client: Make) -> None:
    """Parity 37, 70."""
    with FakeRuntimeAPI(Event(request_id="r-1")) as api:
        fail(client(api))

    assert api.posts[0].path == "/2018-06-01/runtime/invocation/r-1/error"
    assert api.posts[0].body == FAILURE.document()
    assert api.posts[0].headers["content-type"] == "application/json"
    assert api.posts[0].headers["lambda-runtime-function-error-type"] == "Function.ValueError"
    assert api.posts[0].headers["lambda-runtime-function-xray-error-cause"] == FAILURE.xray_cause()


@pytest.mark.parametrize(
    ("verb", "path", "error_type"),
    [
        (fail_init, "/2018-06-01/runtime/init/error", "ValueError"),
        (fail_restore, "/2018-06-01/runtime/restore/error", "Runtime.AfterRestoreError"),
    ],
)
def test_failed_environment_is_told_with_its_type(verb: Verb, path: str, error_type: str, client: Make) -> None:
    """Parity 29, 134."""
    with FakeRuntimeAPI() as api:
        verb(client(api))

    assert [(post.path, post.body) for post in api.posts] == [(path, FAILURE.document())]
    assert api.posts[0].headers["lambda-runtime-function-error-type"] == error_type
    assert api.posts[0].headers["content-type"] == "application/json"
    assert api.posts[0].headers["user-agent"].startswith("lambda-ric/")


def test_restore_is_waited_for_and_its_connection_not_used_again(client: Make) -> None:
    """Every copy of the snapshot has the same connection. Parity 132."""
    with FakeRuntimeAPI("after", intercept=answering(reply(200), "next", times=1)) as api:
        made = client(api)
        made.restore_next()
        made.next()

    assert [request.path.rpartition("runtime/")[2] for request in api.requests] == ["restore/next", "invocation/next"]
    assert [request.connection for request in api.requests] == [0, 1]


@pytest.mark.parametrize("verb", [respond, fail])
def test_invocation_id_is_echoed_if_it_came(verb: Verb, client: Make) -> None:
    """Parity 53."""
    with FakeRuntimeAPI(Event(headers={"Lambda-Runtime-Invocation-Id": "nonce-7"}), Event()) as api:
        made = client(api)
        verb(made)
        verb(made)

    assert [post.headers.get("lambda-runtime-invocation-id") for post in api.posts] == ["nonce-7", None]


def test_hostile_request_id_reaches_the_path_encoded(client: Make) -> None:
    """Parity 39."""
    with FakeRuntimeAPI(Event(request_id="a b/../c?d=e#f")) as api:
        respond(client(api))

    assert api.posts[0].path == "/2018-06-01/runtime/invocation/a%20b%2F..%2Fc%3Fd%3De%23f/response"


def test_scheme_and_path_of_the_address_are_used(client: Make) -> None:
    """Parity 3."""
    with FakeRuntimeAPI(Event(request_id="r-1")) as api:
        connection = Connection(Address.parse(f"http://{api.address}/.rt/"))
        made = RuntimeClient(connection)
        made.respond(made.next(), b"1")
        connection.close()

    assert [request.path for request in api.requests] == [
        "/.rt/2018-06-01/runtime/invocation/next",
        "/.rt/2018-06-01/runtime/invocation/r-1/response",
    ]


# ...refused polls...


@pytest.mark.parametrize("status", [201, 204, 301, 400, 403, 404, 410, 500, 503])
def test_poll_answered_with_anything_but_200_ends_the_process(status: int, client: Make) -> None:
    """And is not asked again: Lambda has said that there is nothing to wait for. Parity 43, 44."""
    with FakeRuntimeAPI(intercept=answering(reply(status, b'{"errorType":"X"}\n'), "next")) as api:
        with pytest.raises(RuntimeAPIError) as refusal:
            client(api).next()

    body = "" if status == 204 else ' {"errorType":"X"}'
    assert str(refusal.value) == f"asking for the next event failed: the Runtime API said {status}{body}"
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [204, 403, 404, 500])
def test_restore_answered_with_anything_but_200_ends_the_process(status: int, client: Make) -> None:
    """Parity 48."""
    with FakeRuntimeAPI(intercept=answering(reply(status), "next")) as api, pytest.raises(RuntimeAPIError) as refusal:
        client(api).restore_next()

    assert str(refusal.value) == f"waiting for the restore failed: the Runtime API said {status}"


# ...refused answers...


@pytest.mark.parametrize(("verb", "what"), POSTS)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_answer_is_accepted_with_any_2xx(verb: Verb, what: str, status: int, client: Make) -> None:
    """Parity 45."""
    with FakeRuntimeAPI(None, intercept=answering(reply(status), "response", "error")) as api:
        verb(client(api))

    assert len(api.posts) == 1


@pytest.mark.parametrize(("verb", "what"), POSTS)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (300, ""),
        (302, ""),
        (400, "; nothing waits for it any more"),
        (403, "; another answer was given before"),
        (404, ""),
        (410, "; it came after the timeout, or for an attempt that was given up"),
        (413, "; it is larger than Lambda takes, and the caller was told so"),
    ],
)
def test_refused_answer_lets_the_loop_go_on(verb: Verb, what: str, status: int, meaning: str, client: Make) -> None:
    """Lambda has answered the caller itself; AWS's runtime exits here. Parity 46, 47, 53."""
    with FakeRuntimeAPI(None, intercept=answering(reply(status, b"no"), "response", "error")) as api:
        with pytest.raises(AnswerRefusedError) as refusal:
            verb(client(api))

    assert refusal.value.status == status
    assert str(refusal.value) == f"posting {what} failed: the Runtime API said {status} no{meaning}"
    assert len(api.posts) == 1


@pytest.mark.parametrize(("verb", "what"), POSTS)
@pytest.mark.parametrize("status", [500, 503])
def test_answer_refused_with_5xx_ends_the_process(verb: Verb, what: str, status: int, client: Make) -> None:
    """The platform says of it: container error, exit promptly. Parity 46."""
    with FakeRuntimeAPI(None, intercept=answering(reply(status), "response", "error")) as api:
        with pytest.raises(RuntimeAPIError) as refusal:
            verb(client(api))

    assert str(refusal.value) == f"posting {what} failed: the Runtime API said {status}"


def test_what_lambda_says_is_quoted_up_to_a_limit_and_readable(client: Make) -> None:
    """A page of HTML does not belong into the log."""
    with FakeRuntimeAPI(intercept=answering(reply(500, b"\xff" + b"x" * 5000), "next")) as api:
        with pytest.raises(RuntimeAPIError) as refusal:
            client(api).next()

    assert str(refusal.value) == (
        f"asking for the next event failed: the Runtime API said 500 \N{REPLACEMENT CHARACTER}{'x' * 299}"
    )


# ...and no replies at all.


HALF = b"HTTP/1.1 200 OK\r\nX: connection: close\r\nContent-Length: 50\r\n\r\nhalf"
GARBAGE = b"GARBAGE connection: close\r\n\r\n"


@pytest.mark.parametrize("broken", [b"", HALF, GARBAGE])
def test_broken_poll_is_followed_by_a_fresh_one_at_once(broken: bytes, client: Make) -> None:
    """Only a fresh poll gets the event that the broken one may have taken. Parity 44."""
    with FakeRuntimeAPI("event", intercept=answering(broken, "next", times=1)) as api:
        event = client(api).next()

    assert event.body == b'"event"'
    assert [request.connection for request in api.requests] == [0, 1]


@pytest.mark.parametrize(("broken", "kind"), [(b"", ConnectionLostError), (GARBAGE, MalformedReplyError)])
def test_poll_that_breaks_twice_ends_the_process(broken: bytes, kind: type[Exception], client: Make) -> None:
    """There is no third try: Lambda starts a new environment. Parity 44."""
    with FakeRuntimeAPI("event", intercept=answering(broken, "next")) as api:
        with pytest.raises(kind):
            client(api).next()

    assert len(api.polls) == 2


def test_event_without_request_id_ends_the_process(client: Make) -> None:
    """It cannot be answered. Parity 51."""
    with FakeRuntimeAPI(Event(headers={"Lambda-Runtime-Aws-Request-Id": ""})) as api:
        with pytest.raises(MalformedReplyError, match="Lambda-Runtime-Aws-Request-Id"):
            client(api).next()


@pytest.mark.parametrize(("verb", "what"), POSTS)
def test_answer_that_was_lost_is_sent_once_more(verb: Verb, what: str, client: Make) -> None:
    """The kept connection may have been closed since; a second answer is refused, never taken twice."""
    with FakeRuntimeAPI(None, intercept=answering(b"", "response", "error", times=1)) as api:
        verb(client(api))

    assert len(api.posts) == 2
    assert api.posts[0].body == api.posts[1].body


@pytest.mark.parametrize(("verb", "what"), POSTS)
@pytest.mark.parametrize("broken", [b"", HALF, GARBAGE])
def test_answer_without_acknowledgement_lets_the_loop_go_on(verb: Verb, what: str, broken: bytes, client: Make) -> None:
    """Whether it arrived is unknown, so the next poll decides; after garbage it is not even sent again. Parity 46."""
    with FakeRuntimeAPI(None, intercept=answering(broken, "response", "error")) as api:
        with pytest.raises(AnswerRefusedError) as refusal:
            verb(client(api))

    assert refusal.value.status is None
    assert str(refusal.value).startswith(f"{what} was not acknowledged: ")
    assert len(api.posts) == (1 if broken == GARBAGE else 2)


SENT = b'{"errorMessage":"State transition from RuntimeResponseSentState to InvocationResponse failed for runtime."}'


def invocation(received_at: float, deadline: float) -> Invocation:
    headers = {"lambda-runtime-aws-request-id": "r-1", "lambda-runtime-deadline-ms": str(int(deadline * 1000))}
    return Invocation(Reply(200, headers, b"{}"), received_at)


def acknowledging_nothing(refusal: bytes) -> Intercept:
    """Take the first answer without a word; refuse every one behind it, as Lambda does, with *refusal*."""
    answers = iter([b""])
    return lambda request: next(answers, refusal) if request.name in ("response", "error") else None


@pytest.mark.parametrize(
    "refusal",
    [reply(403, SENT), reply(400, b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}')],
    ids=["lambda", "managed instances"],
)
@pytest.mark.parametrize("verb", [respond, fail])
def test_answer_whose_acknowledgement_was_lost_counts_when_the_second_one_is_refused(
    verb: Verb, refusal: bytes, client: Make
) -> None:
    """Lambda takes one answer: it refuses the second because it has the first, and the caller has that one, too."""
    with FakeRuntimeAPI(None, intercept=acknowledging_nothing(refusal)) as api:
        verb(client(api))

    assert len(api.posts) == 2


def test_answer_that_is_too_large_is_refused_also_where_nobody_heard_it(client: Make) -> None:
    """What Lambda has told the caller then is that it was too large."""
    with FakeRuntimeAPI(None, intercept=acknowledging_nothing(reply(403, SENT))) as api:
        asked = client(api)
        with pytest.raises(AnswerRefusedError, match="another answer was given before"):
            asked.respond(asked.next(), b"x" * (MAX_RESPONSE + 1))


def test_id_that_is_unknown_after_the_deadline_says_nothing_of_the_answer(client: Make) -> None:
    """Lambda forgets it then, whatever has come."""
    refusal = reply(400, b'{"errorType":"InvalidRequestID"}')
    with FakeRuntimeAPI(intercept=acknowledging_nothing(refusal)) as api:
        with pytest.raises(AnswerRefusedError, match="nothing waits for it any more"):
            client(api).respond(invocation(received_at=time.time() - 60, deadline=time.time() - 30), b"[1]")


def test_answer_that_was_cut_off_does_not_count_when_the_second_one_is_refused() -> None:
    """The caller has been told that it was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(Address("127.0.0.1", listener.getsockname()[1]))
        thread = threading.Thread(target=cut_off_the_first, args=(listener,))
        thread.start()
        with pytest.raises(AnswerRefusedError, match="another answer was given before"):
            RuntimeClient(connection).respond(invocation(time.time(), time.time() + 30), b"x" * MAX_RESPONSE)
        connection.close()
        thread.join(20)


def cut_off_the_first(listener: socket.socket) -> None:
    """Close the first connection behind the head of its request; refuse what comes over the second."""
    with listener.accept()[0] as first:
        first.recv(100)
    with listener.accept()[0] as second, contextlib.suppress(OSError):
        second.recv(100)
        second.sendall(reply(403, SENT, Connection="close"))
        second.shutdown(socket.SHUT_WR)
        while second.recv(1 << 20):
            pass
