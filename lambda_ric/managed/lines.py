"""
Standard streams whose lines say which invocation they belong to.

One log has the lines of many invocations, mixed, and the platform knows whose a line is by its key *requestId*: so what
is printed becomes a JSON object with that key. A line that is a JSON object already is left as it is.
"""

from __future__ import annotations

import json
import threading
import time

from lambda_ric.context import invocation_of_record
from lambda_ric.log_sinks import LineStream
from lambda_ric.logs import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from lambda_ric.context import InvocationScope
    from lambda_ric.log_sinks import FrameSink

    Writer = tuple[int, InvocationScope | None]


class AttributedLines(LineStream):
    """
    A standard stream for many invocations at once.

    What one of them prints in one thread is held back until its line is
    complete, or the invocation ends: a `flush` before that changes nothing,
    since half a line can belong to nobody.
    """

    def __init__(self, stream: TextIO, frames: FrameSink | None) -> None:
        super().__init__(stream, frames)
        self._parts: dict[Writer, list[str]] = {}

    def write(self, text: str) -> int:
        """Take *text*, and write what is complete by now."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        invocation = invocation_of_record()
        writer = threading.get_ident(), invocation
        with self._lock:
            whole, newline, rest = text.rpartition("\n")
            if newline:
                whole = "".join(self._parts.pop(writer, ())) + whole
            if rest:
                self._parts.setdefault(writer, []).append(rest)
        if newline:
            self._write_lines(whole, invocation)
        return len(text)

    def flush(self) -> None:
        """Write what others have left in the stream underneath."""
        with self._lock:
            self._stream.flush()

    def end_lines(self) -> None:
        """Write what is not complete, each part as a line."""
        self._end_lines(list(self._parts))
        self.flush()

    def end_lines_of(self, invocation: object) -> None:
        """Write what *invocation* has not completed, each part as a line."""
        if self._parts:
            self._end_lines([writer for writer in tuple(self._parts) if writer[1] is invocation])

    def after_fork(self) -> None:
        """Make the stream usable in a child process: what is held back, its parent writes."""
        super().after_fork()
        self._parts.clear()

    def _end_lines(self, writers: list[Writer]) -> None:
        for writer in writers:
            with self._lock:
                text = "".join(self._parts.pop(writer, ()))
            if text:
                self._write_lines(text, writer[1])

    def _write_lines(self, text: str, invocation: InvocationScope | None) -> None:
        self.write_event("".join(_attributed(line, invocation) for line in text.split("\n")))


def _attributed(line: str, invocation: InvocationScope | None) -> str:
    if not line or _is_json_object(line):
        return line + "\n"
    event = {
        "timestamp": timestamp(time.time()),
        "level": "INFO",
        "message": line,
    }
    if invocation is not None:
        event["requestId"] = invocation.request_id
        if invocation.tenant_id is not None:
            event["tenantId"] = invocation.tenant_id
    return json.dumps(event, ensure_ascii=False) + "\n"


def _is_json_object(line: str) -> bool:
    if not (line.startswith("{") and line.rstrip().endswith("}")):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
