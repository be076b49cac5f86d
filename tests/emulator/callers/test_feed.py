"""
What the page is told, who is told, and what a reader costs.
"""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest

from lambda_ric.emulator.callers.feed import (
    MAX_BACKLOG,
    MAX_BACKLOG_TEXT,
    MAX_INVOCATIONS,
    MAX_LINES,
    MAX_TEXT,
    PAUSE,
    Feed,
)
from lambda_ric.emulator.callers.snapshot import MAX_PREVIEW, snapshot
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.log_line import LogLine
from lambda_ric.emulator.event.span import Span
from lambda_ric.emulator.function.function import Function

FUNCTION = Function(handler="app.handler", caller={})

Event = tuple[str, Any]


def invocation(event: bytes = b"{}", **fields: Any) -> Invocation:
    return Invocation(event=event, function_arn=FUNCTION.arn, requested_at=1000.0, **fields)


def ended(feed: Feed, event: bytes = b"{}", payload: bytes = b"{}", lines: int = 0) -> Invocation:
    """Return an invocation whose every step *feed* was told of."""
    made = invocation(event, on_change=feed.changed)
    made.start(1000.0, timeout=3)
    for number in range(lines):
        made.log(line(f"line {number:10}"))
    made.delivery.respond(1000.1, payload, "application/json")
    made.ended_at = 1002.0
    made.finish()
    return made


def line(text: str) -> LogLine:
    return LogLine(1000.0, text)


class Reader:
    """Takes the stream apart again; *heard* is everything that it was told."""

    def __init__(self, feed: Feed) -> None:
        self._parts: AsyncGenerator[bytes] = feed.subscribe()
        self.heard: list[Event] = []

    async def part(self) -> str:
        return (await anext(self._parts)).decode()

    async def until(self, name: str) -> list[Event]:
        """Read until an event of *name* has come; return what came, that included."""
        heard: list[Event] = []
        while not any(event == name for event, _ in heard):
            heard += [parsed(record) for record in (await self.part()).split("\n\n")[:-1]]
        self.heard += heard
        return heard

    async def close(self) -> None:
        await self._parts.aclose()


def parsed(record: str) -> Event:
    event, data = record.split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def reading(
    test: Callable[[Feed, Reader], Awaitable[None]], feed: Feed | None = None
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what runs *test* with a feed and a reader that is already there."""
    opened = feed or Feed(FUNCTION)

    async def run() -> None:
        reader = Reader(opened)
        await reader.until("live")
        with anyio.fail_after(10):
            await test(opened, reader)
        await reader.close()

    return run


# The stream of events...


def test_reader_is_greeted_and_told_the_history_in_order() -> None:
    """
    First what function this is, then the invocations, what was said in its order, and that the rest is news.
    """
    feed = Feed(FUNCTION, concurrency=7, clock=lambda: 1234.5)
    made = ended(feed)
    feed.log(line("one"), made, 2)
    feed.note("retry", "two", made)
    feed.log(line("three"), None, 2)

    async def run() -> list[Event]:
        reader = Reader(feed)
        await reader.until("live")
        await reader.close()
        return reader.heard

    (_, hello), (_, shown), *said, (last, _) = anyio.run(run)
    assert (hello["function"], hello["runtime"], hello["concurrency"]) == ("function", "app.handler", 7)
    assert hello["handler"] == "app.handler"
    assert (hello["timeout"], hello["memory"], hello["now"]) == (3.0, 128, 1234500.0)
    assert shown == snapshot(made)
    assert [(event, record["text"], record["key"]) for event, record in said] == [
        ("log", "one", made.nonce),
        ("note", "two", made.nonce),
        ("log", "three", None),
    ]
    assert last == "live"


def test_news_reach_every_reader_as_they_come() -> None:
    async def test(feed: Feed, reader: Reader) -> None:
        other = Reader(feed)
        await other.until("live")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.until, "note")
            await anyio.wait_all_tasks_blocked()
            feed.note("throttle", "no environment is free", invocation(source="event"))

        assert reader.heard[-1] == (await other.until("note"))[-1]
        assert (reader.heard[-1][1]["kind"], reader.heard[-1][1]["source"]) == ("throttle", "event")
        await other.close()

    anyio.run(reading(test))


def test_invocation_is_told_once_as_it_is_when_the_reader_comes_to_it() -> None:
    """
    Steps that a reader was too slow for are not told one by one.
    """

    async def test(feed: Feed, reader: Reader) -> None:
        ended(feed)
        feed.note("retry", "the end of it")

        assert [(event, record.get("stage")) for event, record in await reader.until("note")] == [
            ("invocation", "ended"),
            ("note", None),
        ]

    anyio.run(reading(test))


def test_reader_that_falls_behind_begins_anew() -> None:
    """
    What waits for it is bounded: beyond that it is told to forget, and gets what is remembered, the latest included.
    """

    async def test(feed: Feed, reader: Reader) -> None:
        for number in range(MAX_BACKLOG + 1):
            feed.log(line(str(number)), None, 1)
        heard = await reader.until("live")

        assert [event for event, _ in heard[:2]] == ["resync", "hello"]
        assert len(heard) == MAX_LINES + 3
        assert heard[-2][1]["text"] == str(MAX_BACKLOG)

    anyio.run(reading(test))


def test_much_text_that_waits_for_a_reader_lets_it_begin_anew() -> None:
    """
    Few lines may be as much: what waits is bounded by its text, too.
    """

    async def test(feed: Feed, reader: Reader) -> None:
        for _ in range(MAX_BACKLOG_TEXT // MAX_PREVIEW + 1):
            feed.log(line("x" * MAX_PREVIEW), None, 1)
        heard = await reader.until("live")

        assert heard[0][0] == "resync"
        assert sum(len(record.get("text", "")) for _, record in heard) <= MAX_TEXT

    anyio.run(reading(test))


def test_what_changes_often_is_told_once_in_a_while() -> None:
    """
    Each of a thousand tasks changes the invocation: told one by one, all of them would be told a thousand times.
    """

    async def test(feed: Feed, reader: Reader) -> None:
        made = invocation(on_change=feed.changed)
        feed.note("reload", "first")
        await reader.until("note")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reader.until, "note")
                for number in range(1000):
                    made.add(Span("task", str(number), "running", 1000.0, float("nan")))
                    await anyio.lowlevel.checkpoint()
                feed.note("reload", "second")
        assert not scope.cancelled_caught

        assert len([event for event, _ in reader.heard if event == "invocation"]) < 10

    anyio.run(reading(test))


def test_text_cannot_end_its_record() -> None:
    """
    Line breaks, which the format gives a meaning, are in the text of a record only as JSON writes them.
    """

    async def test(feed: Feed, reader: Reader) -> None:
        text = 'a\n\nevent: hello\ndata: {}\r\rb\u2028\ud800"'
        feed.log(line(text), None, 1)

        assert [record["text"] for _, record in await reader.until("log")] == [text]

    anyio.run(reading(test))


def test_silence_is_broken_by_heartbeats() -> None:
    """
    A comment every 15 seconds tells both sides that the other one is there.
    """
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await anyio.lowlevel.checkpoint()

    async def test(feed: Feed, reader: Reader) -> None:
        assert [await reader.part() for _ in range(2)] == [": still here\n\n"] * 2
        assert [seconds for seconds in naps if seconds != PAUSE] == [15.0, 15.0]

    anyio.run(reading(test, Feed(FUNCTION, sleep=sleep)))


# ...and what is kept.


def test_only_the_last_invocations_are_remembered() -> None:
    feed = Feed(FUNCTION)
    made = [ended(feed) for _ in range(MAX_INVOCATIONS + 1)]

    async def test(_feed: Feed, reader: Reader) -> None:
        assert [record["key"] for event, record in reader.heard if event == "invocation"] == [
            each.nonce for each in made[1:]
        ]

    anyio.run(reading(test, feed))


@pytest.mark.parametrize(("event", "lines"), [(b" " * 100_000, 0), (b"{}", 2000)])
def test_what_has_ended_is_not_held_in_memory_with_all_that_it_had(event: bytes, lines: int) -> None:
    """
    Two hundred events and responses of 6 MB each would be 2.4 GB, and as many logs 200 MB.
    """
    feed = Feed(FUNCTION)
    nonce = ended(feed, event=event, lines=lines).nonce
    gc.collect()

    assert not [each for each in gc.get_objects() if type(each) is Invocation and each.nonce == nonce]


def test_kept_lines_are_bounded_by_their_text() -> None:
    """
    A function that never stops printing long lines costs no more than another; the page says what is gone.
    """
    feed = Feed(FUNCTION)
    kept = MAX_TEXT // MAX_PREVIEW
    for _ in range(kept + 3):
        feed.log(line("x" * MAX_PREVIEW), None, 1)

    async def test(_feed: Feed, reader: Reader) -> None:
        assert len([event for event, _ in reader.heard if event == "log"]) == kept
        assert reader.heard[0][1]["forgotten"] == {"invocations": 0, "lines": 3}

    anyio.run(reading(test, feed))


def test_forgotten_invocations_are_counted() -> None:
    feed = Feed(FUNCTION)
    for _ in range(MAX_INVOCATIONS + 2):
        ended(feed)

    async def test(_feed: Feed, reader: Reader) -> None:
        assert reader.heard[0][1]["forgotten"] == {"invocations": 2, "lines": 0}

    anyio.run(reading(test, feed))
