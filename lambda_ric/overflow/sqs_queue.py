"""
An SQS queue, standard or FIFO, as a sink.
"""

from __future__ import annotations

import json

from lambda_ric.errors import ConfigurationError

from .addresses import checked_url, endpoint_of, partition_of, region_of
from .aws_sink import AWSSink, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambda_ric.tasks.envelope import Envelope

TASK_ATTRIBUTE = "lambda-ric-task"
"""The message attribute that names the task, for filters and for people."""

_MOST_MESSAGES = 10
_LONGEST_TOKEN = 128


class SQSQueue(AWSSink):
    """The queue at *queue_url*; made by `lambda_ric.overflow.sqs`."""

    def __init__(
        self,
        queue_url: str,
        message_group_id: str | None,
        max_message_size: int,
        region: str | None,
        endpoint_url: str | None,
        environ: Mapping[str, str],
    ) -> None:
        self._url = checked_url("the URL of the queue", queue_url)
        scheme, _, rest = queue_url.partition("://")
        host, _, path = rest.partition("/")
        if not path.strip("/"):
            raise ConfigurationError(f"the URL of the queue, {queue_url!r}, names no queue")
        self._fifo = queue_url.endswith(".fifo")
        self._group = message_group_id
        if message_group_id and _token(message_group_id) != message_group_id:
            raise ConfigurationError(
                f"{message_group_id!r} is no id of a message group: it has up to {_LONGEST_TOKEN} letters, digits and "
                "punctuation marks of ASCII"
            )
        endpoint = endpoint_of("sqs", endpoint_url, f"{scheme}://{host}", environ)
        region = region_of(region, _region_in(host), environ)
        super().__init__("sqs", endpoint, region, _MOST_MESSAGES, max_message_size)
        # Every form of the URL ends in /ACCOUNT/NAME.
        account, _, name = path.strip("/").rpartition("/")
        self.source: str = f"arn:{partition_of(region)}:sqs:{region}:{account.rpartition('/')[2]}:{name}"
        """The ARN of the queue, which its events have."""

    def __repr__(self) -> str:
        return f"sqs({self._url!r})"

    def _message(self, envelope: Envelope) -> Message:
        body = envelope.encode()
        # Attributes count, names and types included.
        size = len(body) + len(TASK_ATTRIBUTE) + len("String") + len(envelope.task.encode())
        if size > self._max_size:
            raise ValueError(
                f"task {envelope.task!r} is too large for {self._url}: its message has {size:,} bytes, and "
                f"{self._max_size:,} are allowed"
            )
        return Message(envelope, body, size)

    def _post(self, batch: list[Message], until: float, sending: Callable[[], object]) -> Callable[[], None]:
        entries = [self._entry(str(number), message) for number, message in enumerate(batch)]
        answer = self._service.post(
            "/",
            {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessageBatch"},
            json.dumps({"QueueUrl": self._url, "Entries": entries}).encode(),
            until,
            sending,
        )
        successful, failed = _by_id(answer, "Successful"), _by_id(answer, "Failed")

        def settle() -> None:
            for number, message in enumerate(batch):
                if str(number) in successful:
                    message.accept()
                elif (failure := failed.get(str(number))) is not None:
                    self._refuse(message, failure)
                else:
                    message.refuse("the queue's answer does not name the message", again=True, heard=False)

        return settle

    def _refuse(self, message: Message, failure: dict[str, Any]) -> None:
        from .service import is_transient

        code = str(failure.get("Code", "no code"))
        again = not failure.get("SenderFault") or is_transient(code)
        message.refuse(self._service.told(f"{code}: {failure.get('Message') or 'no reason'}"), again=again)

    def _entry(self, entry_id: str, message: Message) -> dict[str, Any]:
        envelope = message.envelope
        entry: dict[str, Any] = {
            "Id": entry_id,
            "MessageBody": message.body,
            "MessageAttributes": {TASK_ATTRIBUTE: {"DataType": "String", "StringValue": envelope.task}},
        }
        if envelope.trace:
            trace = {"DataType": "String", "StringValue": envelope.trace}
            entry["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
        if self._group or self._fifo:
            entry["MessageGroupId"] = self._group or _token(envelope.task)
        if self._fifo:
            entry["MessageDeduplicationId"] = _token(f"{envelope.id}-{envelope.attempt}")
        return entry


def _by_id(answer: Any, kind: str) -> dict[str, dict[str, Any]]:
    entries = answer.get(kind) if isinstance(answer, dict) else None
    entries = entries if isinstance(entries, list) else []
    return {str(entry.get("Id")): entry for entry in entries if isinstance(entry, dict)}


def _token(text: str) -> str:
    """Return *text* if it can be the id of a group or of a deduplication, else what stands for it."""
    if text.isascii() and text.isprintable() and " " not in text and len(text) <= _LONGEST_TOKEN:
        return text
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def _region_in(host: str) -> str | None:
    """Return the region of the queues at *host*: sqs.REGION.amazonaws.com, VPCE.sqs.REGION.vpce.amazonaws.com, ..."""
    labels = host.partition(":")[0].split(".")
    for service in ("sqs", "sqs-fips"):
        if service in labels[:-2]:
            return labels[labels.index(service) + 1]
    return labels[0] if labels[1:2] == ["queue"] else None
