"""@task: the names and kinds of its parameters, and a function that keeps its own."""

from __future__ import annotations

from typing import reveal_type

from lambda_ric import task
from lambda_ric.overflow import lambda_async, sqs


@task
def plain(order_id: str) -> int:
    return 1


@task(
    name="shop:send",
    timeout=20,
    retries=3,
    backoff=0.5,
    on="success",
    max_concurrency=2,
    dedupe_key=lambda order_id: order_id,
    overflow=sqs("https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"),
    on_failure=lambda_async("worker"),
    redact=True,
)
def send(order_id: str) -> bool:
    return True


@task()
async def index(document: bytes) -> float:
    return 0.5


reveal_type(plain("o-17"))  # is int
reveal_type(send("o-17"))  # is bool
plain(17)  # refused
send()  # refused
plain.name.upper()


async def calls() -> None:
    reveal_type(await index(b""))  # is float


task(retry=3)  # refused
task(retries="3")  # refused
task(on="sometimes")  # refused
task(overflow="https://sqs.eu-west-1.amazonaws.com/123456789012/tasks")  # refused
task(17)  # refused
