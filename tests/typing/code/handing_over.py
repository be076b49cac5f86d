"""wait_until: the arguments are those of the function, and the handle knows what it will return."""

from __future__ import annotations

import asyncio
from typing import Any, reveal_type

from lambda_ric import BackgroundTask, LambdaContext, task, wait_until


def send_receipt(order_id: str, *, copies: int = 1) -> bool:
    return True


async def charge(cents: int) -> float:
    return cents / 100


def charge_soon(cents: int) -> asyncio.Future[float]:
    return asyncio.ensure_future(charge(cents))


@task
def archive(order_id: str) -> int:
    return 1


@task(timeout=3)
async def index(document: bytes) -> list[str]:
    return []


async def order(event: dict[str, Any]) -> bytes:
    return b""


class Mailer:
    def send(self, address: str) -> None: ...

    def __call__(self, *addresses: str) -> int:
        return len(addresses)


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    wait_until(send_receipt, "o-17")
    wait_until(send_receipt, order_id="o-17", copies=2)
    wait_until(Mailer().send, "a@b.example")
    wait_until(lambda: None)
    wait_until(index, b"")

    wait_until(send_receipt, 17)  # refused
    wait_until(send_receipt, "o-17", copis=2)  # refused
    wait_until(send_receipt)  # refused
    wait_until(send_receipt, "o-17", 2)  # refused
    wait_until(charge, "17")  # refused
    wait_until(archive, 17)  # refused
    wait_until(index, "text")  # refused
    wait_until(Mailer(), 17)  # refused
    wait_until(send_receipt("o-17"))  # refused
    wait_until(None)  # refused
    wait_until(charge(17), "17")  # refused

    reveal_type(wait_until(send_receipt, "o-17", copies=2).result())  # is bool
    reveal_type(wait_until(charge, 17).result())  # is float
    reveal_type(wait_until(charge_soon, 17).result())  # is float
    reveal_type(wait_until(order, event).result())  # is bytes
    reveal_type(wait_until(charge(17)).result())  # is float
    reveal_type(wait_until(charge_soon(17)).result())  # is float
    reveal_type(wait_until(archive, "o-17").result())  # is int
    reveal_type(wait_until(index, b"").result())  # is list[str]
    reveal_type(wait_until(Mailer(), "a@b.example").result())  # is int
    reveal_type(wait_until(print, "sent").result())  # is None


async def asynchronous(event: dict[str, Any], context: LambdaContext) -> None:
    reveal_type(wait_until(asyncio.create_task(charge(17))).result())  # is float
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    reveal_type(wait_until(future).result())  # is bytes


def states(handle: BackgroundTask[bool]) -> str:
    if handle.state == "succeeded":
        return "done"
    if handle.state == "succeded":  # refused by mypy
        return "never"
    reveal_type(handle.attempts)  # is int
    return handle.name


def kept() -> list[BackgroundTask[Any]]:
    handles: list[BackgroundTask[Any]] = [wait_until(send_receipt, "o-17"), wait_until(charge(17))]
    return handles
