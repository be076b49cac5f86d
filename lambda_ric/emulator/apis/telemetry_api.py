"""
The Telemetry API of one environment: who may subscribe to what, and every record to everyone who did.

Texts and status codes are those of AWS's own emulator (internal/lambda-managed-instances, rapi/handler/runtimelogs.go
and aws-lambda-rie/internal/telemetry), whose limits are documented:
https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from lambda_ric.emulator.http.messages import RefusedError, Reply, Request, json_reply

from .documents import read_document
from .extensions_api import ExtensionsAPI
from .telemetry_delivery import Buffering, HTTPReceiver, Subscriber, TCPReceiver
from .telemetry_records import encode, telemetry_subscription

TYPES = ("platform", "function", "extension")
_SCHEMAS = ("2022-07-01", "2022-12-13", "2025-01-29")
# The name that Lambda gives to the inside of an environment, and what samples have in their local mode; wherever it is,
# only this machine is asked.
_HOSTS = ("sandbox.localdomain", "sandbox", "localhost", "127.0.0.1", "0.0.0.0", "::1")
_MAX_HISTORY = 10_000
_PROTOCOLS = ("HTTP", "TCP")
_BUFFERING = {
    "maxItems": ("max_items", 1_000, 10_000),
    "maxBytes": ("max_bytes", 262_144, 1_048_576),
    "timeoutMs": ("timeout_ms", 25, 30_000),
}

# What the older API answers "during local testing", as its documentation says:
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html#runtimes-logs-api-ref
LOGS_NOT_SUPPORTED = json_reply(202, {"errorMessage": "Logs API is not supported", "errorType": "Logs.NotSupported"})


class TelemetryAPI:
    """
    What *extensions* are told of an environment, from its start to the next reset.

    The delivery runs in *tasks* and ends with them. *lead_in* tells the port of this machine that leads to one in a
    network of the environment's own.
    """

    def __init__(
        self,
        extensions: ExtensionsAPI,
        tasks: TaskGroup,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        *,
        lead_in: Callable[[int], Awaitable[int]] | None = None,
    ) -> None:
        self._extensions = extensions
        self._tasks = tasks
        self._clock = clock
        self._sleep = sleep
        self._lead_in = lead_in
        self._subscribers: dict[str, Subscriber] = {}
        self._open = True
        # Who subscribes is told what happened before; nobody can after the init.
        self._history: deque[tuple[str, bytes]] = deque(maxlen=_MAX_HISTORY)

    async def subscribe(self, request: Request) -> Reply:
        """Begin to tell an extension what it wants to know, instead of what it wanted before."""
        extension = self._extensions.known(request)
        try:
            document = await read_document(request)
            types, buffering, port, target = _subscription(document)
        except ValueError as exc:
            raise RefusedError(400, "ValidationError", str(exc)) from exc
        if not self._open:
            text = "Telemetry API subscription is closed"
            raise RefusedError(403, "Telemetry.SubscriptionClosed", text)
        if self._lead_in is not None:
            port = await self._lead_in(port)
        receiver = TCPReceiver(port) if target is None else HTTPReceiver(port, target)
        if (before := self._subscribers.get(extension.name)) is not None:
            before.stop()
        subscriber = Subscriber(types, buffering, receiver, self._clock, self._sleep)
        self._subscribers[extension.name] = subscriber
        self._tasks.start_soon(subscriber.run)
        for kind, line in self._history:
            subscriber.add(kind, line)
        self.emit(*telemetry_subscription(extension.name, types))
        return Reply(200, b'"OK"', {"Content-Type": "text/plain; charset=utf-8"})

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribed, or still may: if not, no record needs to be made."""
        return self._open or bool(self._subscribers)

    def emit(self, kind: str, record: Mapping[str, Any] | str) -> None:
        """Tell whoever wants to know; *kind* is "function" or "extension" for a line of a log."""
        if not self.wanted:
            return
        line = encode(self._clock(), kind, record)
        for subscriber in self._subscribers.values():
            subscriber.add(kind, line)
        if self._open:
            self._history.append((kind, line))

    def close(self) -> None:
        """Refuse further subscriptions: the init is over."""
        self._open = False
        self._history.clear()

    async def flush(self) -> None:
        """Deliver what is waiting at once; a subscriber that does not listen is to be given up by the caller."""
        async with anyio.create_task_group() as tasks:
            for subscriber in self._subscribers.values():
                tasks.start_soon(subscriber.flush)


def _subscription(document: Mapping[str, Any]) -> tuple[tuple[str, ...], Buffering, int, str | None]:
    """Return which types are wanted, how they are gathered, and where they go: a port, and a target of HTTP."""
    missing = [repr(name) for name in ("schemaVersion", "types", "destination") if name not in document]
    if missing:
        raise ValueError(f"schema validation error: missing properties: {', '.join(missing)}")
    _check(document["schemaVersion"] in _SCHEMAS, "/schemaVersion", f"value must be one of {_quoted(_SCHEMAS)}")
    types = document["types"]
    _check(isinstance(types, list), "/types", "expected array")
    _check(bool(types), "/types", "minimum 1 items required, but found 0 items")
    for number, kind in enumerate(types):
        _check(kind in TYPES, f"/types/{number}", f"value must be one of {_quoted(TYPES)}")
    return (
        tuple(dict.fromkeys(types)),
        _buffering(document.get("buffering", {})),
        *_destination(document["destination"]),
    )


def _buffering(given: Any) -> Buffering:
    _check(isinstance(given, dict), "/buffering", "expected object")
    return Buffering(
        **{
            field: _integer(given[name], f"/buffering/{name}", low, high)
            for name, (field, low, high) in _BUFFERING.items()
            if name in given
        }
    )


def _destination(given: Any) -> tuple[int, str | None]:
    _check(isinstance(given, dict), "/destination", "expected object")
    match given:
        case {"protocol": "HTTP", "URI": str(uri)}:
            return _http_destination(uri)
        case {"protocol": "HTTP"}:
            raise ValueError("schema validation error: '/destination': missing properties: 'URI'")
        case {"protocol": "TCP"}:
            return _integer(given.get("port"), "/destination/port", 1, 65535), None
    raise ValueError(f"schema validation error: '/destination/protocol': value must be one of {_quoted(_PROTOCOLS)}")


def _http_destination(uri: str) -> tuple[int, str]:
    """
    Return where *uri* leads to, on this machine; no name is looked up.
    """
    try:
        parts = urlsplit(uri)
        if parts.scheme != "http" or parts.hostname not in _HOSTS:
            raise ValueError(f"destination.URI host must be {_HOSTS[0]}")
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return 80 if parts.port is None else parts.port, target
    except ValueError as exc:
        raise ValueError(f"Invalid destination: {exc}") from exc


def _integer(value: Any, place: str, low: int, high: int) -> int:
    _check(isinstance(value, int) and not isinstance(value, bool), place, "expected integer")
    _check(value >= low, place, f"must be >= {low} but found {value}")
    _check(value <= high, place, f"must be <= {high} but found {value}")
    return int(value)


def _check(valid: bool, place: str, reason: str) -> None:
    if not valid:
        raise ValueError(f"schema validation error: {place!r}: {reason}")


def _quoted(values: Sequence[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)
