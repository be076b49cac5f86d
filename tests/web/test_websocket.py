"""Events of a WebSocket API as ASGI's websockets: connect, message, disconnect, and what goes back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from lambda_ric.asgi import ASGIHandler
from lambda_ric.errors import UnsupportedEventError
from lambda_ric.hooks import Hooks
from lambda_ric.testing import Invoked, invoke
from lambda_ric.wsgi import WSGIHandler
from tests.support.aws_service import authorization, set_environment
from tests.support.fakes import FakeRuntimeAPI, reply

EVENTS = Path(__file__).parent / "events"
# With its signal, which is the default, pytest-timeout takes the alarm of the runtime.
pytestmark = pytest.mark.timeout(method="thread")


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRuntimeAPI]:
    """A server in the place of the management API, which takes everything but for connections that are gone."""

    def answer(request: Any) -> bytes:
        if "gone" in request.path:
            return reply(410, b'{"message": null}', x_amzn_ErrorType="GoneException")
        return reply(204 if request.method == "DELETE" else 200)

    set_environment(monkeypatch)
    services: dict[Any, Any] = {}
    monkeypatch.setattr("lambda_ric.web.websocket._SERVICES", services)
    with FakeRuntimeAPI(intercept=answer) as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", f"http://{api.address}/live")
        yield api
        for service in services.values():
            service.close()


def event(kind: str, body: str = "", **context: Any) -> Any:
    """Return an event of the *kind* connect, message or disconnect."""
    name = "websocket-connect" if kind == "connect" else "websocket-message"
    made = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    if kind == "disconnect":
        context = {"eventType": "DISCONNECT", "routeKey": "$disconnect"} | context
    made["requestContext"] |= context
    return made | ({"body": body} if body else {})


def sent(management: FakeRuntimeAPI) -> list[tuple[str, str, bytes]]:
    return [(request.method, request.path, request.body) for request in management.requests]


def served(app: Any, given: Any, hooks: Hooks | None = None, **options: Any) -> Invoked:
    return invoke(ASGIHandler(app, lifespan="off", **options), given, hooks=hooks or Hooks())


CONNECTION = "/live/@connections/ZLr0wdQfIAMCJgw%3D"


def echo(order: list[Any]) -> FastAPI:
    """Return an application as its authors write it: it greets, and answers what it hears until there is no more."""
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        if websocket.scope["aws.event"]["requestContext"]["eventType"] == "CONNECT":
            await websocket.send_text("welcome")
        try:
            while True:
                heard = await websocket.receive_text()
                order.append(heard)
                await websocket.send_text(f"echo {heard}")
        except WebSocketDisconnect as error:
            order.append(("disconnected", error.code))
        finally:
            order.append("end")

    return app


def test_connection_is_accepted_and_greeted_after_the_answer(management: FakeRuntimeAPI) -> None:
    """There is no connection before API Gateway has the answer; the run ends where the application waits for more."""
    order: list[Any] = []
    hooks = Hooks()
    hooks.after.append(lambda outcome: order.append(len(management.requests)))

    invoked = served(echo(order), event("connect"), hooks)

    assert invoked.response == {"statusCode": 200}
    assert order == [0, "end"]
    assert sent(management) == [("POST", CONNECTION, b"welcome")]
    assert {task.state for task in invoked.tasks} == {"succeeded"}


def test_message_is_answered_through_the_management_api_signed(management: FakeRuntimeAPI) -> None:
    """With the function's own credentials."""
    order: list[Any] = []

    assert served(echo(order), event("message")).response == {"statusCode": 200}
    assert order == ["hello", "end"]
    assert sent(management) == [("POST", CONNECTION, b"echo hello")]
    (request,) = management.requests
    assert request.headers["authorization"] == authorization(request, "execute-api", "us-east-1")


@pytest.mark.parametrize(("context", "code"), [({}, 1005), ({"disconnectStatusCode": 1001}, 1001)])
def test_disconnect_is_received_with_its_code(context: Any, code: int, management: FakeRuntimeAPI) -> None:
    """Nothing can be sent any more."""
    order: list[Any] = []

    assert served(echo(order), event("disconnect", **context)).response == {"statusCode": 200}
    assert order == [("disconnected", code), "end"]
    assert sent(management) == []


def test_binary_message_comes_and_goes_as_bytes(management: FakeRuntimeAPI) -> None:
    """In base64 in the event."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})

    served(app, event("message", "AAH/") | {"isBase64Encoded": True})

    assert sent(management) == [("POST", CONNECTION, b"\xff\x01\x00")]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close"}], 403),
        ([{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.http.response.body"}], 401),
        ([], 403),
    ],
    ids=["close", "response", "nothing"],
)
def test_connection_that_is_refused_has_a_status(messages: Any, status: int, management: FakeRuntimeAPI) -> None:
    """API Gateway refuses the client with it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    assert served(app, event("connect")).response == {"statusCode": status}
    assert sent(management) == []


def test_route_that_is_none_is_refused(management: FakeRuntimeAPI) -> None:
    """By the framework, as under a server."""
    assert served(FastAPI(), event("connect")).response["statusCode"] in (403, 404)


def test_subprotocol_is_chosen_in_the_answer(management: FakeRuntimeAPI) -> None:
    """Clients give up without."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][1]})

    given = event("connect")
    given["multiValueHeaders"]["Sec-WebSocket-Protocol"] = ["soap, wamp"]

    assert served(app, given).response == {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "wamp"}}


def test_close_ends_the_connection(management: FakeRuntimeAPI) -> None:
    """Through the management API."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    assert served(app, event("message")).response == {"statusCode": 200}
    assert sent(management) == [("DELETE", CONNECTION, b"")]


def test_client_that_has_gone_is_an_os_error_and_nobodys_failure(
    management: FakeRuntimeAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """As under a server."""
    invoked = served(echo([]), event("message", connectionId="gone"))

    assert invoked.response == {"statusCode": 200}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_exception_is_a_500_and_one_record(management: FakeRuntimeAPI, caplog: pytest.LogCaptureFixture) -> None:
    """API Gateway tells the client."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("secret")

    assert served(app, event("message")).response == {"statusCode": 500}
    assert [record.getMessage() for record in caplog.records] == ["Exception in ASGI application"]


def test_what_fails_after_the_answer_is_a_failed_task(management: FakeRuntimeAPI) -> None:
    """Under the route's name."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0)
        raise KeyError("too late")

    invoked = served(app, event("connect"))

    assert invoked.response == {"statusCode": 200}
    assert [(task.name, task.state) for task in invoked.tasks] == [("WebSocket $connect", "failed")]


def test_scope_is_that_of_a_websocket(management: FakeRuntimeAPI) -> None:
    """The stage is where the application is mounted; there is no other path."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    served(app, event("connect"))

    assert (seen["type"], seen["scheme"], seen["path"], seen["root_path"]) == ("websocket", "wss", "/live/", "/live")
    assert (b"sec-websocket-version", b"13") in seen["headers"]
    assert seen["client"] == ("203.0.113.7", 0)


def test_answer_never_goes_where_an_event_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is signed: whoever may invoke the function could collect signatures. An id that is none is refused."""
    invoked = served(echo([]), event("message", apiId="evil.example.com/"))

    assert isinstance(invoked.outcome.error, UnsupportedEventError)


def test_wsgi_knows_no_websockets() -> None:
    """The event is refused, with what to do."""
    handler = WSGIHandler(lambda environ, start_response: [])

    assert "WebSocket API" in str(invoke(handler, event("connect"), hooks=Hooks()).outcome.error)
