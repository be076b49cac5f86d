"""A function that waits for something else, and one that says much meanwhile: handlers for the runs with many slots."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

WAITS = 0.05
"""Seconds."""

logger = logging.getLogger("orders")
logger.setLevel(logging.INFO)


def handler(event: Any, context: Any) -> Any:
    time.sleep(WAITS)
    return {"statusCode": 200}


async def async_handler(event: Any, context: Any) -> Any:
    await asyncio.sleep(WAITS)
    return {"statusCode": 200}


def chatty(event: Any, context: Any) -> Any:
    """Log and print by turns, each line with the request id that it should get."""
    for number in range(event["lines"] // 2):
        logger.info("own %s %d", context.aws_request_id, number)
        time.sleep(0)
        print("own", context.aws_request_id, number)
    return None


async def async_chatty(event: Any, context: Any) -> Any:
    for number in range(event["lines"] // 2):
        logger.info("own %s %d", context.aws_request_id, number)
        await asyncio.sleep(0)
        print("own", context.aws_request_id, end=" ")
        await asyncio.sleep(0)
        print(number)
    return None
