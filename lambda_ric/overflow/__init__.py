"""
Where tasks go that do not fit before the deadline: an SQS queue, a function that is invoked later, a sink of one's own.
"""

from __future__ import annotations

import os

from lambda_ric.tasks.envelope import Envelope
from lambda_ric.tasks.sink import Sink, Unconfirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .lambda_function import LambdaFunction
    from .sqs_queue import SQSQueue

__all__ = ["Envelope", "Sink", "Unconfirmed", "lambda_async", "sqs"]

MAX_SIZE = 1024 * 1024
"""What a message of a queue, and an asynchronous event, may have at most."""


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
        ConfigurationError: The URL is empty or no URL, or the region is not known.
    """
    from .sqs_queue import SQSQueue  # few functions have both kinds

    return SQSQueue(queue_url, message_group_id, max_message_size, region, endpoint_url, os.environ)


def lambda_async(
    function: str, *, max_payload_size: int = MAX_SIZE, region: str | None = None, endpoint_url: str | None = None
) -> LambdaFunction:
    """
    Return *function*, a name or an ARN, as a sink: it is invoked asynchronously, once for each task.

    Nothing is imported or connected to before it is needed.

    Raises:
        ConfigurationError: The name is empty or no name, or the region is not known.
    """
    from .lambda_function import LambdaFunction

    return LambdaFunction(function, max_payload_size, region, endpoint_url, os.environ)
