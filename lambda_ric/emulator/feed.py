"""
What the page at ``/_/`` is told: invocations as they change, log lines and notes, as Server-Sent Events.

A reader that is slow, or gone without a word, costs a bounded buffer and never
holds an invocation up.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio

from lambda_ric.version import __version__

from .function import Function
from .invocation import Invocation
from .lines import LogLine
from .observer import Observer

MAX_INVOCATIONS = 200
MAX_LINES = 2000
MAX_NOTES = 200
# Bytes of an event, a response or a log line; the page is for looking, not for copying.
MAX_PREVIEW = 16 * 1024
# Records that wait for one reader. More than all there is to know, which is what it gets instead.
MAX_BACKLOG = 2 * (MAX_INVOCATIONS + MAX_LINES + MAX_NOTES)
# Seconds. Tells a reader that the emulator is there, and the emulator that the reader is.
HEARTBEAT = 15.0
_MAX_PART = 64 * 1024


def snapshot(invocation: Invocation) -> dict[str, Any]:
    """Return what is known of *invocation*, at any stage, ready for JSON; times are milliseconds since 1970."""
    ended, answer = invocation.ended, invocation.answer
    return {
        "key": invocation.nonce,
        "request_id": invocation.request_id,
        "attempt": invocation.attempt,
        "source": invocation.source,
        "environment": invocation.environment,
        "stage": _stage(invocation),
        "outcome": _outcome(invocation),
        "times": {
            "requested": _ms(invocation.requested_at),
            "init_started": _ms(invocation.init_started_at),
            "init_ended": _ms(invocation.init_ended_at),
            "started": _ms(invocation.started_at),
            "first_byte": _ms(invocation.first_byte_at),
            "answered": _ms(invocation.answered_at),
            "ended": _ms(invocation.ended_at) if ended else None,
            "frozen": _ms(invocation.frozen_at),
            "deadline": _ms(invocation.deadline),
        },
        "spans": [
            {
                "kind": span.kind,
                "name": span.name,
                "state": span.state,
                "start": _ms(span.start),
                "end": _ms(span.end),
            }
            for span in invocation.spans
        ],
        "function_error": answer.function_error if answer else None,
        "failure": invocation.failure
        and {"type": invocation.failure.error_type, "message": invocation.failure.message},
        "reset": invocation.reset,
        "max_memory_mb": invocation.max_memory,
        "billed_ms": invocation.billed_ms if ended and not math.isnan(invocation.duration) else None,
        "event": _preview(invocation.event),
        "response": _preview(answer.payload or answer.error_body) if answer else None,
        "content_type": invocation.content_type_of_response if answer else None,
        "streamed": invocation.response_streamed,
    }


def _stage(invocation: Invocation) -> str:
    if invocation.ended:
        return "ended"
    if invocation.answered_at is not None:
        return "answered"
    if not math.isnan(invocation.started_at):
        return "running"
    return "waiting" if invocation.init_started_at is None else "init"


def _outcome(invocation: Invocation) -> str | None:
    return invocation.status if invocation.answer or invocation.failure else None


def _ms(seconds: float | None) -> float | None:
    return round(seconds * 1000, 3) if seconds is not None and math.isfinite(seconds) else None


def _holds_much(invocation: Invocation) -> bool:
    return len(invocation.event) + len(invocation.answer.payload if invocation.answer else b"") > MAX_PREVIEW


def _preview(data: bytes) -> dict[str, Any]:
    text = data[:MAX_PREVIEW].decode(errors="replace")
    return {"text": text, "size": len(data), "truncated": len(data) > MAX_PREVIEW}


class Feed(Observer):
    """
    Remembers what happened last, and tells it to whoever subscribes.

    Nothing here waits: `changed`, `log` and `note` are called from the midst
    of an invocation. A large invocation that has ended is kept as its snapshot,
    so that its payloads are not held in memory.
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
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)
        self._notes: deque[dict[str, Any]] = deque(maxlen=MAX_NOTES)
        self._readers: set[_Reader] = set()

    # What there is to tell...

    def changed(self, invocation: Invocation) -> None:
        """Tell that *invocation* has moved on."""
        record = snapshot(invocation) if invocation.ended and _holds_much(invocation) else invocation
        self._invocations[invocation.nonce] = record
        while len(self._invocations) > MAX_INVOCATIONS:
            self._invocations.popitem(last=False)
        self._tell(invocation.nonce, "invocation", record)

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        """Tell of a line that *environment*, during *invocation* if any, or the platform wrote."""
        number = next(self._numbers)
        record = {
            "n": number,
            "time": _ms(line.time),
            "text": line.text[:MAX_PREVIEW],
            "truncated": len(line.text) > MAX_PREVIEW,
            "platform": line.platform,
            "key": invocation.nonce if invocation else None,
            "environment": environment,
        }
        self._lines.append(record)
        self._tell(number, "log", record)

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Tell of what is neither; the page counts ``dropped``, and a caller's ``throttle``, with the failures."""
        number = next(self._numbers)
        record = {
            "n": number,
            "time": _ms(self._clock()),
            "kind": kind,
            "text": text[:MAX_PREVIEW],
            "key": invocation.nonce if invocation else None,
            "source": invocation.source if invocation else None,
        }
        self._notes.append(record)
        self._tell(number, "note", record)

    def _tell(self, key: str | int, event: str, record: _Record) -> None:
        for reader in self._readers:
            reader.put(key, event, record)
            if len(reader.backlog) > MAX_BACKLOG:
                reader.backlog = {"resync": ("resync", {}), **self._everything()}

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
                    yield reader.take()
                if not await reader.woken(self._sleep):
                    yield b": still here\n\n"
        finally:
            self._readers.discard(reader)

    def _everything(self) -> dict[str | int, tuple[str, _Record]]:
        said = heapq.merge(
            (("log", record) for record in self._lines),
            (("note", record) for record in self._notes),
            key=lambda item: int(item[1]["n"]),
        )
        return {
            "hello": ("hello", self._hello()),
            **{key: ("invocation", record) for key, record in self._invocations.items()},
            **{item[1]["n"]: item for item in said},
            "live": ("live", {}),
        }

    def _hello(self) -> dict[str, Any]:
        function = self._function
        return {
            "session": self._session,
            "now": _ms(self._clock()),
            "version": __version__,
            "function": function.name,
            "runtime": " ".join(function.command) or function.handler,
            "timeout": function.timeout,
            "memory": function.memory,
            "concurrency": self._concurrency,
            "keep": {"invocations": MAX_INVOCATIONS, "lines": MAX_LINES + MAX_NOTES},
            "endpoints": {
                "invoke": f"/2015-03-31/functions/{function.name}/invocations",
                "stream": f"/2021-11-15/functions/{function.name}/response-streaming-invocations",
            },
        }


_Record = Invocation | dict[str, Any]


class _Reader:
    """What one reader has not been told yet; of an invocation only the latest state."""

    def __init__(self, backlog: dict[str | int, tuple[str, _Record]]) -> None:
        self.backlog = backlog
        self._wake = anyio.Event()

    def put(self, key: str | int, event: str, record: _Record) -> None:
        self.backlog[key] = event, record
        self._wake.set()

    def take(self) -> bytes:
        """Return the next events, a good part of them at once."""
        part = b""
        while self.backlog and len(part) < _MAX_PART:
            event, record = self.backlog.pop(next(iter(self.backlog)))
            document = snapshot(record) if isinstance(record, Invocation) else record
            part += f"event: {event}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode("ascii")
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
