"""
A queue of an SQS-compatible server on this machine: the three calls that the emulator needs.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from lambda_ric.errors import ConfigurationError, LambdaRICError

from .loopback import loopback_url

# A local server takes any, but reads the region and the service from it.
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=local/20000101/{region}/sqs/aws4_request, SignedHeaders=host, Signature=none"
)
# Seconds that a call may take beyond the wait that it asks for.
_PATIENCE = 10.0
MAX_ENTRIES = 10
"""The most messages of one call."""


class SQSError(LambdaRICError):
    """The server did not do what it was asked for; the text has its reason."""


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """What there is to know of a queue."""

    arn: str
    visibility_timeout: float


class SQSQueue:
    """
    The queue at *queue_url*, as the server at *endpoint* has it; an async context manager.

    Only *endpoint* is connected to, so *queue_url* may be the one that a deployed function has.

    Raises:
        ConfigurationError: *endpoint* is not on this machine, or *queue_url* is not a queue's.
    """

    def __init__(self, queue_url: str, endpoint: str, region: str) -> None:
        try:
            account_and_name = [part for part in urlsplit(queue_url).path.split("/") if part]
        except ValueError:
            account_and_name = []
        if len(account_and_name) < 2 or not queue_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"the queue URL {queue_url!r} has not the form http://HOST/ACCOUNT/QUEUE")
        self.url = queue_url
        self._endpoint = loopback_url(endpoint, "the SQS endpoint").geturl()
        self._headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": _AUTHORIZATION.format(region=region),
        }

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue, which its name tells."""
        return self.url.endswith(".fifo")

    async def __aenter__(self) -> Self:
        # Proxies have no business between two programs of one machine, and there is no TLS to verify.
        self._client = httpx.AsyncClient(headers=self._headers, trust_env=False, verify=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes."""
        found = (await self._call("GetQueueAttributes", {"AttributeNames": ["All"]})).get("Attributes", {})
        try:
            arn = str(found["QueueArn"])
            if arn.count(":") != 5:
                raise ValueError(arn)
            return QueueAttributes(arn, float(found.get("VisibilityTimeout", 30)))
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise SQSError("GetQueueAttributes: the server's answer has no usable attributes") from exc

    async def receive(self, most: int, wait: int) -> list[dict[str, Any]]:
        """Return up to *most* messages, as SQS describes them; wait up to *wait* seconds for the first."""
        members = {
            "MaxNumberOfMessages": min(most, MAX_ENTRIES),
            "WaitTimeSeconds": wait,
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        messages = (await self._call("ReceiveMessage", members, wait)).get("Messages") or []
        if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
            raise SQSError("ReceiveMessage: the server's answer holds something else than messages")
        return messages

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """
        Delete the messages with *receipt_handles*.

        Raises:
            SQSError: Not all could be deleted; the others are.
        """
        failures: list[str] = []
        for first in range(0, len(receipt_handles), MAX_ENTRIES):
            handles = receipt_handles[first : first + MAX_ENTRIES]
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
            answer = await self._call("DeleteMessageBatch", {"Entries": entries})
            if answer.get("Failed"):
                failures.append(str(answer["Failed"]))
        if failures:
            raise SQSError(f"DeleteMessageBatch: not all messages were deleted: {failures[0][:500]}")

    async def send(self, body: str, attributes: Mapping[str, tuple[str, str]]) -> None:
        """Send a message; *attributes* are pairs of data type and value by name."""
        described = {name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()}
        # Required by FIFO queues, refused by others.
        order = {"MessageGroupId": "lambda", "MessageDeduplicationId": str(uuid.uuid4())} if self.fifo else {}
        await self._call("SendMessage", {"MessageBody": body, "MessageAttributes": described, **order})

    async def _call(self, operation: str, members: Mapping[str, Any], wait: float = 0) -> dict[str, Any]:
        try:
            reply = await self._client.post(
                self._endpoint,
                json={"QueueUrl": self.url, **members},
                headers={"X-Amz-Target": f"AmazonSQS.{operation}"},
                timeout=wait + _PATIENCE,
            )
            document = json.loads(reply.content or b"{}")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise SQSError(f"{operation}: {self._endpoint} cannot be reached: {exc or type(exc).__name__}") from exc
        except (ValueError, RecursionError) as exc:
            raise SQSError(f"{operation}: {self._endpoint} answered {reply.status_code} without JSON") from exc
        if not isinstance(document, dict):
            raise SQSError(f"{operation}: {self._endpoint} answered {reply.status_code} without a JSON object")
        if reply.status_code != 200:
            reason = str(document.get("message") or document.get("Message") or document.get("__type") or "no reason")
            raise SQSError(f"{operation}: status {reply.status_code}: {reason[:500]}")
        return document


def _is_message(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    attributes = message.get("MessageAttributes") or {}
    return (
        all(isinstance(message.get(name), str) for name in ("MessageId", "ReceiptHandle", "Body"))
        and isinstance(attributes, dict)
        and all(isinstance(attribute, dict) for attribute in attributes.values())
    )
