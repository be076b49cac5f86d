"""Queues on moto's server, as their owner sees them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.support.callers import client, sqs_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
"""What a function needs that sends to them, but for the region."""

_PATIENCE = 30.0
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


class Queue:
    """A queue whose messages come back after *visibility_timeout* seconds."""

    def __init__(self, boto: Any, server: str, name: str, visibility_timeout: int) -> None:
        self._boto = boto
        self.server = server
        attributes = {"VisibilityTimeout": str(visibility_timeout)}
        self.url: str = boto.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def counts(self) -> tuple[int, int]:
        """Return how many messages are visible, and how many are in flight."""
        got = self._boto.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(_COUNTS))["Attributes"]
        return int(got[_COUNTS[0]]), int(got[_COUNTS[1]])

    def wait_until_empty(self) -> None:
        """Wait until each of its messages has been deleted."""
        until = time.monotonic() + _PATIENCE
        while (left := self.counts()) != (0, 0):
            if time.monotonic() > until:
                raise AssertionError(f"messages are left in the queue: {left} visible and in flight")
            time.sleep(0.05)


@contextmanager
def queue(visibility_timeout: int = 600) -> Iterator[Queue]:
    """Start a server, and make a queue there; what moto has is the process's, so its name is a new one."""
    with sqs_server() as server, closing(client("sqs", server)) as boto:
        yield Queue(boto, server, f"tasks-{uuid.uuid4()}", visibility_timeout)
