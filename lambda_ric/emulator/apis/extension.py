"""
One extension: its states, and the event that it waits for.

    state        entered by                from
    Started      the start
    Registered   the registration          Started
    Ready        a poll                    Registered, Running
    Running      an event: `give`          Ready
    InitError    an error before its poll  Registered, InitError
    ExitError    an error                  Registered, Ready, Running, ExitError
    Exited       the end of its process    any
    LaunchError  no process                Started

States, texts and bodies are those of AWS's own emulator (internal/lambda/core/externalagent_states.go, which the
internal ones share, and rapi/rendering).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import anyio

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.span import Span
from lambda_ric.emulator.http.messages import JSON, RefusedError, Reply


class ExtensionState(Enum):
    """The states of an extension, as refusals and telemetry name them."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    EXITED = "Exited"
    LAUNCH_ERROR = "LaunchError"


# An error may be told twice, and the first one counts. A second poll is refused, unlike the runtime's.
_BEFORE = {
    ExtensionState.REGISTERED: {ExtensionState.STARTED},
    ExtensionState.READY: {ExtensionState.REGISTERED, ExtensionState.RUNNING},
    ExtensionState.INIT_ERROR: {ExtensionState.REGISTERED, ExtensionState.INIT_ERROR},
    ExtensionState.EXIT_ERROR: {
        ExtensionState.REGISTERED,
        ExtensionState.READY,
        ExtensionState.RUNNING,
        ExtensionState.EXIT_ERROR,
    },
}


class _Poll:
    """One request for the next event."""

    def __init__(self) -> None:
        self._given = anyio.Event()
        self._reply: Reply | None = None

    def give(self, reply: Reply) -> None:
        self._reply = reply
        self._given.set()

    async def reply(self) -> Reply:
        await self._given.wait()
        assert self._reply is not None
        return self._reply


@dataclass(slots=True, eq=False, kw_only=True)
class Extension:
    """One extension: *external*, a process of its own, or internal, a part of the runtime's."""

    name: str
    external: bool
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    events: tuple[str, ...] = ()
    state: ExtensionState = ExtensionState.STARTED
    error_type: str = ""
    """What it called the error that it gave up with."""
    registered_at: float | None = None
    released_at: float | None = None
    """When it was last given an event."""
    polled_at: float | None = None
    """When it last asked for the next one."""
    _poll: _Poll | None = field(default=None, repr=False)
    _due: Reply | None = field(default=None, repr=False)

    def enter(self, state: ExtensionState, *, who: str = "", called: str = "") -> None:
        """
        Go on to *state*.

        Raises:
            RefusedError: It cannot be entered from here; *who* and *called* are the names of both in the text.
        """
        if self.state not in _BEFORE[state]:
            raise self._refusal(called or state.value, who or self.identifier, "State transition is not allowed")
        self.state = state

    async def event(self, now: float) -> Reply:
        """Wait for the next event; one that came before it was asked for is there at once."""
        self.polled_at = now
        if self._due is not None:
            due, self._due = self._due, None
            self._release(now)
            return due
        # Nobody looks whether the client is still there: as on Lambda, a poll that was given up swallows an event.
        self._poll = poll = _Poll()
        return await poll.reply()

    def give(self, now: float, event: Reply) -> None:
        """Answer the poll of this extension with *event*, or its next one."""
        poll, self._poll = self._poll, None
        if poll is None:
            self._due = event
        elif self.state is ExtensionState.READY:
            self._release(now)
            poll.give(event)
        else:
            poll.give(self._refusal("Ready", self.identifier, "Concurrent state modification").reply())

    def span(self, until: float) -> Span | None:
        """Return what it did since it had an event; *until*, in seconds since 1970, if it has not asked for more."""
        if self.released_at is None:
            return None
        if self.state is ExtensionState.READY and self.polled_at is not None:
            return Span("extension", self.name, "succeeded", self.released_at, self.polled_at)
        return Span("extension", self.name, "unfinished", self.released_at, until)

    def _release(self, now: float) -> None:
        self.state = ExtensionState.RUNNING
        self.released_at = now

    def _refusal(self, target: str, who: str, reason: str) -> RefusedError:
        text = f"State transition from {self.state.value} to {target} failed for extension {who}. Error: {reason}"
        return RefusedError(403, "Extension.InvalidExtensionState", text)


def invoke_event(invocation: Invocation) -> Reply:
    """Return what an extension is told of *invocation*."""
    document = {
        "eventType": "INVOKE",
        "deadlineMs": int(invocation.deadline * 1000),
        "requestId": invocation.request_id,
        "invokedFunctionArn": invocation.function_arn,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
    }
    headers = {"Lambda-Extension-Event-Identifier": str(uuid.uuid4()), "Content-Type": JSON}
    return Reply(200, _compact(document), headers)


def shutdown_event(reason: str, deadline: float) -> Reply:
    """
    Return what an extension is told of a shutdown by *deadline*, in seconds since 1970.

    The platform's server does not label it as JSON.
    """
    document = {"eventType": "SHUTDOWN", "deadlineMs": int(deadline * 1000), "shutdownReason": reason}
    return Reply(200, _compact(document), {"Content-Type": "text/plain; charset=utf-8"})


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
