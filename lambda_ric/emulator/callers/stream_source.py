"""
The event source mapping for streams: reads each shard in order, and goes on only when its records are dealt with.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html, https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import anyio

from lambda_ric.emulator.event.invocation import Answer, Invocation
from lambda_ric.emulator.event.refusals import EmulatorError
from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError

from .backoff import FIRST_BACKOFF, find_environment
from .batches import (
    LONGEST_BACKOFF,
    MAX_BATCH_SIZE,
    check_batch,
    description,
    events_of,
    persistently,
    reported_failures,
)
from .destinations import DeliveryError, Destination, deliver
from .filters import Filter, are_matched
from .local_service import LocalServiceError
from .notes import Note, no_note
from .outcome import BatchOutcome, iso_time
from .streams import Description, Position, Record, Stream

# Seconds between two looks at a shard that had nothing new.
POLL_INTERVAL = 0.25
_LARGEST_BATCH = {"kinesis": MAX_BATCH_SIZE, "dynamodb": 1000}


class StreamEventSource:
    """
    Sends the records of *stream* to *submit*, a batch of each shard at a time.

    Settings are those of the mapping: a batch that fails is sent again, *maximum_retry_attempts* times, and
    no longer than its records are *maximum_record_age* seconds old; -1 is for ever. With *bisect* its halves are sent
    separately. *report_batch_item_failures* lets a function report from which record on. What is
    given up goes to *on_failure*. What matches none of the *filters* is passed over. Its one subject is the way of a
    shard's records to the function, in their order.

    A stream, or a shard, that comes up after the emulator is read from its beginning, whatever *starting_position*.

    Raises:
        ConfigurationError: Lambda would refuse the settings.
    """

    def __init__(
        self,
        stream: Stream,
        function: Function,
        submit: Callable[[Invocation], None],
        *,
        batch_size: int = 100,
        batching_window: float = 0.0,
        starting_position: Position = "LATEST",
        maximum_retry_attempts: int = -1,
        maximum_record_age: float = -1,
        bisect: bool = False,
        report_batch_item_failures: bool = True,
        on_failure: Destination | None = None,
        filters: Sequence[Filter] = (),
        note: Note = no_note,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        check_batch(batch_size, batching_window, _LARGEST_BATCH[stream.kind])
        if not -1 <= maximum_retry_attempts <= 10_000:
            text = f"the retry attempts must be -1, for no limit, to 10000, not {maximum_retry_attempts}"
            raise ConfigurationError(text)
        if not (maximum_record_age == -1 or 60 <= maximum_record_age <= 604_800):
            text = f"the record age must be 60 to 604800 seconds, or -1 for no limit, not {maximum_record_age:g}"
            raise ConfigurationError(text)
        self._stream = stream
        self._function = function
        self._submit = submit
        self._batch_size = batch_size
        self._batching_window = batching_window
        self._position: Position = starting_position
        self._retries = maximum_retry_attempts
        self._age = math.inf if maximum_record_age == -1 else maximum_record_age
        self._bisect = bisect
        self._reports_failures = report_batch_item_failures
        self._on_failure = on_failure
        self._filters = filters
        self._note = note
        self._clock = clock
        self._sleep = sleep
        self._mapping = str(uuid.uuid4())
        self._arn: str | None = None
        self._read: dict[str, str | None] = {}
        """Of each shard the last sequence number that is dealt with."""
        self._closed: set[str] = set()
        self._followed: set[str] = set()
        self._changed = anyio.Event()
        self._complaint = ""

    async def run(self) -> None:
        """Read until cancelled; nothing is remembered then."""
        known: Description | None = None
        async with self._stream, anyio.create_task_group() as tasks:
            while True:
                found = await persistently(self._describe, note=self._note, sleep=self._sleep)
                if known is not None and found.incarnation != known.incarnation:
                    self._read.clear()
                    self._closed.clear()
                known = found
                self._arn = found.arn
                for shard in self._next_shards(found):
                    self._followed.add(shard)
                    tasks.start_soon(self._follow, found, shard, self._position)
                self._position = "TRIM_HORIZON"
                if not self._followed:
                    await self._sleep(LONGEST_BACKOFF)
                    continue
                await self._changed.wait()
                self._changed = anyio.Event()

    def described(self) -> dict[str, Any]:
        """Return what the Lambda API tells of the mapping; the ARN is known when the stream is."""
        return {
            **description(
                self._mapping,
                self._arn,
                self._function,
                self._batch_size,
                self._batching_window,
                self._reports_failures,
            ),
            "BisectBatchOnFunctionError": self._bisect,
            "MaximumRetryAttempts": self._retries,
            "MaximumRecordAgeInSeconds": -1 if self._age == math.inf else int(self._age),
            "ParallelizationFactor": 1,
        }

    async def _describe(self) -> Description:
        try:
            return await self._stream.describe()
        except LocalServiceError:
            self._position = "TRIM_HORIZON"  # what is not there yet has nothing old
            raise

    # From the shards...

    def _next_shards(self, stream: Description) -> list[str]:
        """Return the shards that are not read yet, though the one that they have come of is."""
        return [
            shard
            for shard, parent in stream.parents.items()
            if shard not in self._closed | self._followed and (parent in self._closed or parent not in stream.parents)
        ]

    async def _follow(self, stream: Description, shard: str, position: Position) -> None:
        """Read *shard* to its end, or until the server does not answer; both say that others may be there now."""
        try:
            iterator = await self._stream.iterator(stream, shard, position, self._read.get(shard))
            while iterator:
                batch, iterator = await self._batch(stream, shard, iterator)
                self._complaint = ""
                if batch:
                    await self._process(stream, shard, batch)
                    self._read[shard] = batch[-1].sequence_number
            self._closed.add(shard)
        except EmulatorError:
            return  # closed
        except LocalServiceError as exc:
            if str(exc) != self._complaint:
                self._complaint = str(exc)
                self._note("retry", f"{exc}; the stream is looked at again", None)
            await self._sleep(FIRST_BACKOFF)
        self._followed.discard(shard)
        self._changed.set()

    async def _batch(self, stream: Description, shard: str, iterator: str) -> tuple[list[Record], str]:
        """Collect the next batch: what there is, and what else comes within the window after the first record."""
        batch: list[Record] = []
        closes = math.inf
        while iterator and len(batch) < self._batch_size and self._clock() < closes:
            most = self._batch_size - len(batch)
            found, iterator = await self._stream.records(stream, shard, iterator, most)
            if found and not batch:
                closes = self._clock() + self._batching_window
            batch += found
            if not found and iterator:
                await self._sleep(POLL_INTERVAL)
        return batch, iterator

    # ...into the function...

    async def _process(self, stream: Description, shard: str, batch: Sequence[Record]) -> None:
        wanted = [record for record in batch if are_matched(self._filters, record.filtered)]
        for _, part in events_of([(record, record.shown) for record in wanted]):
            await self._settle(stream, shard, part)

    async def _settle(self, stream: Description, shard: str, records: list[Record], attempts: int = 0) -> None:
        """Send *records*, at which there were *attempts* before, until each has succeeded or is given up."""
        backoff = FIRST_BACKOFF
        last: tuple[Invocation, Answer] | None = None
        while True:
            expired = [record for record in records if record.arrived_at + self._age <= self._clock()]
            if expired:
                await self._give_up(stream, shard, expired, "RecordAgeExceeded", attempts, last)
            records = records[len(expired) :]
            if not records:
                return
            invocation = self._invocation(records)
            if not await self._found_environment(invocation, records):
                continue
            answer = await invocation.answered()
            last = invocation, answer
            failed = self._first_failed(answer, records)
            # What follows the response keeps the environment, and the shard.
            await invocation.finished()
            if failed == len(records):
                return
            # Behind what has succeeded another batch begins.
            attempts = attempts + 1 if failed == 0 else 1
            if self._bisect and failed == 0 and len(records) > 1:
                middle = len(records) // 2
                self._note("retry", f"{len(records)} records of {shard} failed: their halves are sent", invocation)
                for half in (records[:middle], records[middle:]):
                    await self._settle(stream, shard, half, attempts - 1)  # which does not count as a retry
                return
            records = records[failed:]
            if 0 <= self._retries < attempts:
                await self._give_up(stream, shard, records, "RetryAttemptsExhausted", attempts, last)
                return
            text = f"{len(records)} records of {shard} failed: they are sent again in {backoff:g} s"
            self._note("retry", text, invocation)
            await self._sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)

    def _invocation(self, records: Sequence[Record]) -> Invocation:
        return Invocation(
            event=_event(records),
            function_arn=self._function.arn,
            requested_at=self._clock(),
            source=self._stream.kind,
        )

    async def _found_environment(self, invocation: Invocation, records: Sequence[Record]) -> bool:
        return await find_environment(
            self._submit,
            invocation,
            records[0].arrived_at + self._age,
            longest=LONGEST_BACKOFF,
            clock=self._clock,
            sleep=self._sleep,
        )

    # ...and what it says.

    def _first_failed(self, answer: Answer, records: Sequence[Record]) -> int:
        """Return from which of *records* on they have failed; their number if none has."""
        if answer.function_error is not None:
            return 0
        if not self._reports_failures:
            return len(records)
        numbers = [record.sequence_number for record in records]
        failed = reported_failures(answer.payload, set(numbers))
        return min((numbers.index(number) for number in failed), default=len(records))

    async def _give_up(
        self,
        stream: Description,
        shard: str,
        records: Sequence[Record],
        condition: Literal["RetryAttemptsExhausted", "RecordAgeExceeded"],
        attempts: int,
        last: tuple[Invocation, Answer] | None,
    ) -> None:
        invocation, answer = last or (None, None)
        what = f"{len(records)} records of {shard}"
        if self._on_failure is None:
            self._note("dropped", f"{what} are given up ({condition}), and go nowhere", invocation)
            return
        outcome = BatchOutcome(
            condition=condition,
            time=self._clock(),
            attempts=attempts,
            request_id=invocation.request_id if invocation is not None else str(uuid.uuid4()),
            function_arn=self._function.arn,
            answer=answer,
            mapping=self._mapping,
            kind=self._stream.kind,
            stream={
                "shardId": shard,
                "startSequenceNumber": records[0].sequence_number,
                "endSequenceNumber": records[-1].sequence_number,
                "approximateArrivalOfFirstRecord": iso_time(records[0].arrived_at),
                "approximateArrivalOfLastRecord": iso_time(records[-1].arrived_at),
                "batchSize": len(records),
                "streamArn": stream.arn,
            },
            event=_event(records),
        )
        try:
            await deliver(outcome.record(), self._on_failure, self._sleep)
        except DeliveryError as exc:
            self._note("dropped", f"the on-failure destination did not get {what}: {exc}", invocation)
        else:
            self._note("destination", f"the on-failure destination has {what} ({condition})", invocation)


def _event(records: Sequence[Record]) -> bytes:
    ((event, _),) = events_of([(record, record.shown) for record in records])
    return event
