"""The Runtime API through an httpx client of the user's: the same calls, the same meaning of every reply."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import respx

from lambda_ric import protocol
from lambda_ric.client import RuntimeClient
from lambda_ric.connection import Connection
from lambda_ric.errors import AnswerRefusedError, ConnectionLostError, MalformedReplyError, RuntimeAPIError
from lambda_ric.event_loop import EventLoop
from lambda_ric.failures import Failure
from lambda_ric.hooks import Hooks
from lambda_ric.httpx_connection import HttpxConnection
from lambda_ric.interrupt import Interrupt
from lambda_ric.logs import Logs
from lambda_ric.protocol import NEXT
from lambda_ric.runtime import Runtime
from lambda_ric.settings import Address, Settings
from tests.conftest import CLEAN_ENVIRONMENT
from tests.support.fakes import Event, FakeRuntimeAPI, reply

URL = "http://127.0.0.1:9001/2018-06-01/runtime"
EVENT = {"Lambda-Runtime-Aws-Request-Id": "r-1", "Lambda-Runtime-Deadline-Ms": "1"}


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A client as a user would make it."""
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def client(http: httpx.Client) -> RuntimeClient:
    """The Runtime API's client over it."""
    return RuntimeClient(HttpxConnection(http, Address("127.0.0.1", 9001)))


def test_every_verb_goes_to_its_endpoint(client: RuntimeClient, respx_mock: respx.MockRouter) -> None:
    """The protocol is the same; only the way differs."""
    respx_mock.get(f"{URL}/invocation/next").respond(200, headers=EVENT, json={"n": 1})
    respx_mock.get(f"{URL}/restore/next").respond(200)
    for path in ("invocation/r-1/response", "invocation/r-1/error", "init/error", "restore/error"):
        respx_mock.post(f"{URL}/{path}").respond(202)
    failure = Failure(ValueError("boom"), "r-1")

    event = client.next()
    client.respond(event, b"[1]", "text/plain")
    client.fail(event, failure)
    client.fail_init(failure)
    client.restore_next()
    client.fail_restore(failure, "Runtime.AfterRestoreError")

    requests = [call.request for call in respx_mock.calls]
    assert event.body == b'{"n":1}'
    assert [request.content for request in requests] == [
        b"", b"[1]", failure.document(), failure.document(), b"", failure.document(),
    ]  # fmt: skip
    assert requests[1].headers["content-type"] == "text/plain"
    assert requests[2].headers["lambda-runtime-function-xray-error-cause"] == failure.xray_cause()
    assert requests[3].headers["lambda-runtime-function-error-type"] == "ValueError"
    assert {request.headers["user-agent"] for request in requests} == {protocol.USER_AGENT}


def test_event_is_waited_for_without_a_timeout_and_answers_with_the_clients_own(
    client: RuntimeClient, respx_mock: respx.MockRouter
) -> None:
    """The next event may be hours away. Parity 40."""
    respx_mock.get(f"{URL}/invocation/next").respond(200, headers=EVENT)
    respx_mock.post(f"{URL}/invocation/r-1/response").respond(202)

    client.respond(client.next(), b"")

    waits = [set(call.request.extensions["timeout"].values()) for call in respx_mock.calls]
    assert waits == [{None}, {5.0}]


def test_path_of_the_address_comes_before_every_path(http: httpx.Client, respx_mock: respx.MockRouter) -> None:
    """Parity 3."""
    route = respx_mock.get("http://localhost:9000/.rt/2018-06-01/runtime/invocation/next").respond(200, headers=EVENT)

    RuntimeClient(HttpxConnection(http, Address.parse("http://localhost:9000/.rt/"))).next()

    assert route.called


@pytest.mark.parametrize("status", [204, 301, 403, 410, 500])
def test_refused_poll_ends_the_process(status: int, client: RuntimeClient, respx_mock: respx.MockRouter) -> None:
    """Parity 43, 44."""
    respx_mock.get(f"{URL}/invocation/next").respond(status, text="no")

    with pytest.raises(RuntimeAPIError, match=f"the Runtime API said {status} no"):
        client.next()


@pytest.mark.parametrize("status", [302, 400, 403, 410, 413])
def test_refused_answer_lets_the_loop_go_on(status: int, client: RuntimeClient, respx_mock: respx.MockRouter) -> None:
    """Parity 46."""
    respx_mock.post(f"{URL}/init/error").respond(status, text="no")

    with pytest.raises(AnswerRefusedError) as refusal:
        client.fail_init(Failure(ValueError()))

    assert refusal.value.status == status


def test_redirect_is_not_followed_even_by_a_client_that_would(respx_mock: respx.MockRouter) -> None:
    """No event goes to where a reply points."""
    elsewhere = respx_mock.get("http://example.org/").respond(200, headers=EVENT)
    respx_mock.get(f"{URL}/invocation/next").respond(307, headers={"Location": "http://example.org/"})
    with httpx.Client(trust_env=False, follow_redirects=True) as http:
        client = RuntimeClient(HttpxConnection(http, Address("127.0.0.1", 9001)))

        with pytest.raises(RuntimeAPIError, match="said 307"):
            client.next()

    assert not elsewhere.called


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("refused"), ConnectionLostError),
        (httpx.ReadError("reset"), ConnectionLostError),
        (httpx.ReadTimeout("slow"), ConnectionLostError),
        (httpx.RemoteProtocolError("illegal status line"), MalformedReplyError),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), ConnectionLostError),
        (httpx.DecodingError("not gzip"), ConnectionLostError),
    ],
)
def test_errors_of_httpx_become_ours(
    raised: Exception, kind: type[Exception], http: httpx.Client, respx_mock: respx.MockRouter
) -> None:
    """No exception of the library's leaves the module. Parity 44."""
    respx_mock.get(f"{URL}/invocation/next").mock(side_effect=raised)

    with pytest.raises(kind, match="no reply from the Runtime API at http://127"):
        HttpxConnection(http, Address("127.0.0.1", 9001)).send(NEXT)


def test_closed_client_is_a_clear_error() -> None:
    """Its own is a RuntimeError, which would end in a traceback."""
    http = httpx.Client(trust_env=False)
    http.close()

    with pytest.raises(ConnectionLostError, match="the httpx client has been closed"):
        HttpxConnection(http, Address("127.0.0.1", 9001)).send(NEXT)


# Against a real server...


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (b"", ConnectionLostError),
        (b"HTTP/1.1 200 OK\r\nX: connection: close\r\nContent-Length: 9\r\n\r\nhalf", ConnectionLostError),
        (b"GARBAGE connection: close\r\n\r\n", MalformedReplyError),
        (b"HTTP/1.1 200 OK\r\nA: \x00 connection: close\r\n\r\n", MalformedReplyError),
    ],
)
def test_broken_reply_is_the_same_error_as_over_the_socket(
    wire: bytes, kind: type[Exception], http: httpx.Client
) -> None:
    """What the loop does next must not depend on the way. Parity 44."""
    with FakeRuntimeAPI(intercept=lambda request: wire) as api:
        address = Address.parse(api.address)
        for transport in (HttpxConnection(http, address), Connection(address)):
            with pytest.raises(kind):
                transport.send(NEXT)


@pytest.mark.parametrize(
    ("request_id", "nonce"),
    [("r-1", "n-1"), ("a b/../c?d=e#f", "n 2"), ("ü\u2028", "µ\x85\u2028"), ("a%20b", "日本")],
)
def test_request_is_the_same_as_over_the_socket(request_id: str, nonce: str, http: httpx.Client) -> None:
    """Path, body and headers of ours; httpx adds some of its own. Parity 39, 53."""
    event = Event(request_id=request_id, headers={"Lambda-Runtime-Invocation-Id": nonce})
    with FakeRuntimeAPI(event, event) as api:
        for transport in (HttpxConnection(http, Address.parse(api.address)), Connection(Address.parse(api.address))):
            client = RuntimeClient(transport)
            client.respond(client.next(), b"[1]", "text/plain")
            transport.close()

    over_httpx, over_socket = api.posts
    assert over_httpx.path == over_socket.path
    assert over_httpx.body == over_socket.body
    assert over_socket.headers.items() <= over_httpx.headers.items()


def test_function_is_served_over_a_client_of_its_own(tmp_path: Path) -> None:
    """`lambda_ric.run` takes a handler and a transport; event hooks see every call."""
    (tmp_path / "main.py").write_text(
        textwrap.dedent(
            """
            import os, sys
            import httpx, lambda_ric
            from lambda_ric.httpx_connection import HttpxConnection
            from lambda_ric.settings import Address

            def handler(event, context):
                lambda_ric.wait_until(print, "in the background", event)
                if event == "bad":
                    raise ValueError("bad")
                return event * 2

            def seen(request):
                print(request.method, request.url.path.rpartition("/")[2])

            with httpx.Client(trust_env=False, event_hooks={"request": [seen]}) as client:
                address = Address.parse(os.environ["AWS_LAMBDA_RUNTIME_API"])
                sys.exit(lambda_ric.run(handler, transport=HttpxConnection(client, address)))
            """
        )
    )
    with FakeRuntimeAPI("ab", "bad") as api:
        done = subprocess.run(
            [sys.executable, "main.py"],
            cwd=tmp_path,
            env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    assert [(post.name, post.json()) for post in api.posts[:1]] == [("response", "abab")]
    assert api.posts[1].json()["errorType"] == "ValueError"
    assert {request.connection for request in api.requests} == {0}
    printed = [line for line in done.stdout.splitlines() if line.startswith(("GET", "POST", "in the"))]
    assert printed[:4] == ["GET next", "POST response", "in the background ab", "GET next"]
    assert printed[4:] == ["POST error", "in the background bad", "GET next"]
    assert "asking for the next event failed: the Runtime API said 410" in done.stdout
    assert (done.returncode, done.stderr) == (1, "")


def test_stream_goes_beside_the_client(http: httpx.Client) -> None:
    """httpx cannot send trailers; events and plain answers still come and go through it."""

    def handler(event: object, context: object) -> object:
        return iter([b"half", 17]) if event else event

    with FakeRuntimeAPI(False, True) as api:
        address = Address.parse(api.address)
        connection = HttpxConnection(http, address)
        client = RuntimeClient(connection)
        settings = Settings({})
        event_loop = EventLoop(Interrupt())
        runtime = Runtime(handler, client, settings, Logs(settings), Hooks(), event_loop=event_loop)
        with pytest.raises(RuntimeAPIError, match="410"):
            runtime.run(client.next)
        event_loop.close()
        connection.close()

    assert [post.body for post in api.posts] == [b"false", b"half"]
    assert api.posts[1].trailers["lambda-runtime-function-error-type"] == "Runtime.MarshalError"
    assert [request.connection for request in api.requests] == [0, 0, 0, 1, 0]


def test_reply_says_what_it_was_answered(http: httpx.Client) -> None:
    """Status, headers in any case, body."""
    with FakeRuntimeAPI(intercept=lambda request: reply(200, b"body", X_Some="thing")) as api:
        received = HttpxConnection(http, Address.parse(api.address)).send(NEXT)

    assert (received.status, received.headers.get("x-some"), received.body) == (200, "thing", b"body")
