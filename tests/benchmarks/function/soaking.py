"""A handler that leaves work of every kind behind, and counts what of it ran."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from lambda_ric import after_response, task, wait_until
from lambda_ric.tasks.envelope import Envelope

RAN: Counter[str] = Counter()
# Pieces of work run in several threads, and to add 1 takes two steps.
_counting = threading.Lock()


def _ran(what: str, times: int = 1) -> None:
    with _counting:
        RAN[what] += times


class Memory:
    """A sink that counts what it is sent, and forgets it."""

    def check(self, envelope: Envelope) -> None:
        pass

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        _ran("overflowed", len(envelopes))
        return []


@after_response
def handler(event: dict[str, Any], context: object) -> Iterator[dict[str, Any]]:
    """Hand over one of each; with ``report`` in the event, nothing."""
    if event.get("report"):
        yield {"ran": dict(RAN)}
        return
    order = "o-17"
    wait_until(_function, order)
    wait_until(_coroutine(order))
    wait_until(_retried, [], order)
    wait_until(_retried_coroutine, [], order)
    for _ in range(2):
        wait_until(_once, order)
        wait_until(_one_at_a_time, order)
    wait_until(_failing, order)
    wait_until(_too_long, order)
    yield {"ok": True}
    _ran("rest")


def _function(order: str) -> None:
    _ran("function")


async def _coroutine(order: str) -> None:
    _ran("coroutine")


@task(retries=1, backoff=0)
def _retried(failures: list[str], order: str) -> None:
    _fail_once(failures, order)
    _ran("retried function")


@task(retries=1, backoff=0)
async def _retried_coroutine(failures: list[str], order: str) -> None:
    _fail_once(failures, order)
    _ran("retried coroutine")


def _fail_once(failures: list[str], order: str) -> None:
    if not failures:
        failures.append(order)
        _ran("failed attempt")
        raise ConnectionError(order)


@task(dedupe_key=lambda order: order)
def _once(order: str) -> None:
    _ran("one of two with the same key")


_alone = threading.Lock()


@task(max_concurrency=1)
def _one_at_a_time(order: str) -> None:
    if not _alone.acquire(blocking=False):
        raise AssertionError("two at once")
    _ran("one at a time")
    _alone.release()


@task
def _failing(order: str) -> None:
    _ran("failing")
    raise ValueError(order)


@task(timeout=3600, overflow=Memory())  # longer than any invocation
def _too_long(order: str) -> None:
    _ran("too long")
