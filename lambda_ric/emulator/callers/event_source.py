"""
The event source mapping for SQS: polls a queue, sends its messages to the function in batches, deletes what it took.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio

from lambda_ric.emulator.event.invocation import Answer, Invocation
from lambda_ric.emulator.event.refusals import EmulatorError
from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError

from .backoff import find_environment
from .batches import (
    LONGEST_BACKOFF,
    MAX_BATCH_SIZE,
    check_batch,
    description,
    events_of,
    persistently,
    reported_failures,
)
from .filters import Filter, are_matched
from .local_service import LocalServiceError
from .notes import Note, no_note
from .sqs import MAX_ENTRIES, QueueAttributes, SQSQueue

LONG_POLL = 20
"""The seconds for which Lambda, too, asks the queue to wait for a message."""

Message = dict[str, Any]
"""As SQS describes it."""


class SQSEventSource:
    """
    Sends the messages of *queue*, its name, ARN or URL, to *submit*, no more than *concurrency* batches at once.

    *report_batch_item_failures* is the mapping's FunctionResponseTypes; without it, what a function returns is of no
    importance. What is not deleted is visible again, and sent again, after the queue's visibility timeout. With
    *filters* a message has to match one of them; what does not is deleted, and the function never sees it.

    Raises:
        ConfigurationError: *endpoint* is not on this machine, or Lambda would refuse the settings.
    """

    def __init__(
        self,
        queue: str,
        endpoint: str,
        function: Function,
        submit: Callable[[Invocation], None],
        *,
        batch_size: int = 10,
        batching_window: float = 0.0,
        concurrency: int = 1,
        report_batch_item_failures: bool = True,
        filters: Sequence[Filter] = (),
        long_poll: int = LONG_POLL,
        note: Note = no_note,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._queue = SQSQueue(queue, endpoint, function.region)
        _check_batch(batch_size, batching_window, fifo=self._queue.fifo)
        if concurrency < 1:
            raise ConfigurationError(f"the concurrency must be at least 1, not {concurrency}")
        self._function = function
        self._submit = submit
        self._batch_size = batch_size
        self._batching_window = batching_window
        self._slots = anyio.Semaphore(concurrency)
        self._reports_failures = report_batch_item_failures
        self._filters = filters
        self._long_poll = long_poll
        self._note = note
        self._clock = clock
        self._sleep = sleep
        self._arn: str | None = None
        self._mapping = str(uuid.uuid4())
        self._persistently = partial(persistently, note=note, sleep=sleep)
        self._in_flight = 0

    async def run(self) -> None:
        """Poll until cancelled; what is in flight then stays in the queue, and comes again."""
        try:
            async with self._queue, anyio.create_task_group() as tasks:
                attributes = await self._persistently(self._queue.attributes)
                self._arn = attributes.arn
                while True:
                    await self._slots.acquire()
                    tasks.start_soon(self._process, await self._batch(), attributes)
        finally:
            if self._in_flight:
                text = f"the emulator was closed: {self._in_flight} messages of {self._queue.name} will come again"
                self._note("retry", text, None)

    def described(self) -> dict[str, Any]:
        """Return what the Lambda API tells of the mapping; the ARN is known when the queue is."""
        return description(
            self._mapping, self._arn, self._function, self._batch_size, self._batching_window, self._reports_failures
        )

    # Out of the queue...

    async def _batch(self) -> list[Message]:
        """Collect the next batch: what there is, and what else comes within the window after the first message."""
        batch: list[Message] = []
        while not batch:
            batch = await self._received(self._batch_size, self._long_poll)
        closes = self._clock() + self._batching_window
        while len(batch) < self._batch_size and (left := closes - self._clock()) > 0:
            batch += await self._received(self._batch_size - len(batch), min(math.ceil(left), self._long_poll))
        return batch

    async def _received(self, most: int, wait: int) -> list[Message]:
        messages = await self._persistently(partial(self._queue.receive, most, wait))
        self._in_flight += len(messages)
        return messages

    # ...into the function...

    async def _process(self, batch: list[Message], attributes: QueueAttributes) -> None:
        expires = self._clock() + attributes.visibility_timeout
        try:
            wanted: list[Message] = []
            unwanted: list[Message] = []
            for message in batch:
                (wanted if self._is_wanted(message, attributes.arn) else unwanted).append(message)
            await self._delete(unwanted, None)
            shown = [(message, _record(message, attributes.arn)) for message in wanted]
            for event, part in events_of(shown):
                await self._send(event, part, expires)
        except EmulatorError:
            return  # closed, which `run` tells of
        self._in_flight -= len(batch)
        self._slots.release()

    async def _send(self, event: bytes, part: list[Message], expires: float) -> None:
        invocation = Invocation(event=event, function_arn=self._function.arn, requested_at=self._clock(), source="sqs")
        found = await find_environment(
            self._submit, invocation, expires, longest=LONGEST_BACKOFF, clock=self._clock, sleep=self._sleep
        )
        if not found:
            text = f"{len(part)} messages were throttled until they were visible in the queue again"
            self._note("retry", text, invocation)
            return
        answer = await invocation.answered()
        failed = self._failed(answer, {message["MessageId"] for message in part})
        if failed:
            text = f"{len(failed)} of {len(part)} messages failed: they come again after the visibility timeout"
            self._note("retry", text, invocation)
        await self._delete([message for message in part if message["MessageId"] not in failed], invocation)
        # What follows the response keeps the environment, and so the place among the batches.
        await invocation.finished()

    def _is_wanted(self, message: Message, queue_arn: str) -> bool:
        return are_matched(self._filters, _record(message, queue_arn))

    # ...and what it says.

    def _failed(self, answer: Answer, ids: set[str]) -> set[str]:
        if answer.function_error is not None:
            return ids
        return reported_failures(answer.payload, ids) if self._reports_failures else set()

    async def _delete(self, messages: Sequence[Message], invocation: Invocation | None) -> None:
        if not messages:
            return
        try:
            await self._queue.delete([message["ReceiptHandle"] for message in messages])
        except LocalServiceError as exc:
            self._note("retry", f"{exc}: what was not deleted comes again", invocation)


def _check_batch(size: int, window: float, *, fifo: bool) -> None:
    check_batch(size, window, MAX_BATCH_SIZE)
    if fifo and (size > MAX_ENTRIES or window):
        raise ConfigurationError(f"a FIFO queue has batches of at most {MAX_ENTRIES} messages, and no batching window")
    if size > MAX_ENTRIES and window < 1:
        raise ConfigurationError(f"a batch of more than {MAX_ENTRIES} messages needs a batching window of 1 second")


def _record(message: Message, queue_arn: str) -> dict[str, Any]:
    """Return *message* as Lambda shows it to a function."""
    described = message.get("MessageAttributes") or {}
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes") or {},
        "messageAttributes": {name: _attribute(value) for name, value in described.items()},
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return {
        **record,
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


def _attribute(described: dict[str, Any]) -> dict[str, Any]:
    names = {"StringValue": "stringValue", "BinaryValue": "binaryValue"}
    values = {names[name]: described[name] for name in names if described.get(name) is not None}
    return {**values, "stringListValues": [], "binaryListValues": [], "dataType": described.get("DataType", "String")}
