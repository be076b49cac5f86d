"""
How an asynchronous invocation ended, as the document that its destination gets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lambda_ric.emulator.event.invocation import Answer, Invocation
from lambda_ric.emulator.http.json_text import is_json

Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded"]


# Lambda's, of the attribute ErrorMessage.
MAX_ERROR_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a destination is sent: JSON, and attributes where it has a place for them."""

    body: bytes
    attributes: Mapping[str, tuple[str, str]]
    """Pairs of an SQS data type and a value, by name; only a dead letter has any."""
    function_arn: str = ""
    succeeded: bool = False
    folder: str = ""
    """Where Lambda puts it in a bucket, below ``aws/lambda/``."""
    whole: bytes = b""
    """What a bucket gets instead of *body*, having room for it."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
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
        request = {
            "requestId": self.invocation.request_id,
            "functionArn": self._arn,
            "condition": self.condition,
            "approximateInvokeCount": self.attempts,
        }
        document = {
            "version": compact("1.0"),
            "timestamp": compact(iso_time(self.time)),
            "requestContext": compact(request),
            "requestPayload": as_json(self.invocation.event),
        }
        if self.answer is not None:
            failed = {} if self.condition == "Success" else {"functionError": "Unhandled"}
            document["responseContext"] = compact({"statusCode": 200, "executedVersion": "$LATEST", **failed})
            document["responsePayload"] = as_json(self.answer.payload)
        return self._parcel(joined(document), {})

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
        return self._parcel(self.invocation.event, attributes)

    @property
    def _arn(self) -> str:
        return f"{self.invocation.function_arn.removesuffix(':$LATEST')}:$LATEST"

    def _parcel(self, body: bytes, attributes: Mapping[str, tuple[str, str]]) -> Parcel:
        name = self.invocation.function_arn.split(":")[6]
        return Parcel(body, attributes, self._arn, self.condition == "Success", f"async/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """
    Why records of a stream were given up after *attempts* at them; *answer* is that of the last, if there was one.

    https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
    """

    condition: Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]
    time: float
    """Seconds since 1970."""
    attempts: int
    request_id: str
    function_arn: str
    answer: Answer | None
    mapping: str
    """The id of the event source mapping."""
    stream: Mapping[str, Any]
    """What there is to know of the records: the shard, the first and the last, their number."""
    kind: Literal["kinesis", "dynamodb"]
    event: bytes
    """With the records, as a function gets them."""

    def record(self) -> Parcel:
        """Return what a destination gets."""
        arn = f"{self.function_arn.removesuffix(':$LATEST')}:$LATEST"
        request = {
            "requestId": self.request_id,
            "functionArn": arn,
            "condition": self.condition,
            "approximateInvokeCount": self.attempts,
        }
        document = {"requestContext": compact(request)}
        if self.answer is not None:
            failed = {} if self.answer.function_error is None else {"functionError": "Unhandled"}
            document["responseContext"] = compact({"statusCode": 200, "executedVersion": "$LATEST", **failed})
        document["version"] = compact("1.0")
        document["timestamp"] = compact(iso_time(self.time))
        document["KinesisBatchInfo" if self.kind == "kinesis" else "DDBStreamBatchInfo"] = compact(dict(self.stream))
        whole = joined({**document, "payload": as_json(self.event)})
        return Parcel(joined(document), {}, arn, False, f"{self.mapping}/{self.stream['shardId']}", whole)


def iso_time(seconds: float) -> str:
    """Return the time *seconds* since 1970 as AWS writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def joined(members: Mapping[str, bytes]) -> bytes:
    """Return the JSON object of *members*, whose values are JSON already."""
    return b"{" + b",".join(compact(name) + b":" + value for name, value in members.items()) + b"}"


def as_json(payload: bytes) -> bytes:
    """Return *payload* as it is, on one line; what is not JSON, as no rule makes a response be, as a JSON string."""
    if not payload:
        return b"null"
    if not is_json(payload):
        return compact(payload.decode(errors="replace"))
    return payload.replace(b"\r", b" ").replace(b"\n", b" ")  # inside its strings they are escaped


def compact(document: Any) -> bytes:
    """Return *document* as JSON without a space."""
    return json.dumps(document, separators=(",", ":")).encode()
