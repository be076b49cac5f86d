"""
Who may subscribe to telemetry, and how it reaches them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import Listener, SocketAttribute, SocketStream

from lambda_ric.emulator import Function
from lambda_ric.emulator.apis.extensions_api import ExtensionsAPI
from lambda_ric.emulator.apis.telemetry_api import LOGS_NOT_SUPPORTED, TelemetryAPI
from lambda_ric.emulator.apis.telemetry_delivery import BACKOFF, MAX_WAITING, Buffering
from lambda_ric.emulator.apis.telemetry_delivery import Subscriber as Delivered
from lambda_ric.emulator.http.messages import Reply, Request
from lambda_ric.emulator.http.server import listening

FUNCTION = Function(handler="app.handler", caller={})
NOW = 1665532815.0645
TIME = "2022-10-12T00:00:15.064Z"
# Long enough that nothing is sent because of it.
LATER = {"timeoutMs": 30_000}


def clock() -> float:
    return NOW


@dataclass
class Subscriber:
    """An extension's server, which answers as many batches with an error as *errors* says, or waits for *open*."""

    port: int = 0
    errors: int = 0
    paths: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    got_one: anyio.Event = field(default_factory=anyio.Event)
    open: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, request: Request) -> Reply:
        body = await request.body(10_000_000)
        self.paths.append(f"{request.method} {request.path}?{request.query}")
        self.headers.append(request.headers)
        self.got_one.set()
        await self.open.wait()
        if self.errors:
            self.errors -= 1
            return Reply(500)
        self.batches.append(json.loads(body))
        return Reply(200)

    @property
    def events(self) -> list[Any]:
        return [event for batch in self.batches for event in batch]


class Naps:
    """Sleeps that take no time."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await anyio.lowlevel.checkpoint()


@dataclass
class Client:
    """The extensions "one" and "other", which have registered, and the server of the former."""

    http: httpx.AsyncClient
    identifiers: dict[str, str]
    subscriber: Subscriber
    naps: Naps

    async def subscribe(self, *types: str, name: str = "one", **fields: Any) -> httpx.Response:
        document = {
            "schemaVersion": "2025-01-29",
            "types": types or ["platform", "function", "extension"],
            "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{self.subscriber.port}"},
            **fields,
        }
        return await self.send(json.dumps(document).encode(), self.identifiers[name])

    async def send(self, body: bytes, identifier: str) -> httpx.Response:
        return await self.http.put("/telemetry", content=body, headers={"Lambda-Extension-Identifier": identifier})


async def tcp_listener() -> tuple[Listener[SocketStream], int]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    return listener, listener.extra(SocketAttribute.local_port)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[TelemetryAPI, Client]]:
    extensions = ExtensionsAPI(FUNCTION, [], clock)
    subscriber, naps = Subscriber(), Naps()
    subscriber.open.set()

    async with listening(subscriber.take) as subscriber.port, anyio.create_task_group() as tasks:
        api = TelemetryAPI(extensions, tasks, clock, naps)

        async def dispatch(request: Request) -> Reply:
            return await (api.subscribe(request) if request.method == "PUT" else extensions.register(request))

        async with listening(dispatch) as port:
            address = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=address, trust_env=False, verify=False, timeout=20) as http:
                identifiers = {}
                for name in ("one", "other"):
                    reply = await http.post("/", content=b"{}", headers={"Lambda-Extension-Name": name})
                    identifiers[name] = reply.headers["Lambda-Extension-Identifier"]
                yield api, Client(http, identifiers, subscriber, naps)
        tasks.cancel_scope.cancel()


def run(scenario: Callable[[TelemetryAPI, Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving() as (api, client):
            await scenario(api, client)

    anyio.run(main)


def refused(response: httpx.Response) -> tuple[int, str, str]:
    message, error_type = response.json().values()
    return response.status_code, error_type, message


# Subscribing.


def test_subscription_is_answered_as_on_lambda() -> None:
    """
    The answer is a JSON text that is called plain.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        reply = await client.subscribe()

        assert (reply.status_code, reply.text, reply.headers["Content-Type"]) == (
            200,
            '"OK"',
            "text/plain; charset=utf-8",
        )

    run(scenario)


@pytest.mark.parametrize("schema", ["2022-07-01", "2022-12-13", "2025-01-29"])
def test_every_schema_that_lambda_knows_is_accepted(schema: str) -> None:
    """
    What they differ in does not occur here.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        assert (await client.subscribe(schemaVersion=schema)).status_code == 200

    run(scenario)


def test_stranger_may_not_subscribe() -> None:
    """
    The identifier is that of the Extensions API.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        stranger = "a1b2c3d4-5678-90ab-cdef-0123456789ab"
        missing = "Missing Lambda-Extension-Identifier header"
        unknown = f"Unknown extension {stranger}"
        assert refused(await client.send(b"{}", "")) == (403, "Extension.MissingExtensionIdentifier", missing)
        assert refused(await client.send(b"{}", stranger)) == (403, "Extension.UnknownExtensionIdentifier", unknown)

    run(scenario)


HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"schemaVersion": "2020-01-01"}, "'/schemaVersion': value must be one of "),
        ({"schemaVersion": 1}, "'/schemaVersion': value must be one of "),
        ({"types": "platform"}, "'/types': expected array"),
        ({"types": []}, "'/types': minimum 1 items required, but found 0 items"),
        ({"types": ["platform", "x"]}, "'/types/1': value must be one of "),
        ({"types": [["platform"]]}, "'/types/0': value must be one of "),
        ({"destination": "http"}, "'/destination': expected object"),
        ({"destination": {}}, "'/destination/protocol': value must be one of "),
        ({"destination": {**HTTP, "protocol": "UDP"}}, "'/destination/protocol': value must be one of "),
        ({"destination": {"protocol": "HTTP"}}, "'/destination': missing properties: 'URI'"),
        ({"destination": {"protocol": "TCP"}}, "'/destination/port': expected integer"),
        ({"destination": {"protocol": "TCP", "port": True}}, "'/destination/port': expected integer"),
        ({"destination": {"protocol": "TCP", "port": 0}}, "'/destination/port': must be >= 1 but found 0"),
        ({"destination": {"protocol": "TCP", "port": 65536}}, "'/destination/port': must be <= 65535 but found 65536"),
        ({"buffering": 1}, "'/buffering': expected object"),
        ({"buffering": {"maxItems": 999}}, "'/buffering/maxItems': must be >= 1000 but found 999"),
        ({"buffering": {"maxItems": 10001}}, "'/buffering/maxItems': must be <= 10000 but found 10001"),
        ({"buffering": {"maxBytes": 262143}}, "'/buffering/maxBytes': must be >= 262144 but found 262143"),
        ({"buffering": {"maxBytes": 1048577}}, "'/buffering/maxBytes': must be <= 1048576 but found 1048577"),
        ({"buffering": {"timeoutMs": 24}}, "'/buffering/timeoutMs': must be >= 25 but found 24"),
        ({"buffering": {"timeoutMs": 30001}}, "'/buffering/timeoutMs': must be <= 30000 but found 30001"),
        ({"buffering": {"timeoutMs": "25"}}, "'/buffering/timeoutMs': expected integer"),
    ],
)
def test_subscription_with_a_wrong_value_is_refused(fields: dict[str, Any], text: str) -> None:
    """
    The text names the place of the value.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        status, error_type, message = refused(await client.subscribe(**fields))

        assert (status, error_type) == (400, "ValidationError")
        assert message.startswith(f"schema validation error: {text}")

    run(scenario)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "unexpected end of JSON input"),
        (b"[]", "expected a JSON object"),
        (b"{}", "schema validation error: missing properties: 'schemaVersion', 'types', 'destination'"),
    ],
)
def test_subscription_that_is_none_is_refused(body: bytes, text: str) -> None:
    """
    What is missing is said at once.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        reply = await client.send(body, client.identifiers["one"])

        assert refused(reply) == (400, "ValidationError", text)

    run(scenario)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("http://example.com:80", "destination.URI host must be sandbox.localdomain"),
        ("http://10.0.0.1:80", "destination.URI host must be sandbox.localdomain"),
        ("http://sandbox.localdomain@example.com:80", "destination.URI host must be sandbox.localdomain"),
        ("https://sandbox.localdomain:80", "destination.URI host must be sandbox.localdomain"),
        ("sandbox.localdomain:80", "destination.URI host must be sandbox.localdomain"),
        ("", "destination.URI host must be sandbox.localdomain"),
        ("http://sandbox.localdomain:99999", "Port out of range 0-65535"),
        ("http://[sandbox", "Invalid IPv6 URL"),
    ],
)
def test_telemetry_goes_nowhere_but_to_this_machine(uri: str, text: str) -> None:
    """
    A name is compared, and never looked up.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        reply = await client.subscribe(destination={"protocol": "HTTP", "URI": uri})

        assert refused(reply) == (400, "ValidationError", f"Invalid destination: {text}")

    run(scenario)


def test_subscription_closes() -> None:
    """
    It is open during the init; without subscribers no record is needed after that.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        during_init = api.wanted
        api.close()

        assert (during_init, api.wanted) == (True, False)
        text = "Telemetry API subscription is closed"
        assert refused(await client.subscribe()) == (403, "Telemetry.SubscriptionClosed", text)

    run(scenario)


def test_subscribers_are_told_of_what_follows_the_init() -> None:
    """
    What they are told then is not kept for others.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe("function")
        api.close()
        api.emit("function", "a line")
        await api.flush()

        assert api.wanted
        assert [event["record"] for event in client.subscriber.events] == ["a line"]

    run(scenario)


def test_logs_api_says_that_there_is_none() -> None:
    """
    That is its documented answer outside of Lambda.
    """
    body = b'{"errorMessage":"Logs API is not supported","errorType":"Logs.NotSupported"}\n'

    assert (LOGS_NOT_SUPPORTED.status, LOGS_NOT_SUPPORTED.body) == (202, body)


# Delivery.


def test_subscriber_is_told_what_happened_before() -> None:
    """
    The subscription itself is an event as well.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        api.emit("platform.initStart", {"phase": "init"})
        await client.subscribe("platform", buffering=LATER)
        await api.flush()

        record = {"name": "one", "state": "Subscribed", "types": ["platform"]}
        assert client.subscriber.batches == [
            [
                {"time": TIME, "type": "platform.initStart", "record": {"phase": "init"}},
                {"time": TIME, "type": "platform.telemetrySubscription", "record": record},
            ]
        ]
        assert client.subscriber.headers[0]["content-type"] == "application/json"

    run(scenario)


@pytest.mark.parametrize("kind", ["platform", "function", "extension"])
def test_subscriber_gets_only_what_it_wants(kind: str) -> None:
    """
    A record belongs to the stream that its type begins with.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe(kind)
        api.emit("platform.start", {})
        api.emit("function", "a line")
        api.emit("extension", "a line")
        await api.flush()

        assert {event["type"].partition(".")[0] for event in client.subscriber.events} == {kind}

    run(scenario)


@pytest.mark.parametrize("uri", ["http://sandbox.localdomain:{}/logs?a=b", "http://sandbox:{}/logs?a=b"])
def test_path_of_the_destination_is_kept(uri: str) -> None:
    """
    Both names lead to this machine.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe(destination={"protocol": "HTTP", "URI": uri.format(client.subscriber.port)})
        await api.flush()

        assert client.subscriber.paths == ["POST /logs?a=b"]

    run(scenario)


def test_batch_is_sent_after_its_time() -> None:
    """
    Nobody has to ask for that.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe(buffering={"timeoutMs": 25})

        await client.subscriber.got_one.wait()

    run(scenario)


@pytest.mark.parametrize(
    ("limit", "line", "number"),
    [({"maxItems": 1_000}, "short", 1_000), ({"maxBytes": 262_144}, "x" * 262_144, 1)],
)
def test_batch_is_sent_when_it_is_full(limit: dict[str, int], line: str, number: int) -> None:
    """
    What comes after that is in the next one.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe("function", buffering={**LATER, **limit})
        for _ in range(number + 1):
            api.emit("function", line)
        await client.subscriber.got_one.wait()
        await api.flush()

        assert [len(batch) for batch in client.subscriber.batches] == [number, 1]

    run(scenario)


def test_line_comes_as_a_json_document_over_tcp() -> None:
    """
    A connection is kept from batch to batch, until another subscription takes its place.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        listener, port = await tcp_listener()
        received: list[bytes] = []
        closed = anyio.Event()

        async def read(stream: SocketStream) -> None:
            async with stream:
                received.append(b"".join([data async for data in stream]))
                closed.set()

        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, read)
            await client.subscribe("function", destination={"protocol": "TCP", "port": port}, buffering=LATER)
            for line in ("Zoë\n", "two"):
                api.emit("function", line)
                await api.flush()
            await client.subscribe("function")
            await closed.wait()
            tasks.cancel_scope.cancel()

        assert [json.loads(line)["record"] for line in received[0].splitlines()] == ["Zoë\n", "two"]

    run(scenario)


def test_batch_that_was_refused_is_sent_again() -> None:
    """
    The pauses grow.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        client.subscriber.errors = 2
        await client.subscribe("function")
        api.emit("function", "a line")
        await api.flush()

        assert [event["record"] for event in client.subscriber.events] == ["a line"]
        assert client.naps.taken == [*BACKOFF[:2]]

    run(scenario)


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
def test_batch_for_nobody_is_dropped_in_the_end(protocol: str) -> None:
    """
    A subscriber without a listener holds nobody up for ever.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        listener, port = await tcp_listener()
        await listener.aclose()
        uri = f"http://sandbox:{port}"
        await client.subscribe("function", destination={"protocol": protocol, "URI": uri, "port": port})
        api.emit("function", "a line")
        await api.flush()

        assert client.naps.taken == [*BACKOFF]

    run(scenario)


def test_subscriber_is_told_how_much_was_dropped() -> None:
    """
    The next batch that arrives says so.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        client.subscriber.errors = len(BACKOFF) + 1
        await client.subscribe("platform")
        await api.flush()
        api.emit("platform.start", {})
        await api.flush()

        start, dropped = client.subscriber.events
        assert start["type"] == "platform.start"
        assert dropped["type"] == "platform.logsDropped"
        assert dropped["record"].pop("droppedBytes") > 100
        assert dropped["record"] == {
            "droppedRecords": 1,
            "reason": "could not send events: http request failed with status 500",
        }

    run(scenario)


def test_subscriber_that_is_too_slow_misses_what_does_not_fit() -> None:
    """
    What is kept for it has a limit, whatever a function writes.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        client.subscriber.open = anyio.Event()
        await client.subscribe("platform", "function", buffering={"timeoutMs": 25})
        await client.subscriber.got_one.wait()
        for _ in range(MAX_WAITING + 3):
            api.emit("function", "x" * 262_144)
        client.subscriber.open.set()
        await api.flush()

        kinds = [event["type"] for event in client.subscriber.events]
        dropped = [event["record"] for event in client.subscriber.events if event["type"] == "platform.logsDropped"]
        assert kinds.count("function") == MAX_WAITING
        assert [record["droppedRecords"] for record in dropped] == [3]
        assert dropped[0]["reason"].startswith("Some logs were dropped because the downstream consumer is slower")

    run(scenario)


def test_second_subscription_takes_the_place_of_the_first() -> None:
    """
    Another extension's is not touched.
    """

    async def scenario(api: TelemetryAPI, client: Client) -> None:
        await client.subscribe("function", name="other", buffering=LATER)
        await client.subscribe("function", buffering=LATER)
        await client.subscribe("extension", buffering=LATER)
        api.emit("function", "to other")
        api.emit("extension", "to one")
        await api.flush()

        assert sorted(event["record"] for event in client.subscriber.events) == ["to one", "to other"]

    run(scenario)


def test_shutdown_hurries_what_is_there_and_not_what_its_delivery_leads_to() -> None:
    """
    A subscriber that logs a line for each delivery is sent that line, too, but at its own pace.
    """

    class Chatty:
        def __init__(self) -> None:
            self.sent: list[Sequence[bytes]] = []
            self.subscriber = Delivered(["extension"], Buffering(timeout_ms=30_000), self, clock)

        async def send(self, lines: Sequence[bytes]) -> None:
            self.sent.append(lines)
            self.subscriber.add("extension", b"{}")

        async def aclose(self) -> None:
            pass

    async def main() -> None:
        chatty = Chatty()
        chatty.subscriber.add("extension", b"{}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chatty.subscriber.run)
            await chatty.subscriber.flush()
            tasks.cancel_scope.cancel()
        assert chatty.sent == [[b"{}"]]

    anyio.run(main)
