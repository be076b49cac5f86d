"""
A queue of an SQS-compatible server on this machine: the calls that the emulator needs.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lambda_ric.errors import ConfigurationError

from .local_service import LocalResource, LocalServiceError

MAX_ENTRIES = 10
"""The most messages of one call."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}(\.fifo)?")


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """What there is to know of a queue."""

    arn: str
    visibility_timeout: float


class SQSQueue(LocalResource):
    """
    A queue, as the server at *endpoint* has it; an async context manager.

    *queue* is its name, its ARN or its URL. Only *endpoint* is connected to, so a URL may be that of a deployed queue.

    Raises:
        ConfigurationError: *endpoint* is not on this machine, or *queue* is not a queue's.
    """

    def __init__(self, queue: str, endpoint: str, region: str) -> None:
        name, self._url = _name_and_url(queue)
        super().__init__("sqs", queue, endpoint, region)
        self.fifo: bool = name.endswith(".fifo")
        """Whether it is a FIFO queue, which its name tells."""
        self._short_name = name

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes."""
        found = (await self._call("GetQueueAttributes", {"AttributeNames": ["All"]})).get("Attributes", {})
        try:
            arn = str(found["QueueArn"])
            if arn.count(":") != 5:
                raise ValueError(arn)
            return QueueAttributes(arn, float(found.get("VisibilityTimeout", 30)))
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise LocalServiceError("GetQueueAttributes: the server's answer has no usable attributes") from exc

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
            raise LocalServiceError("ReceiveMessage: the server's answer holds something else than messages")
        return messages

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """
        Delete the messages with *receipt_handles*.

        Raises:
            LocalServiceError: Not all could be deleted; the others are.
        """
        failures: list[str] = []
        for first in range(0, len(receipt_handles), MAX_ENTRIES):
            handles = receipt_handles[first : first + MAX_ENTRIES]
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
            answer = await self._call("DeleteMessageBatch", {"Entries": entries})
            if answer.get("Failed"):
                failures.append(str(answer["Failed"]))
        if failures:
            raise LocalServiceError(f"DeleteMessageBatch: not all messages were deleted: {failures[0][:500]}")

    async def send(self, body: str, attributes: Mapping[str, tuple[str, str]]) -> None:
        """Send a message; *attributes* are pairs of data type and value by name."""
        described = {name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()}
        # Required by FIFO queues, refused by others.
        order = {"MessageGroupId": "lambda", "MessageDeduplicationId": str(uuid.uuid4())} if self.fifo else {}
        await self._call("SendMessage", {"MessageBody": body, "MessageAttributes": described, **order})

    async def _call(self, operation: str, members: Mapping[str, Any], wait: float = 0) -> dict[str, Any]:
        if self._url is None:
            found = await self._service.call("AmazonSQS.GetQueueUrl", {"QueueName": self._short_name})
            self._url = str(found.get("QueueUrl"))
        return await self._service.call(f"AmazonSQS.{operation}", {"QueueUrl": self._url, **members}, wait=wait)


def _name_and_url(queue: str) -> tuple[str, str | None]:
    """Return the name that *queue* has, and its URL if it is one."""
    if queue.startswith("arn:") and queue.split(":")[2:3] == ["sqs"]:
        queue = queue.rpartition(":")[2]
    if _NAME.fullmatch(queue):
        return queue, None
    try:
        account_and_name = [part for part in urlsplit(queue).path.split("/") if part]
    except ValueError:
        account_and_name = []
    if len(account_and_name) < 2 or not queue.startswith(("http://", "https://")):
        text = f"the queue {queue!r} is neither a name nor a queue URL of the form http://HOST/ACCOUNT/QUEUE"
        raise ConfigurationError(text)
    return account_and_name[-1], queue


def _is_message(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    attributes = message.get("MessageAttributes") or {}
    return (
        all(isinstance(message.get(name), str) for name in ("MessageId", "ReceiptHandle", "Body"))
        and isinstance(attributes, dict)
        and all(isinstance(attribute, dict) for attribute in attributes.values())
    )
