"""Handlers that only lambda_ric can run: work after the response, and coroutines."""

from __future__ import annotations

from lambda_ric import wait_until


def callable_afterwards(event: object, context: object) -> dict[str, bool]:
    wait_until(_send_receipt, "o-17")
    return {"ok": True}


async def asynchronous(event: object, context: object) -> dict[str, bool]:
    return {"ok": True}


def _send_receipt(order_id: str) -> None:
    pass
