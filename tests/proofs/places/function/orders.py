"""The function that is the same in all places."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lambda_ric import Outcome, after_invoke, after_response, current_invocation, task, wait_until

log = logging.getLogger("orders")

known: dict[str, str] = {}


@task(timeout=5)
def send_receipt(order: str) -> None:
    """A task with a policy, in a thread."""
    log.warning("receipt for %s", order, extra={"order": order})


async def index(order: str) -> None:
    """A coroutine."""
    await asyncio.sleep(0)
    log.warning("indexed %s", order)


def audit(order: str) -> None:
    """Work that fails."""
    raise ConnectionError(f"the audit log has no room for {order}")


def say_thanks(outcome: Outcome) -> None:
    """What follows a success only."""
    log.warning("thanks for %s", outcome.event["order"])


@after_invoke
def count(outcome: Outcome) -> None:
    """What follows every invocation."""
    log.warning("counted %s: %s", outcome.event["order"], type(outcome.error).__name__)


@after_response(say_thanks)
def handler(event: dict[str, str], context: Any) -> dict[str, str]:
    """Take an order, unless it is unknown."""
    order = event["order"]
    log.warning("took %s", order)
    wait_until(send_receipt, order)
    wait_until(index(order))
    wait_until(audit, order)
    if order == "o-13":
        try:
            return {"order": known[order]}
        except KeyError:
            log.exception("looked for %s", order)
        raise LookupError(f"no order {order}")
    invocation = current_invocation()
    assert invocation is not None
    assert invocation.request_id == context.aws_request_id
    return {"order": order, "for": "Zoë", "request": context.aws_request_id}
