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

from lambda_ric.emulator.feed import MAX_BACKLOG, MAX_INVOCATIONS, MAX_LINES, MAX_PREVIEW, Feed, snapshot
from lambda_ric.emulator.function import Function
from lambda_ric.emulator.invocation import Failure, Invocation, Span
from lambda_ric.emulator.lines import LogLine

FUNCTION = Function(handler="app.handler", caller={})

Event = tuple[str, Any]


def invocation(event: bytes = b"{}", **fields: Any) -> Invocation:
    return Invocation(event=event, function_arn=FUNCTION.arn, requested_at=1000.0, **fields)


def ended(feed: Feed, event: bytes = b"{}", payload: bytes = b"{}") -> Invocation:
    """Return an invocation whose every step *feed* was told of."""
    made = invocation(event, on_change=feed.changed)
    made.start(1000.0, timeout=3)
    made.respond(1000.1, payload, "application/json")
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


# The record of an invocation...


def test_stages_of_an_invocation() -> None:
    """
    A time is there once it was reached, in milliseconds, and the outcome once the caller has it.
    """
    made = invocation(b'{"n": 1}', source="event", attempt=2, environment=3)
    seen: list[tuple[Any, ...]] = []

    def look() -> None:
        shown = snapshot(made)
        seen.append((shown["stage"], shown["outcome"], {name for name, time in shown["times"].items() if time}))

    look()
    made.init_started_at = 1000.5
    look()
    made.init_ended_at = 1001.0
    made.start(1001.0, timeout=3)
    look()
    made.respond(1001.25, b"17", "application/json")
    look()
    made.ended_at = made.frozen_at = 1003.0
    made.finish()
    look()

    assert seen == [
        ("waiting", None, {"requested"}),
        ("init", None, {"requested", "init_started"}),
        ("running", None, {"requested", "init_started", "init_ended", "started", "deadline"}),
        ("answered", "success", seen[2][2] | {"first_byte", "answered"}),
        ("ended", "success", seen[3][2] | {"ended", "frozen"}),
    ]
    shown = snapshot(made)
    assert (shown["source"], shown["attempt"], shown["environment"]) == ("event", 2, 3)
    assert (shown["times"]["answered"], shown["billed_ms"]) == (1001250.0, 2500)
    assert shown["event"] == {"text": '{"n": 1}', "size": 8, "truncated": False}
    assert shown["response"]["text"] == "17"


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure("Sandbox.Timedout", "Task timed out after 3.00 seconds"), "timeout"),
        (Failure("Runtime.ExitError", "Runtime exited"), "error"),
    ],
)
def test_end_by_the_platform_after_a_good_answer(failure: Failure, outcome: str) -> None:
    """
    The caller had no error, and yet the invocation failed, and says why.
    """
    made = invocation()
    made.start(1000.0, timeout=3)
    made.respond(1000.1, b"{}", "application/json")
    made.fail(1003.0, failure)
    made.finish()
    shown = snapshot(made)

    assert (shown["outcome"], shown["function_error"], shown["reset"]) == (outcome, None, True)
    assert shown["failure"] == {"type": failure.error_type, "message": failure.message}


def test_spans_are_told_with_their_states() -> None:
    """
    Milliseconds since 1970, as every time; one that is still going on has no end.
    """
    made = invocation()
    made.spans += [Span("task", "send", "failed", 1000.0, 1001.5), Span("task", "go", "running", 1000.0, float("nan"))]

    assert snapshot(made)["spans"] == [
        {"kind": "task", "name": "send", "state": "failed", "start": 1000000.0, "end": 1001500.0},
        {"kind": "task", "name": "go", "state": "running", "start": 1000000.0, "end": None},
    ]


def test_payloads_are_previewed() -> None:
    """
    Any bytes are an event; a long one is cut, and says so.
    """
    assert snapshot(invocation(b"\xff!"))["event"] == {"text": "\ufffd!", "size": 2, "truncated": False}

    cut = snapshot(invocation(b"x" * (MAX_PREVIEW + 1)))["event"]
    assert (len(cut["text"]), cut["size"], cut["truncated"]) == (MAX_PREVIEW, MAX_PREVIEW + 1, True)


# ...the stream of events...


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
        assert naps == [15.0, 15.0]

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


def test_large_payloads_of_what_has_ended_are_not_held_in_memory() -> None:
    """
    Two hundred events and responses of 6 MB each would be 2.4 GB.
    """
    feed = Feed(FUNCTION)
    nonce = ended(feed, event=b" " * 100_000).nonce
    gc.collect()

    assert not [each for each in gc.get_objects() if isinstance(each, Invocation) and each.nonce == nonce]
