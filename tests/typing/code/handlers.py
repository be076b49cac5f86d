"""Decorators of handlers, and hooks: what was annotated stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast, reveal_type

from lambda_ric import (
    LambdaContext,
    Outcome,
    TaskReport,
    after_invoke,
    after_response,
    after_thaw,
    before_freeze,
    before_invoke,
    blocking,
    on_shutdown,
    on_startup,
    on_task_failed,
)

CONTEXT = cast(LambdaContext, None)


@blocking
async def synchronous(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    return {"statusCode": 200}


reveal_type(synchronous({}, CONTEXT))  # is dict[str, int]
synchronous({})  # refused
synchronous("text", CONTEXT)  # refused


@blocking
def plain(event: dict[str, Any], context: LambdaContext) -> int:
    return 1


reveal_type(plain({}, CONTEXT))  # is int


@blocking
def streaming(event: dict[str, str], context: LambdaContext) -> Iterator[bytes]:
    yield b""


reveal_type(streaming({}, CONTEXT))  # is None


@after_response
def goes_on(event: dict[str, Any], context: LambdaContext) -> Iterator[dict[str, int]]:
    yield {"statusCode": 202}


reveal_type(goes_on({}, CONTEXT))  # is dict[str, int]


@after_response
async def goes_on_async(event: dict[str, Any], context: LambdaContext) -> AsyncIterator[dict[str, int]]:
    yield {"statusCode": 202}


async def calls() -> None:
    reveal_type(await goes_on_async({}, CONTEXT))  # is dict[str, int]
    await goes_on_async("text", CONTEXT)  # refused


def audit(outcome: Outcome) -> None: ...


async def flush(outcome: Outcome) -> None: ...


@after_response(audit, flush)
def followed(event: dict[str, Any], context: LambdaContext) -> bytes:
    return b""


reveal_type(followed({}, CONTEXT))  # is bytes


@after_response(audit, on="error")
async def followed_async(event: dict[str, Any], context: LambdaContext) -> bytes:
    return b""


after_response(audit, on="sometimes")  # refused
after_response(print, on=1)  # refused


def takes_nothing() -> None: ...


after_response(takes_nothing)  # refused


@on_startup
def start() -> None: ...


@on_startup
async def start_async() -> None: ...


@before_invoke
def before(event: Any, context: LambdaContext) -> None: ...


@after_invoke
def after(outcome: Outcome) -> None: ...


@before_freeze
async def freeze() -> None: ...


@after_thaw
def thaw(seconds: float) -> None: ...


@on_shutdown
def stop() -> None: ...


@on_task_failed
def failed(report: TaskReport) -> None:
    if report.state == "faild":  # refused by mypy
        print("never")


reveal_type(thaw(1.5))  # is None
on_startup(before)  # refused
before_invoke(start)  # refused
after_invoke(start)  # refused
after_thaw(start)  # refused
on_shutdown(after)  # refused
on_task_failed(start)  # refused
