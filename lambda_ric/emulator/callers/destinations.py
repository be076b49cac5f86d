"""
Where the outcome of an asynchronous invocation goes: a file, another local function, a queue of a local server.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import anyio
import httpx

from lambda_ric.errors import ConfigurationError, LambdaRICError

from .local_service import LocalService, LocalServiceError, region_of
from .loopback import loopback_url
from .outcome import Parcel, as_json, compact, joined
from .sqs import SQSQueue

_SECONDS_PER_CALL = 10.0
# Seconds, at any scale of time, between the tries to hand a parcel over.
_DELAYS = (0.5, 1.0, 2.0)


class DeliveryError(LambdaRICError):
    """A destination did not take what it was sent."""


class Destination(Protocol):
    """A place that takes parcels."""

    async def deliver(self, parcel: Parcel) -> None:
        """
        Hand *parcel* over.

        Raises:
            DeliveryError: It was not taken.
        """


async def deliver(parcel: Parcel, to: Destination, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """
    Hand *parcel* over, and try it again when it is not taken.

    Raises:
        DeliveryError: It never was.
    """
    for delay in _DELAYS:
        try:
            await to.deliver(parcel)
        except DeliveryError:
            await sleep(delay)
        else:
            return
    await to.deliver(parcel)


def destination(text: str, region: str = "us-east-1", endpoint: str | None = None) -> Destination:
    """
    Return the destination that *text* names.

    It is ``file:PATH`` or a path that ends in ``.jsonl`` or ``.json``, to which one line of JSON is appended;
    ``lambda:http://localhost:PORT/NAME``, a function of another emulator, invoked asynchronously;
    ``sqs:http://localhost:PORT/ACCOUNT/QUEUE``, a queue of a local server; or, of the local server at *endpoint*, a
    queue, a topic, an event bus or a bucket: ``sqs:NAME``, ``sns:NAME``, ``events:NAME``, ``s3:NAME``, or its ARN.

    Raises:
        ConfigurationError: It is none of these, or not on this machine.
    """
    kind, _, rest = text.partition(":")
    if kind == "arn":
        kind, rest = text.split(":")[2] if text.count(":") > 4 else "", text
    match kind:
        case "file" if rest:
            return FileDestination(Path(rest))
        case "lambda" if rest != text:
            return FunctionDestination.at(rest)
        case "sqs":
            if endpoint is None and rest.startswith("http"):
                url = loopback_url(rest, "the destination")
                endpoint = f"{url.scheme}://{url.netloc}"
            return QueueDestination(partial(SQSQueue, rest, _needed(endpoint, text), region))
        case "sns" | "events" | "s3" if rest:
            make = {"sns": TopicDestination, "events": EventBusDestination, "s3": BucketDestination}[kind]
            return make(rest, _needed(endpoint, text), region)
    if text.endswith((".jsonl", ".json")):
        return FileDestination(Path(text))
    raise ConfigurationError(
        f"the destination {text!r} is none of file:PATH, lambda:http://localhost:PORT/NAME, sqs:QUEUE, sns:TOPIC,"
        " events:BUS and s3:BUCKET"
    )


def _needed(endpoint: str | None, text: str) -> str:
    if endpoint is None:
        raise ConfigurationError(f"the destination {text!r} needs to know its server: --aws-endpoint-url URL")
    return endpoint


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
        line = as_json(parcel.body)
        if parcel.attributes:
            attributes = {name: value for name, (_, value) in parcel.attributes.items()}
            line = joined({"attributes": compact(attributes), "body": line})
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
        except LocalServiceError as exc:
            raise DeliveryError(str(exc)) from exc


class _ServiceDestination:
    """What *name*, perhaps an ARN, is at the server at *endpoint*."""

    service: str

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        self._region = region_of(name) or region
        self._endpoint = endpoint
        self._name = name
        self._connect()

    def _connect(self) -> LocalService:
        """Return a connection, one for each parcel: several may be on their way."""
        return LocalService(self.service, self._endpoint, self._region)

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver *parcel*."""
        try:
            async with self._connect() as service:
                await self._send(service, parcel)
        except LocalServiceError as exc:
            raise DeliveryError(str(exc)) from exc

    async def _send(self, service: LocalService, parcel: Parcel) -> None:
        raise NotImplementedError


class TopicDestination(_ServiceDestination):
    """Publishes each parcel to an SNS topic, a dead letter's attributes as those of the message."""

    service = "sns"

    async def _send(self, service: LocalService, parcel: Parcel) -> None:
        members = {"TopicArn": await self._arn(), "Message": parcel.body.decode()}
        for number, (name, (kind, value)) in enumerate(parcel.attributes.items(), 1):
            entry = f"MessageAttributes.entry.{number}"
            members |= {
                f"{entry}.Name": name,
                f"{entry}.Value.DataType": kind,
                f"{entry}.Value.StringValue": value,
            }
        await service.query("Publish", "2010-03-31", members)

    async def _arn(self) -> str:
        if self._name.startswith("arn:"):
            return self._name
        async with LocalService("sts", self._endpoint, self._region) as service:
            identity = await service.query("GetCallerIdentity", "2011-06-15", {})
        account = re.search(r"<Account>(\d+)</Account>", identity)
        if account is None:
            raise LocalServiceError(f"GetCallerIdentity: {self._endpoint} names no account")
        return f"arn:aws:sns:{self._region}:{account[1]}:{self._name}"


class EventBusDestination(_ServiceDestination):
    """Puts each parcel on an event bus of EventBridge, as an event of Lambda's."""

    service = "events"

    async def _send(self, service: LocalService, parcel: Parcel) -> None:
        entry = {
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {'Success' if parcel.succeeded else 'Failure'}",
            "Detail": parcel.body.decode(),
            "EventBusName": self._name,
            "Resources": [parcel.function_arn],
        }
        answer = await service.call("AWSEvents.PutEvents", {"Entries": [entry]})
        if answer.get("FailedEntryCount"):
            raise LocalServiceError(f"PutEvents: {json.dumps(answer.get('Entries'))[:500]}")


class BucketDestination(_ServiceDestination):
    """Puts each parcel into a bucket of S3, under a name such as Lambda's."""

    service = "s3"

    async def _send(self, service: LocalService, parcel: Parcel) -> None:
        bucket = self._name.removeprefix("arn:aws:s3:::")
        now = f"{datetime.now(UTC):%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        await service.put(f"/{quote(bucket, safe='')}/aws/lambda/{parcel.folder}/{now}", parcel.whole or parcel.body)
