"""
Streams of a server on this machine: the shards of Kinesis and of DynamoDB, and what is read from them.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lambda_ric.errors import ConfigurationError

from .local_service import LocalResource, LocalServiceError

Position = Literal["LATEST", "TRIM_HORIZON"]
# What GetRecords takes at most.
_MOST = {"kinesis": 10_000, "dynamodb": 1000}


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a shard."""

    sequence_number: str
    arrived_at: float
    """Seconds since 1970."""
    shown: Mapping[str, Any]
    """As a function gets it."""
    filtered: Mapping[str, Any]
    """What filter patterns are about."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream is at a time."""

    arn: str
    incarnation: str
    """Another one when a stream of the same name was created anew."""
    parents: Mapping[str, str | None]
    """Of each shard, by name, the one that it has come of."""


class Stream(LocalResource, ABC):
    """
    The stream *name* of the server at *endpoint*; an async context manager.

    Its calls raise LocalServiceError when the server does not do what it is asked for.
    """

    kind: Literal["kinesis", "dynamodb"]
    # Of operations, and what a place is called that they are told.
    _prefix: str
    _after: str

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        super().__init__(self.kind, name, endpoint, region)

    @abstractmethod
    async def describe(self) -> Description:
        """Return what there is."""

    async def iterator(self, stream: Description, shard: str, position: Position, after: str | None) -> str:
        """Return where *shard* is read: behind the sequence number *after* or, without, at *position*."""
        members = {**self._named(stream), "ShardId": shard, "ShardIteratorType": position}
        if after is not None:
            members |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", self._after: after}
        found = await self._service.call(f"{self._prefix}.GetShardIterator", members)
        return str(found.get("ShardIterator") or "")

    async def records(self, stream: Description, shard: str, iterator: str, most: int) -> tuple[list[Record], str]:
        """Return up to *most* records, and where the next ones are read; an empty text when there are no more."""
        members = {"ShardIterator": iterator, "Limit": min(most, _MOST[self.kind])}
        found = await self._service.call(f"{self._prefix}.GetRecords", members)
        try:
            records = [self._record(stream, shard, record) for record in found.get("Records") or ()]
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise LocalServiceError("GetRecords: the server's answer holds something else than records") from exc
        return records, str(found.get("NextShardIterator") or "")

    @abstractmethod
    def _named(self, stream: Description) -> dict[str, Any]: ...

    @abstractmethod
    def _record(self, stream: Description, shard: str, record: Mapping[str, Any]) -> Record: ...


class KinesisStream(Stream):
    """
    The data stream *name*, or with that ARN, of the server at *endpoint*.

    Raises:
        ConfigurationError: *endpoint* is not on this machine, or *name* is the ARN of something else.
    """

    kind: Literal["kinesis", "dynamodb"] = "kinesis"
    _prefix = "Kinesis_20131202"
    _after = "StartingSequenceNumber"

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        super().__init__(name, endpoint, region)
        self._stream = _resource(name, "kinesis", "stream")

    async def describe(self) -> Description:
        """Return what there is."""
        named = {"StreamName": self._stream}
        summary = await self._service.call(f"{self._prefix}.DescribeStreamSummary", named)
        shards: list[Mapping[str, Any]] = []
        members: dict[str, Any] = named
        while members:
            found = await self._service.call(f"{self._prefix}.ListShards", members)
            shards += found.get("Shards") or ()
            members = {"NextToken": found["NextToken"]} if found.get("NextToken") else {}
        try:
            described = summary["StreamDescriptionSummary"]
            arn = _checked_arn(described["StreamARN"])
            return Description(arn, str(described.get("StreamCreationTimestamp")), _parents(shards))
        except (KeyError, TypeError, ValueError) as exc:
            raise LocalServiceError("DescribeStreamSummary: the server's answer describes no stream") from exc

    def _named(self, stream: Description) -> dict[str, Any]:
        return {"StreamName": self._stream}

    def _record(self, stream: Description, shard: str, record: Mapping[str, Any]) -> Record:
        number, data = str(record["SequenceNumber"]), str(record["Data"])
        arrived_at = float(record["ApproximateArrivalTimestamp"])
        kinesis = {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": number,
            "data": data,
            "approximateArrivalTimestamp": arrived_at,
        }
        _, _, _, region, account, _ = stream.arn.split(":", 5)
        shown = {
            "kinesis": kinesis,
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard}:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": f"arn:aws:iam::{account}:role/local",
            "awsRegion": region,
            "eventSourceARN": stream.arn,
        }
        text = base64.b64decode(data).decode(errors="replace")
        return Record(number, arrived_at, shown, {**kinesis, "data": text})


class DynamoDBStream(Stream):
    """
    The stream of the table *name*, or the table or stream with that ARN, of the server at *endpoint*.

    Raises:
        ConfigurationError: *endpoint* is not on this machine, or *name* is the ARN of something else.
    """

    kind: Literal["kinesis", "dynamodb"] = "dynamodb"
    _prefix = "DynamoDBStreams_20120810"
    _after = "SequenceNumber"

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        super().__init__(name, endpoint, region)
        self._table = _resource(name, "dynamodb", "table")

    async def describe(self) -> Description:
        """Return what there is; the stream is the latest of the table."""
        table = await self._service.call("DynamoDB_20120810.DescribeTable", {"TableName": self._table})
        try:
            arn = table["Table"].get("LatestStreamArn")
            if arn is None:
                raise LocalServiceError(f"the table {self._table} has no stream: set its StreamSpecification")
            arn = _checked_arn(arn)
            shards: list[Mapping[str, Any]] = []
            members: dict[str, Any] | None = {"StreamArn": arn}
            while members:
                found = await self._service.call(f"{self._prefix}.DescribeStream", members)
                described = found["StreamDescription"]
                shards += described.get("Shards") or ()
                last = described.get("LastEvaluatedShardId")
                members = {"StreamArn": arn, "ExclusiveStartShardId": last} if last else None
            return Description(arn, arn, _parents(shards))
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise LocalServiceError("DescribeStream: the server's answer describes no stream") from exc

    def _named(self, stream: Description) -> dict[str, Any]:
        return {"StreamArn": stream.arn}

    def _record(self, stream: Description, shard: str, record: Mapping[str, Any]) -> Record:
        change = record["dynamodb"]
        number, created_at = str(change["SequenceNumber"]), float(change["ApproximateCreationDateTime"])
        # Lambda's has whole seconds, and its own version; the rest is the service's.
        shown = {
            **record,
            "eventVersion": "1.1",
            "dynamodb": {**change, "ApproximateCreationDateTime": int(created_at)},
            "eventSourceARN": stream.arn,
        }
        return Record(number, created_at, shown, shown)


def _parents(shards: list[Mapping[str, Any]]) -> dict[str, str | None]:
    return {str(shard["ShardId"]): shard.get("ParentShardId") for shard in shards}


def _checked_arn(arn: object) -> str:
    if not isinstance(arn, str) or arn.count(":") < 5:
        raise ValueError(arn)
    return arn


def _resource(name: str, service: str, kind: str) -> str:
    """Return the name of the *kind* that *name*, itself one or an ARN, is about."""
    if name.startswith("arn:"):
        parts = name.split(":", 5)
        resource = parts[5].split("/") if len(parts) == 6 else []
        if parts[2:3] != [service] or len(resource) < 2 or resource[0] != kind:
            raise ConfigurationError(f"{name!r} is not the ARN of a {kind} of {service}")
        return resource[1]
    if not name or not name.isascii() or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise ConfigurationError(f"{name!r} is not the name of a {kind} of {service}")
    return name
