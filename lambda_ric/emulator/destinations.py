"""
Where the outcome of an asynchronous invocation goes: a file, another local function, a queue of a local server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import anyio
import httpx

from lambda_ric.errors import ConfigurationError, LambdaRICError

from .invocation import Answer, Invocation
from .json_text import is_json
from .loopback import loopback_url
from .sqs import SQSError, SQSQueue

Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded"]
Note = Callable[[Literal["retry", "destination", "dropped"], str, Invocation | None], None]
"""Told what becomes of work that nobody waits for; ``dropped`` is work that was lost."""


def no_note(kind: str, text: str, invocation: Invocation | None) -> None:
    """Tell nobody."""


# Lambda's, of the attribute ErrorMessage.
MAX_ERROR_MESSAGE = 1024
_SECONDS_PER_CALL = 10.0


class DeliveryError(LambdaRICError):
    """A destination did not take what it was sent."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a destination is sent: JSON, and attributes where it has a place for them."""

    body: bytes
    attributes: Mapping[str, tuple[str, str]]
    """Pairs of an SQS data type and a value, by name; only a dead letter has any."""


class Destination(Protocol):
    """A place that takes parcels."""

    async def deliver(self, parcel: Parcel) -> None:
        """
        Hand *parcel* over.

        Raises:
            DeliveryError: It was not taken.
        """


def destination(text: str, region: str = "us-east-1") -> Destination:
    """
    Return the destination that *text* names.

    It is ``file:PATH`` or a path that ends in ``.jsonl`` or ``.json``, to which one line of JSON is appended;
    ``lambda:http://localhost:PORT/NAME``, a function of another emulator, invoked asynchronously; or
    ``sqs:http://localhost:PORT/ACCOUNT/QUEUE``, a queue of a local server.

    Raises:
        ConfigurationError: It is none of these, or not on this machine.
    """
    kind, _, rest = text.partition(":")
    match kind:
        case "file" if rest:
            return FileDestination(Path(rest))
        case "lambda":
            return FunctionDestination.at(rest)
        case "sqs":
            url = loopback_url(rest, "the destination")
            return QueueDestination(partial(SQSQueue, rest, f"{url.scheme}://{url.netloc}", region))
    if text.endswith((".jsonl", ".json")):
        return FileDestination(Path(text))
    raise ConfigurationError(
        f"the destination {text!r} is none of file:PATH, lambda:http://localhost:PORT/NAME and sqs:QUEUE_URL"
    )


class FileDestination:
    """
    Appends one line of JSON for each parcel to a file; a dead letter is wrapped, so that its attributes are kept.

    Raises:
        ConfigurationError: The file could not be created, or is no file.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir() or path.is_dir():
            raise ConfigurationError(f"the destination {str(path)!r} cannot be a file there")
        self._path = anyio.Path(path)

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver *parcel*."""
        line = _as_json(parcel.body)
        if parcel.attributes:
            attributes = {name: value for name, (_, value) in parcel.attributes.items()}
            line = _joined({"attributes": _compact(attributes), "body": line})
        try:
            async with await self._path.open("ab") as file:
                await file.write(line + b"\n")
        except OSError as exc:
            raise DeliveryError(f"{str(self._path)!r} cannot be written: {exc.strerror}") from exc


class FunctionDestination:
    """Invokes a function of another emulator asynchronously."""

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def at(cls, text: str) -> FunctionDestination:
        """
        Return the one for ``http://localhost:PORT/NAME``.

        Raises:
            ConfigurationError: *text* has another form.
        """
        url = loopback_url(text, "the destination")
        name = url.path.strip("/")
        if not name or "/" in name:
            raise ConfigurationError(f"the destination {text!r} has not the form http://localhost:PORT/NAME")
        return cls(f"{url.scheme}://{url.netloc}/2015-03-31/functions/{quote(name, safe='%:')}/invocations")

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver *parcel*."""
        try:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=_SECONDS_PER_CALL) as client:
                reply = await client.post(self._url, content=parcel.body, headers={"X-Amz-Invocation-Type": "Event"})
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise DeliveryError(f"{self._url} cannot be reached: {exc or type(exc).__name__}") from exc
        if reply.status_code != 202:
            raise DeliveryError(f"{self._url} answered {reply.status_code}: {reply.text[:500]}")


class QueueDestination:
    """
    Sends each parcel to the queue that *connect* makes, one for each: several may be on their way.

    Raises:
        ConfigurationError: *connect* could not name a queue.
    """

    def __init__(self, connect: Callable[[], SQSQueue]) -> None:
        connect()
        self._connect = connect

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver *parcel*."""
        try:
            async with self._connect() as queue:
                await queue.send(parcel.body.decode(), parcel.attributes)
        except SQSError as exc:
            raise DeliveryError(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an asynchronous invocation ended; *answer* is that of the last of its *attempts*, None if there were none."""

    condition: Condition
    time: float
    attempts: int
    invocation: Invocation
    answer: Answer | None

    @property
    def error(self) -> str | None:
        """The error of the last attempt in the words of a dead letter; None when it succeeded."""
        if self.condition == "Success":
            return None
        if self.answer is None:
            return "Rate Exceeded."
        if self.answer.function_error is None and self.invocation.failure is not None:
            return self.invocation.failure.message
        payload = self.answer.payload
        try:
            return str(json.loads(payload)["errorMessage"])
        except (ValueError, RecursionError, LookupError, TypeError):  # a runtime may post anything as its error
            return payload.decode(errors="replace")

    def record(self) -> Parcel:
        """
        Return what a destination gets: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html

        An event that no environment ever took has no response.
        """
        time = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        arn = self.invocation.function_arn.removesuffix(":$LATEST")
        request = {
            "requestId": self.invocation.request_id,
            "functionArn": f"{arn}:$LATEST",
            "condition": self.condition,
            "approximateInvokeCount": self.attempts,
        }
        document = {
            "version": _compact("1.0"),
            "timestamp": _compact(time),
            "requestContext": _compact(request),
            "requestPayload": _as_json(self.invocation.event),
        }
        if self.answer is not None:
            failed = {} if self.condition == "Success" else {"functionError": "Unhandled"}
            document["responseContext"] = _compact({"statusCode": 200, "executedVersion": "$LATEST", **failed})
            document["responsePayload"] = _as_json(self.answer.payload)
        return Parcel(_joined(document), {})

    def dead_letter(self) -> Parcel:
        """
        Return what a dead-letter queue gets: the bare event.

        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq
        """
        message = (self.error or "").encode()[:MAX_ERROR_MESSAGE].decode(errors="ignore")
        attributes = {
            "RequestID": ("String", self.invocation.request_id),
            "ErrorCode": ("Number", "429" if self.answer is None else "200"),
            # SQS takes no attribute without a value.
            "ErrorMessage": ("String", message or "Unhandled"),
        }
        return Parcel(self.invocation.event, attributes)


def _joined(members: Mapping[str, bytes]) -> bytes:
    """Return the JSON object of *members*, whose values are JSON already."""
    return b"{" + b",".join(_compact(name) + b":" + value for name, value in members.items()) + b"}"


def _as_json(payload: bytes) -> bytes:
    """Return *payload* as it is, on one line; what is not JSON, as no rule makes a response be, as a JSON string."""
    if not payload:
        return b"null"
    if not is_json(payload):
        return _compact(payload.decode(errors="replace"))
    return payload.replace(b"\r", b" ").replace(b"\n", b" ")  # inside its strings they are escaped


def _compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
