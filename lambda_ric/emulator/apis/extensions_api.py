"""
The Extensions API of one environment: who may register, and who is told what.

Order of checks, texts and status codes are those of AWS's own emulator (internal/lambda/rapi/handler/agent*.go).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import anyio

from lambda_ric import protocol
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.span import Span
from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.messages import RefusedError, Reply, Request, json_reply

from .documents import read_document
from .extension import Extension, ExtensionState, invoke_event, shutdown_event

MAX_EXTENSIONS = 10

ACCEPTED = json_reply(202, {"status": "OK"})

_NAME = protocol.EXTENSION_NAME.lower()
_FEATURES = "lambda-extension-accept-feature"
_ERROR_TYPE = "Lambda-Extension-Function-Error-Type"
_IDENTIFIER = protocol.EXTENSION_IDENTIFIER
# What the platform's parser takes for an id: https://pkg.go.dev/github.com/google/uuid#Parse
_UUID = re.compile(
    r"(?:urn:uuid:)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}"
    r"|[0-9a-f]{32}",
    re.IGNORECASE,
)


class ShutdownWindows(NamedTuple):
    """How many seconds, from the start of a shutdown, the runtime may take, and everybody together."""

    runtime: float
    total: float


def _ignore() -> None:
    pass


class ExtensionsAPI:
    """
    The far side of the extensions of *function*, from a start of its environment to the next reset.

    *externals* are the names of the extensions that the platform starts.
    *on_turn* is called when there may be news for the environment. One that
    serves many events at once has rules of its own: it tells nobody of an invocation.
    """

    def __init__(
        self,
        function: Function,
        externals: Sequence[str],
        clock: Callable[[], float],
        on_turn: Callable[[], None] = _ignore,
    ) -> None:
        self.failure: Failure | None = None
        """Why the environment cannot go on: a process has ended, or could not be started."""
        self.error_type: str | None = None
        """What the platform files a failure under: the first error that an extension told."""
        self._function = function
        self._clock = clock
        self._on_turn = on_turn
        self._managed = bool(function.max_concurrency)
        self._open = True
        self._moved = anyio.Event()
        self._extensions = [Extension(name=name, external=True) for name in externals]
        self._awaited: list[Extension] | None = None

    # What extensions ask for...

    async def register(self, request: Request) -> Reply:
        """Accept an extension, or say why not."""
        name = request.headers.get(_NAME, "")
        if not name:
            raise RefusedError(403, "Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = _events(await read_document(request))
        except ValueError as exc:
            raise RefusedError(403, "InvalidRequestFormat", str(exc)) from exc
        known = next((extension for extension in self._extensions if extension.name == name), None)
        extension = known or Extension(name=name, external=False)
        self._check_events(extension, events)
        if not extension.external:
            self._check_room(known)
            self._extensions.append(extension)
        extension.enter(ExtensionState.REGISTERED, who=name)
        extension.events = tuple(dict.fromkeys(events))
        extension.registered_at = self._clock()
        self._move()
        return json_reply(200, self._description(request), {_IDENTIFIER: extension.identifier})

    async def next(self, request: Request) -> Reply:
        """
        Wait for the next event.

        With no events subscribed to, that is for ever.
        """
        extension = self.known(request)
        extension.enter(ExtensionState.READY)
        self._move()
        return await extension.event(self._clock())

    async def init_error(self, request: Request) -> Reply:
        """Take note that an extension cannot start; the environment fails when a process ends because of it."""
        return self._told(request, ExtensionState.INIT_ERROR, "InitError")

    async def exit_error(self, request: Request) -> Reply:
        """Take note that an extension cannot go on; the environment fails when a process ends because of it."""
        return self._told(request, ExtensionState.EXIT_ERROR, "Exited")

    def known(self, request: Request) -> Extension:
        """
        Return the extension that sent *request*.

        Raises:
            RefusedError: It has no identifier, or not one of ours.
        """
        identifier = self._identifier(request)
        for extension in self._extensions:
            if extension.identifier == identifier:
                return extension
        raise RefusedError(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    # ...what happens to all of them...

    def close_registration(self) -> None:
        """Refuse whoever comes from now on: the runtime has asked for its first event."""
        self._open = False

    def deliver_invoke(self, invocation: Invocation) -> None:
        """Tell all who want to know of *invocation*, whose phase is over when they have asked for the next event."""
        self._awaited = [extension for extension in self.registered if "INVOKE" in extension.events]
        for extension in self._awaited:
            extension.give(self._clock(), invoke_event(invocation))

    def deliver_shutdown(self, reason: str, deadline: float) -> None:
        """Tell the external ones that want to know; *reason* is spindown, timeout or failure."""
        for extension in self.registered:
            if "SHUTDOWN" in extension.events:
                extension.give(self._clock(), shutdown_event(reason, deadline))

    def exited(self, name: str, reason: str) -> None:
        """Take note that the process of the external extension *name* ended: "exit status 1", "exit code 0"."""
        self._end(name, ExtensionState.EXITED, _failure("Extension.Crash", f"extension {name}: {reason}"))

    def not_launched(self, name: str, reason: str) -> None:
        """Take note that the process of the external extension *name* could not be started."""
        self._end(name, ExtensionState.LAUNCH_ERROR, _failure("Extension.LaunchError", f"extension {name}: {reason}"))

    # ...and what the environment wants to know.

    @property
    def registered(self) -> list[Extension]:
        """Those that have registered, in whatever state they are now."""
        return [extension for extension in self._extensions if extension.registered_at is not None]

    @property
    def shutdown_windows(self) -> ShutdownWindows | None:
        """
        How long a shutdown may take; None says that nobody would notice, so the runtime is killed at once.

        https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-extensions-shutdown
        """
        if not self._extensions:
            return None
        external = any(extension.external for extension in self._extensions)
        return ShutdownWindows(0.3, 2.0) if external else ShutdownWindows(0.5, 0.5)

    @property
    def ready(self) -> bool:
        """Whether nobody is at work any more: in init every extension counts, in invoke those that were told."""
        awaited = self._extensions if self._awaited is None else self._awaited
        return all(extension.state is ExtensionState.READY for extension in awaited)

    async def all_registered(self) -> None:
        """Wait until the external extensions have registered, or one has failed; the runtime is started after that."""
        while len(self.registered) < len(self._extensions) and self.failure is None:
            await self._moved.wait()

    @property
    def waited_for(self) -> list[str]:
        """Who has not done yet what its phase is waiting for, and what that is."""
        awaited = self._extensions if self._awaited is None else self._awaited
        return [
            f"extension {extension.name} has not "
            + ("registered" if extension.registered_at is None else "asked for its next event")
            for extension in awaited
            if extension.state is not ExtensionState.READY
        ]

    @property
    def all(self) -> Sequence[Extension]:
        """Every extension, registered or not."""
        return self._extensions

    def blamed(self, failure: Failure) -> Failure:
        """Return *failure* under the name of the first error that an extension told, if one did."""
        return failure if self.error_type is None else _failure(self.error_type, failure.message)

    def spans(self, until: float) -> list[Span]:
        """Return what the extensions did in the invoke phase that lasts *until* now."""
        spans = [extension.span(until) for extension in self._awaited or []]
        return [span for span in spans if span is not None]

    # The checks.

    def _check_events(self, extension: Extension, events: Sequence[str]) -> None:
        if self._managed and not extension.external and events:
            raise RefusedError(403, "Extension.InvalidEventType", "No events allowed for internal extensions")
        for event in events:
            reason = ""
            if event not in ("INVOKE", "SHUTDOWN") or (self._managed and event == "INVOKE"):
                reason = "ErrorInvalidEventType"
            elif event == "SHUTDOWN" and not extension.external:
                reason = "ShutdownEventNotSupportedForInternalExtension"
            if reason:
                raise RefusedError(403, "Extension.InvalidEventType", f"{event}: {reason}")

    def _check_room(self, known: Extension | None) -> None:
        if not self._open:
            raise RefusedError(403, "Extension.RegistrationClosed", "Extension registration closed already")
        if len(self._extensions) >= MAX_EXTENSIONS:
            raise RefusedError(403, "Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
        if known is not None:
            text = "Extension with this name already registered"
            raise RefusedError(403, "Extension.InvalidExtensionState", text)

    def _identifier(self, request: Request) -> str:
        identifier = request.headers.get(_IDENTIFIER.lower(), "")
        if not identifier:
            text = f"Missing {_IDENTIFIER} header"
            raise RefusedError(403, "Extension.MissingExtensionIdentifier", text)
        if not _UUID.fullmatch(identifier):
            raise RefusedError(403, "Extension.InvalidExtensionIdentifier", f"Invalid {_IDENTIFIER}")
        return str(uuid.UUID(identifier))

    def _told(self, request: Request, state: ExtensionState, called: str) -> Reply:
        self._identifier(request)
        error_type = request.headers.get(_ERROR_TYPE.lower(), "")
        if not error_type:
            raise RefusedError(403, "Extension.MissingHeader", f"{_ERROR_TYPE} not found")
        try:
            extension = self.known(request)
        except RefusedError as refused:
            raise RefusedError(403, refused.error_type, f"Unknown {_IDENTIFIER}") from None
        extension.enter(state, called=called)
        extension.error_type = extension.error_type or error_type
        self.error_type = self.error_type or f"Extension.{state.value}"
        return ACCEPTED

    def _end(self, name: str, state: ExtensionState, failure: Failure) -> None:
        for extension in self._extensions:
            if extension.external and extension.name == name:
                extension.state = state
        if self.failure is None:
            self.failure = self.blamed(failure)
        self._move()

    def _move(self) -> None:
        self._on_turn()
        self._moved.set()
        self._moved = anyio.Event()

    def _description(self, request: Request) -> dict[str, str]:
        function = self._function
        described = {"functionName": function.name, "functionVersion": "$LATEST", "handler": function.handler}
        if "accountId" in (feature.strip() for feature in request.headers.get(_FEATURES, "").split(",")):
            described["accountId"] = function.arn.split(":")[4]
        return described


def _failure(error_type: str, message: str) -> Failure:
    # The platform's own types go into its logs and metrics as they are.
    return Failure(error_type, message, error_type)


def _events(document: Mapping[str, Any]) -> list[str]:
    # The platform's parser does not mind the case of a key, and takes null for a value that is not there.
    fields = {key.lower(): value for key, value in document.items()}
    if fields.get("configurationkeys"):
        raise ValueError("configurationKeys are deprecated; use environment variables instead")
    events = [] if fields.get("events") is None else fields["events"]
    if not isinstance(events, list) or not all(isinstance(event, str | None) for event in events):
        raise ValueError("events: expected a list of strings")
    return [event or "" for event in events]
