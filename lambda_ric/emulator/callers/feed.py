"""
What the page at ``/_/`` is told: invocations as they change, log lines and notes, as Server-Sent Events.

A reader that is slow, or gone without a word, costs a bounded buffer and never
holds an invocation up.
"""

from __future__ import annotations

import heapq
import itertools
import json
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

import anyio

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.log_line import LogLine
from lambda_ric.emulator.event.observer import Observer
from lambda_ric.emulator.function.function import Function
from lambda_ric.version import __version__

from .snapshot import MAX_PREVIEW, holds_much, milliseconds, snapshot

MAX_INVOCATIONS = 200
MAX_LINES = 2000
MAX_NOTES = 200
# Characters of all lines that are kept, and of all notes: 2,000 lines may have 16 KB each.
MAX_TEXT = 2 * 1024 * 1024
# Records, and characters of lines and notes, that wait for one reader. More than all there is to know, which is what
# it gets instead.
MAX_BACKLOG = 2 * (MAX_INVOCATIONS + MAX_LINES + MAX_NOTES)
MAX_BACKLOG_TEXT = 2 * MAX_TEXT
# Seconds of rest for a reader that has been told everything: what changes more often is told once. Without it, each
# of a thousand tasks would tell of all the others again.
PAUSE = 0.05
# Seconds. Tells a reader that the emulator is there, and the emulator that the reader is.
HEARTBEAT = 15.0
_MAX_PART = 64 * 1024


class Feed(Observer):
    """
    Remembers what happened last, and tells it to whoever subscribes.

    Nothing here waits: `changed`, `log` and `note` are called from the midst
    of an invocation. A large invocation that has ended is kept as its snapshot,
    so that its payloads and its log are not held in memory.
    """

    def __init__(
        self,
        function: Function,
        *,
        concurrency: int = 1,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._function = function
        self._concurrency = concurrency
        self._clock = clock
        self._sleep = sleep
        self._session = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._invocations: OrderedDict[str, Invocation | dict[str, Any]] = OrderedDict()
        self._forgotten = 0
        self._lines = _Said(MAX_LINES)
        self._notes = _Said(MAX_NOTES)
        self._readers: set[_Reader] = set()

    # What there is to tell...

    def changed(self, invocation: Invocation) -> None:
        """Tell that *invocation* has moved on."""
        key = invocation.nonce
        record = snapshot(invocation) if invocation.ended and holds_much(invocation) else invocation
        self._invocations[key] = record
        if len(self._invocations) > MAX_INVOCATIONS:
            self._invocations.popitem(last=False)
            self._forgotten += 1
        if self._readers:
            self._tell(key, "invocation", record)

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Tell of a line that *environment*, during *invocation* if any, or the platform wrote."""
        time, text, platform = line
        key = invocation.nonce if invocation else None
        record = _Line(
            next(self._numbers), time, text[:MAX_PREVIEW], len(text) > MAX_PREVIEW, platform, key, environment
        )
        self._lines.add(record)
        if self._readers:
            self._tell(record.n, "log", record)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Tell of what is neither; the page counts ``dropped``, and a caller's ``throttle``, with the failures."""
        key, source = (invocation.nonce, invocation.source) if invocation else (None, None)
        record = _Note(next(self._numbers), self._clock(), kind, text[:MAX_PREVIEW], key, source)
        self._notes.add(record)
        self._tell(record.n, "note", record)

    def _tell(self, key: str | int, event: str, record: _Record) -> None:
        for reader in self._readers:
            reader.put(key, event, record)
            if reader.is_behind:
                reader.begin_anew(self._everything())

    # ...and to whom.

    async def subscribe(self) -> AsyncGenerator[bytes]:
        """
        Return the events for one reader, without end: ``hello``, what is remembered, ``live``, what comes.

        One that falls too far behind is told ``resync``, and begins anew.
        """
        reader = _Reader(self._everything())
        self._readers.add(reader)
        try:
            while True:
                while reader.backlog:
                    part = reader.take()
                    has_all = not reader.backlog
                    yield part
                    if has_all:
                        await self._sleep(PAUSE)
                if not await reader.woken(self._sleep):
                    yield b": still here\n\n"
        finally:
            self._readers.discard(reader)

    def _everything(self) -> dict[str | int, tuple[str, _Record]]:
        said = heapq.merge(
            (("log", record) for record in self._lines.records),
            (("note", record) for record in self._notes.records),
            key=lambda item: item[1].n,
        )
        return {
            "hello": ("hello", self._hello()),
            **{key: ("invocation", record) for key, record in self._invocations.items()},
            **{item[1].n: item for item in said},
            "live": ("live", {}),
        }

    def _hello(self) -> dict[str, Any]:
        function = self._function
        return {
            "session": self._session,
            "now": milliseconds(self._clock()),
            "version": __version__,
            "function": function.name,
            "runtime": " ".join(function.command) or function.handler,
            "handler": function.handler,
            "timeout": function.timeout,
            "memory": function.memory,
            "concurrency": self._concurrency,
            "keep": {
                "invocations": MAX_INVOCATIONS,
                "lines": MAX_LINES,
                "notes": MAX_NOTES,
                "preview": MAX_PREVIEW,
            },
            "forgotten": {"invocations": self._forgotten, "lines": self._lines.forgotten},
            "endpoints": {
                "invoke": f"/2015-03-31/functions/{function.name}/invocations",
                "stream": f"/2021-11-15/functions/{function.name}/response-streaming-invocations",
            },
        }


class _Line(NamedTuple):
    """A line of the log, which becomes a document only for a reader: mostly there is none."""

    n: int
    time: float
    text: str
    truncated: bool
    platform: bool
    key: str | None
    environment: int


class _Note(NamedTuple):
    """What was said beside the log, likewise."""

    n: int
    time: float
    kind: str
    text: str
    key: str | None
    source: str | None


_Record = Invocation | _Line | _Note | dict[str, Any]


def _document(record: _Record) -> dict[str, Any]:
    if isinstance(record, Invocation):
        return snapshot(record)
    if isinstance(record, dict):
        return record
    return {**record._asdict(), "time": milliseconds(record.time)}


class _Said:
    """The last lines, or notes: so many of them, and so much text, whichever is less."""

    def __init__(self, limit: int) -> None:
        self.records: deque[_Line | _Note] = deque()
        self.forgotten = 0
        self._limit = limit
        self._size = 0
        """Characters of all records."""

    def add(self, record: _Line | _Note) -> None:
        self.records.append(record)
        self._size += len(record.text)
        while len(self.records) > self._limit or self._size > MAX_TEXT:
            self._size -= len(self.records.popleft().text)
            self.forgotten += 1


class _Reader:
    """What one reader has not been told yet; of an invocation only the latest state."""

    def __init__(self, backlog: dict[str | int, tuple[str, _Record]]) -> None:
        self.backlog = backlog
        self._size = 0
        """Characters of the lines and notes that came since the backlog was begun."""
        self._wake = anyio.Event()

    @property
    def is_behind(self) -> bool:
        """Whether more waits for the reader than there is to know."""
        return len(self.backlog) > MAX_BACKLOG or self._size > MAX_BACKLOG_TEXT

    def begin_anew(self, backlog: dict[str | int, tuple[str, _Record]]) -> None:
        self.backlog = {"resync": ("resync", {}), **backlog}
        self._size = 0

    def put(self, key: str | int, event: str, record: _Record) -> None:
        self.backlog[key] = event, record
        if isinstance(record, _Line | _Note):
            self._size += len(record.text)
        self._wake.set()

    def take(self) -> bytes:
        """Return the next events, a good part of them at once."""
        part = b""
        while self.backlog and len(part) < _MAX_PART:
            event, record = self.backlog.pop(next(iter(self.backlog)))
            if not self.backlog:
                self._size = 0
            data = json.dumps(_document(record), separators=(",", ":"))
            part += f"event: {event}\ndata: {data}\n\n".encode("ascii")
        return part

    async def woken(self, sleep: Callable[[float], Awaitable[None]]) -> bool:
        """Wait for something to tell; return whether it came before the next heartbeat."""
        self._wake = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat, sleep)
            await self._wake.wait()
            tasks.cancel_scope.cancel()
        return bool(self.backlog)

    async def _beat(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        await sleep(HEARTBEAT)
        self._wake.set()
