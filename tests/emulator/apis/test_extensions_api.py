"""
What the Extensions API says to extensions, and what it tells the environment about them.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import TaskGroup

from lambda_ric.emulator import Function, Invocation, Span
from lambda_ric.emulator.apis.extension import ExtensionState
from lambda_ric.emulator.apis.extensions_api import ExtensionsAPI
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.http.messages import NOT_FOUND, Reply, Request
from lambda_ric.emulator.http.server import listening

FUNCTION = Function(handler="app.handler", name="orders", caller={})
MANAGED = Function(handler="app.handler", name="orders", caller={}, max_concurrency=2)
UNKNOWN = "a1b2c3d4-5678-90ab-cdef-0123456789ab"


class Clock:
    """A clock that goes on one second whenever it is asked to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def dispatch(api: ExtensionsAPI, request: Request) -> Reply:
    match request.method, *request.segments[1:]:
        case "POST", "extension", "register":
            return await api.register(request)
        case "GET", "extension", "event", "next":
            return await api.next(request)
        case "POST", "extension", "init", "error":
            return await api.init_error(request)
        case "POST", "extension", "exit", "error":
            return await api.exit_error(request)
    return NOT_FOUND


@dataclass
class Client:
    """Extensions, as the API sees them."""

    http: httpx.AsyncClient
    tasks: TaskGroup

    async def register(self, name: str, events: Sequence[Any] = (), **headers: str) -> httpx.Response:
        return await self.send_registration(json.dumps({"events": events}).encode(), name, **headers)

    async def send_registration(self, body: bytes, name: str = "one", **headers: str) -> httpx.Response:
        return await self.http.post(
            "/extension/register", content=body, headers={"Lambda-Extension-Name": name} | headers
        )

    async def registered(self, name: str, events: Sequence[str] = ()) -> str:
        """Register; return the identifier."""
        identifier: str = (await self.register(name, events)).headers["Lambda-Extension-Identifier"]
        return identifier

    async def next(self, identifier: str) -> httpx.Response:
        headers = [(b"Lambda-Extension-Identifier", identifier.encode("latin-1"))]
        return await self.http.get("/extension/event/next", headers=headers)

    async def tell(self, phase: str, identifier: str, error_type: str = "Extension.NoDisk") -> httpx.Response:
        headers = {"Lambda-Extension-Identifier": identifier, "Lambda-Extension-Function-Error-Type": error_type}
        return await self.http.post(f"/extension/{phase}/error", content=b"{}", headers=headers)

    async def poll(self, api: ExtensionsAPI, identifier: str) -> Callable[[], Awaitable[httpx.Response]]:
        """Ask for the next event; return, as soon as the API knows, a way to wait for it."""
        events: list[httpx.Response] = []
        answered = anyio.Event()

        async def ask() -> None:
            events.append(await self.next(identifier))
            answered.set()

        async def event() -> httpx.Response:
            await answered.wait()
            return events[0]

        extension = next(extension for extension in api.registered if extension.identifier == identifier)
        self.tasks.start_soon(ask)
        while extension.state is not ExtensionState.READY and not answered.is_set():
            await anyio.lowlevel.checkpoint()
        return event


@asynccontextmanager
async def serving(api: ExtensionsAPI) -> AsyncIterator[Client]:
    """Serve *api* to real clients."""
    async with listening(partial(dispatch, api)) as port, anyio.create_task_group() as tasks:
        address = f"http://127.0.0.1:{port}/2020-01-01"
        async with httpx.AsyncClient(base_url=address, trust_env=False, verify=False, timeout=20) as http:
            yield Client(http, tasks)
            tasks.cancel_scope.cancel()


Scenario = Callable[[ExtensionsAPI, Client], Awaitable[None]]


def run(
    scenario: Scenario,
    externals: Sequence[str] = (),
    clock: Callable[[], float] | None = None,
    function: Function = FUNCTION,
    **options: Any,
) -> None:
    """Play *scenario* against an API whose external extensions have these names."""

    async def main() -> None:
        api = ExtensionsAPI(function, externals, clock or Clock(), **options)
        async with serving(api) as client:
            await scenario(api, client)

    anyio.run(main)


def invocation(**fields: Any) -> Invocation:
    made = Invocation(event=b"{}", function_arn=FUNCTION.arn, requested_at=1000.0, **fields)
    made.start(1000.0, timeout=3.5)
    return made


def refused(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, type and text of a refusal, whose keys have the platform's order."""
    message, error_type = response.json().values()
    return response.status_code, error_type, message


def transition(
    before: str, after: str, who: str, reason: str = "State transition is not allowed"
) -> tuple[int, str, str]:
    text = f"State transition from {before} to {after} failed for extension {who}. Error: {reason}"
    return 403, "Extension.InvalidExtensionState", text


# Registration.


def test_extension_that_registers_learns_about_its_function() -> None:
    """
    The answer names function, version and handler, and has an identifier in a header.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        reply = await client.register("one", ["INVOKE"])

        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
        assert reply.text == '{"functionName":"orders","functionVersion":"$LATEST","handler":"app.handler"}\n'
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", reply.headers["Lambda-Extension-Identifier"])
        assert [(known.name, known.external, known.events) for known in api.registered] == [("one", False, ("INVOKE",))]

    run(scenario)


def test_account_is_told_to_those_who_accept_the_feature() -> None:
    """
    Lambda-Extension-Accept-Feature is a list, and what is unknown in it is passed over.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        reply = await client.register("one", **{"Lambda-Extension-Accept-Feature": "later, accountId"})

        assert list(reply.json().items())[-1] == ("accountId", "012345678912")

    run(scenario)


def test_extension_needs_a_name() -> None:
    """
    An empty name is none.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        reply = await client.send_registration(b"{}", name="")

        assert refused(reply) == (403, "Extension.InvalidExtensionName", "Empty extension name")

    run(scenario)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"events":["INVOKE"]', "unexpected end of JSON input"),
        (b'{"events":["INV', "unexpected end of JSON input"),
        (b"{'events':[]}", 'invalid character "\'" at position 1'),
        (b"\xff", "invalid character '\ufffd' at position 0"),
        (b"{}{", "invalid character '{' at position 2"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"[]", "expected a JSON object"),
        (b"1", "expected a JSON object"),
        (b'{"events":"INVOKE"}', "events: expected a list of strings"),
        (b'{"events":[1]}', "events: expected a list of strings"),
        (b'{"configurationKeys":["A"]}', "configurationKeys are deprecated; use environment variables instead"),
        (b" " * (1024 * 1024 + 1), "more than 1048576 bytes"),
    ],
)
def test_registration_that_cannot_be_understood_is_refused(body: bytes, text: str) -> None:
    """
    The text says what is wrong with the document.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        assert refused(await client.send_registration(body)) == (403, "InvalidRequestFormat", text)
        assert api.registered == []

    run(scenario)


@pytest.mark.parametrize("body", [b"null", b"{}", b'{"events":null}', b'{"events":[],"more":1}'])
def test_extension_may_want_no_events(body: bytes) -> None:
    """
    Such an extension exists for the sake of SIGTERM.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        assert (await client.send_registration(body)).status_code == 200
        assert [extension.events for extension in api.registered] == [()]

    run(scenario)


def test_names_of_keys_have_any_case() -> None:
    """
    The platform's parser is one of Go.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        await client.send_registration(b'{"Events":["INVOKE","INVOKE"]}')

        assert [extension.events for extension in api.registered] == [("INVOKE",)]

    run(scenario)


@pytest.mark.parametrize(
    ("name", "events", "text"),
    [
        ("one", ["INVOKE", "BAD"], "BAD: ErrorInvalidEventType"),
        ("one", [None], ": ErrorInvalidEventType"),
        ("one", ["SHUTDOWN"], "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"),
        ("layer", ["SHUTDOWN", "BAD"], "BAD: ErrorInvalidEventType"),
    ],
)
def test_event_that_does_not_exist_is_refused(name: str, events: list[Any], text: str) -> None:
    """
    The runtime's own process is told of a shutdown by SIGTERM, so an internal extension cannot ask for it.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        assert refused(await client.register(name, events)) == (403, "Extension.InvalidEventType", text)
        assert api.registered == []

    run(scenario, ["layer"])


def test_environment_for_many_events_at_once_tells_nobody_of_an_invocation() -> None:
    """
    There, internal extensions have no events, and external ones SHUTDOWN only.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        internal = await client.register("one", ["INVOKE"])
        external = await client.register("layer", ["INVOKE"])

        wrong = "Extension.InvalidEventType"
        assert refused(internal) == (403, wrong, "No events allowed for internal extensions")
        assert refused(external) == (403, wrong, "INVOKE: ErrorInvalidEventType")
        assert (await client.register("one")).status_code == 200
        assert (await client.register("layer", ["SHUTDOWN"])).status_code == 200

    run(scenario, ["layer"], function=MANAGED)


def test_name_is_taken_once() -> None:
    """
    An internal extension is told that there is one already, an external one that it is in another state.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        for name in ("one", "layer"):
            await client.register(name)

        text = "Extension with this name already registered"
        assert refused(await client.register("one")) == (403, "Extension.InvalidExtensionState", text)
        assert refused(await client.register("layer")) == transition("Registered", "Registered", "layer")

    run(scenario, ["layer"])


def test_eleventh_extension_is_one_too_many() -> None:
    """
    External ones count from their start on, and before a name is looked at.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        for number in range(9):
            assert (await client.register(f"one-{number}")).status_code == 200

        for name in ("another", "one-1"):
            text = "Extension limit (10) reached"
            assert refused(await client.register(name)) == (403, "Extension.TooManyExtensions", text)
        assert (await client.register("layer")).status_code == 200

    run(scenario, ["layer"])


def test_registration_closes() -> None:
    """
    Nobody comes in after the runtime has asked for its first event.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        api.close_registration()

        text = "Extension registration closed already"
        assert refused(await client.register("one")) == (403, "Extension.RegistrationClosed", text)

    run(scenario)


# Who is who.


@pytest.mark.parametrize(
    ("identifier", "error_type", "text"),
    [
        ("", "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
        ("one", "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (f"{UNKNOWN}\xe9", "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (UNKNOWN[:-1], "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (UNKNOWN, "Extension.UnknownExtensionIdentifier", f"Unknown extension {UNKNOWN}"),
        (f"urn:uuid:{UNKNOWN.upper()}", "Extension.UnknownExtensionIdentifier", f"Unknown extension {UNKNOWN}"),
        (f"{{{UNKNOWN}}}", "Extension.UnknownExtensionIdentifier", f"Unknown extension {UNKNOWN}"),
        (UNKNOWN.replace("-", ""), "Extension.UnknownExtensionIdentifier", f"Unknown extension {UNKNOWN}"),
    ],
)
def test_stranger_gets_no_event(identifier: str, error_type: str, text: str) -> None:
    """
    An identifier is a UUID in any of the forms that the platform's parser takes.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        assert refused(await client.next(identifier)) == (403, error_type, text)

    run(scenario)


@pytest.mark.parametrize("phase", ["init", "exit"])
def test_error_needs_an_identifier_then_a_type_then_an_extension(phase: str) -> None:
    """
    The checks have the platform's order.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        missing = "Missing Lambda-Extension-Identifier header"
        no_type = "Lambda-Extension-Function-Error-Type not found"
        unknown = "Unknown Lambda-Extension-Identifier"
        assert refused(await client.tell(phase, "")) == (403, "Extension.MissingExtensionIdentifier", missing)
        assert refused(await client.tell(phase, UNKNOWN, "")) == (403, "Extension.MissingHeader", no_type)
        assert refused(await client.tell(phase, UNKNOWN)) == (403, "Extension.UnknownExtensionIdentifier", unknown)

    run(scenario)


# Events.


def test_subscribers_are_told_of_an_invocation() -> None:
    """
    The event has id, deadline, ARN and trace id, and those who did not ask for it go on waiting.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        one, other = await client.registered("one", ["INVOKE"]), await client.registered("other")
        event = await client.poll(api, one)
        await client.poll(api, other)
        sent = invocation()
        api.deliver_invoke(sent)
        reply = await event()

        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
        assert re.fullmatch(r"[0-9a-f-]{36}", reply.headers["Lambda-Extension-Event-Identifier"])
        assert list(reply.json().items()) == [
            ("eventType", "INVOKE"),
            ("deadlineMs", 1003500),
            ("requestId", sent.request_id),
            ("invokedFunctionArn", FUNCTION.arn),
            ("tracing", {"type": "X-Amzn-Trace-Id", "value": sent.trace_id}),
        ]
        assert [extension.state for extension in api.registered] == [ExtensionState.RUNNING, ExtensionState.READY]

    run(scenario)


def test_external_subscribers_are_told_of_a_shutdown() -> None:
    """
    The event has deadline and reason; the platform's server takes it for text. Who did not ask for it goes on waiting.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        await client.poll(api, await client.registered("other", ["INVOKE"]))
        event = await client.poll(api, await client.registered("layer", ["SHUTDOWN"]))
        api.deliver_shutdown("spindown", 1002.0)
        reply = await event()

        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert reply.text == '{"eventType":"SHUTDOWN","deadlineMs":1002000,"shutdownReason":"spindown"}'
        assert [(known.name, known.state) for known in api.registered] == [
            ("layer", ExtensionState.RUNNING),
            ("other", ExtensionState.READY),
        ]

    run(scenario, ["layer", "other"])


def test_extension_at_work_is_told_of_a_shutdown_when_it_asks() -> None:
    """
    An event that nobody waits for is not lost.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("layer", ["INVOKE", "SHUTDOWN"])
        event = await client.poll(api, identifier)
        api.deliver_invoke(invocation())
        await event()
        api.deliver_shutdown("timeout", 1002.0)

        assert (await client.next(identifier)).json()["shutdownReason"] == "timeout"
        assert not api.ready

    run(scenario, ["layer"])


def test_second_poll_is_refused_and_a_poll_that_was_given_up_swallows_an_event() -> None:
    """
    Nobody looks whether the client is still there, so an extension must never give a poll up.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("one", ["INVOKE"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.next, identifier)
            while not api.ready:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        again = await client.next(identifier)
        api.deliver_invoke(invocation(request_id="swallowed"))
        event = await client.poll(api, identifier)
        api.deliver_invoke(invocation(request_id="seen"))

        assert refused(again) == transition("Ready", "Ready", identifier)
        assert (await event()).json()["requestId"] == "seen"

    run(scenario)


# Errors.


@pytest.mark.parametrize(("phase", "state"), [("init", "InitError"), ("exit", "ExitError")])
def test_error_is_told_once_and_nothing_may_follow(phase: str, state: str) -> None:
    """
    A second one is accepted, and changes nothing. The platform's texts call ExitError by another name.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("one")
        first, second = await client.tell(phase, identifier, "First"), await client.tell(phase, identifier, "Second")

        assert (first.status_code, first.text) == (second.status_code, second.text) == (202, '{"status":"OK"}\n')
        assert [(known.state.value, known.error_type) for known in api.registered] == [(state, "First")]
        assert refused(await client.next(identifier)) == transition(state, "Ready", identifier)
        other, called = ("exit", "Exited") if phase == "init" else ("init", "InitError")
        assert refused(await client.tell(other, identifier)) == transition(state, called, identifier)

    run(scenario)


def test_init_error_is_told_before_the_first_poll_only() -> None:
    """
    After that it is exit/error that an extension has to call.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("one", ["INVOKE"])
        event = await client.poll(api, identifier)
        waiting = await client.tell("init", identifier)
        api.deliver_invoke(invocation())
        await event()
        running = await client.tell("init", identifier)

        assert refused(waiting) == transition("Ready", "InitError", identifier)
        assert refused(running) == transition("Running", "InitError", identifier)
        assert (await client.tell("exit", identifier)).status_code == 202

    run(scenario)


def test_extension_that_gives_up_while_it_waits_gets_no_event() -> None:
    """
    Its poll ends with the next event, as a refusal.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("one", ["INVOKE"])
        event = await client.poll(api, identifier)
        await client.tell("exit", identifier)
        api.deliver_invoke(invocation())

        assert refused(await event()) == transition("ExitError", "Ready", identifier, "Concurrent state modification")

    run(scenario)


# What the environment is told.


def test_init_waits_for_every_extension() -> None:
    """
    The runtime starts when the external ones have registered; init ends when all have asked for an event.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        with anyio.move_on_after(0) as nobody:
            await api.all_registered()
        layer = await client.registered("layer")
        await api.all_registered()
        one = await client.registered("one")
        await client.poll(api, layer)
        half_way = api.ready
        await client.poll(api, one)

        assert api.ready
        assert nobody.cancelled_caught
        assert not half_way

    run(scenario, ["layer"])


def test_invoke_waits_for_those_who_were_told() -> None:
    """
    The phase is not over before each of them has asked for the next event. What others do is of no interest.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        one, other = await client.registered("one", ["INVOKE"]), await client.registered("other", ["INVOKE"])
        idle = await client.registered("idle")
        await client.poll(api, idle)
        await client.tell("exit", idle)
        events = [await client.poll(api, one), await client.poll(api, other)]
        api.deliver_invoke(invocation())
        at_work = [api.ready]
        for identifier, event in zip([one, other], events, strict=True):
            await event()
            at_work.append(api.ready)
            await client.poll(api, identifier)

        assert at_work == [False, False, False]
        assert api.ready

    run(scenario)


def test_spans_go_from_the_event_to_the_next_poll() -> None:
    """
    An extension that has not asked again is at work until now.
    """
    clock = Clock()

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        one, slow = await client.registered("one", ["INVOKE"]), await client.registered("slow", ["INVOKE"])
        events = [await client.poll(api, one), await client.poll(api, slow)]
        clock.now = 1001.0
        api.deliver_invoke(invocation())
        clock.now = 1002.0
        await events[0]()
        await client.poll(api, one)

        assert api.spans(until=1003.0) == [
            Span("extension", "one", "succeeded", 1001.0, 1002.0),
            Span("extension", "slow", "unfinished", 1001.0, 1003.0),
        ]

    run(scenario, clock=clock)


def test_end_of_a_process_fails_the_environment() -> None:
    """
    Whoever waits for the extensions goes on at once. The first failure counts.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        await client.poll(api, await client.registered("layer"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(api.all_registered)
            await anyio.lowlevel.checkpoint()
            api.exited("layer", "exit status 4")
        api.not_launched("other", "permission denied")

        assert api.failure == Failure("Extension.Crash", "extension layer: exit status 4", "Extension.Crash")
        assert not api.ready

    run(scenario, ["layer", "other"])


def test_extension_that_cannot_be_started_fails_the_environment() -> None:
    """
    Nobody waits for its registration.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        api.not_launched("layer", "permission denied")
        await api.all_registered()

        assert api.failure == Failure(
            "Extension.LaunchError", "extension layer: permission denied", "Extension.LaunchError"
        )

    run(scenario, ["layer"])


def test_failure_has_the_name_of_the_first_error_that_was_told() -> None:
    """
    To tell an error ends nothing; the process that ends because of it does.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        layer, one = await client.registered("layer"), await client.registered("one")
        await client.tell("init", one)
        await client.tell("exit", layer)
        told = api.failure is not None
        api.exited("layer", "exit status 1")

        assert not told
        assert api.failure == Failure("Extension.InitError", "extension layer: exit status 1", "Extension.InitError")
        assert api.blamed(Failure("Runtime.ExitError", "gone")) == Failure(
            "Extension.InitError", "gone", "Extension.InitError"
        )

    run(scenario, ["layer"])


def test_shutdown_takes_as_long_as_the_extensions_need() -> None:
    """
    None: killed at once. Internal ones: 500 ms for the runtime. External ones: 300 ms of two seconds.
    """

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        nobody = api.shutdown_windows
        await client.register("one")

        assert nobody is None
        assert api.shutdown_windows == (0.5, 0.5)
        assert ExtensionsAPI(FUNCTION, ["layer"], Clock()).shutdown_windows == (0.3, 2.0)

    run(scenario)


def test_environment_is_woken_by_every_turn() -> None:
    """
    It looks again whenever an extension registers, asks for an event, or ends.
    """
    turns: list[str] = []

    async def scenario(api: ExtensionsAPI, client: Client) -> None:
        identifier = await client.registered("layer")
        turns.append("registered")
        await client.poll(api, identifier)
        turns.append("polled")
        api.exited("layer", "exit status 1")

    run(scenario, ["layer"], on_turn=lambda: turns.append("turn"))

    assert turns == ["turn", "registered", "turn", "polled", "turn"]
