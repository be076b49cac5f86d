"""
Where tasks go that do not fit before the deadline: an SQS queue, a function that is invoked later, a sink of one's own.
"""

from __future__ import annotations

import os

from .lambda_function import LambdaFunction
from .sqs_queue import SQSQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from lambda_ric.envelope import Envelope
else:
    Protocol = object  # typing is not worth its import at a cold start

__all__ = ["Sink", "lambda_async", "sqs"]

MAX_SIZE = 1024 * 1024
"""What a message of a queue, and an asynchronous event, may have at most."""


class Sink(Protocol):
    """
    Takes tasks over, as envelopes: whatever reads them there runs them later.

    Both methods may be called from several threads at a time.
    """

    def check(self, envelope: Envelope) -> None:
        """
        Do nothing if *envelope* may be accepted; called when a task is handed over, so it must not wait.

        Raises:
            ValueError: It can never be accepted, because of its size, say.
        """

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        """
        Send *envelopes*, and return within *within* seconds those that were not accepted, each with the reason.

        It must not raise. What it does not return counts as accepted, and is not run here any more.
        """


def sqs(
    queue_url: str,
    *,
    message_group_id: str | None = None,
    max_message_size: int = MAX_SIZE,
    region: str | None = None,
    endpoint_url: str | None = None,
) -> SQSQueue:
    """
    Return the SQS queue at *queue_url* as a sink; it is a FIFO queue if its name ends in ``.fifo``.

    Nothing is imported or connected to before it is needed. *message_group_id* is the task's name by default where
    there has to be one, in FIFO queues. *max_message_size*, in bytes, is that of the queue if it has a lower one than
    SQS.

    Raises:
        ConfigurationError: The URL is empty or no URL, the region is not known, or botocore is not installed.
    """
    return SQSQueue(queue_url, message_group_id, max_message_size, region, endpoint_url, os.environ)


def lambda_async(
    function: str, *, max_payload_size: int = MAX_SIZE, region: str | None = None, endpoint_url: str | None = None
) -> LambdaFunction:
    """
    Return *function*, a name or an ARN, as a sink: it is invoked asynchronously, once for each task.

    Nothing is imported or connected to before it is needed.

    Raises:
        ConfigurationError: The name is empty or no name, the region is not known, or botocore is not installed.
    """
    return LambdaFunction(function, max_payload_size, region, endpoint_url, os.environ)
