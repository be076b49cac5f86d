"""
The side channel that tells a local emulator what ran, and when.

An emulator passes the number of a pipe in LAMBDA_RIC_SPANS_FD; in Lambda the
variable is unset and nothing is written. The format is one JSON object a
line: docs/architecture.md.
"""

from __future__ import annotations

import _thread
import json
import os

# Characters, of which each may be written as an escape of six bytes, or two of them.
_MAX_REASON = 200
_MOST_KEPT = 2000
PATIENCE = 0.02
"""Seconds for which lines may be kept together before somebody has to `flush` them."""


class Spans:
    """
    Writes one line when a piece of work begins, but for the handler, and one when it has ended.

    To write a line costs more than a small task does. So where there are many tasks their lines are kept for a moment,
    and those of work that has ended by then are one: a thousand tasks cost 1.14 times what they cost without, not 2.4
    (`tests.benchmarks.side_channel`). The lock guards what has not been written yet; a signal handler may come back
    to it on the thread that holds it.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = _thread.RLock()
        self._kept: dict[tuple[str, str, str, float], tuple[str, float | None, str]] = {}
        """What there is to say, by what it is about: the state, the end and the reason."""
        self._since = 0.0

    @property
    def wanted(self) -> bool:
        """Whether anybody reads them."""
        return self._descriptor is not None

    def started(self, request_id: str, kind: str, name: str, start: float, *, keep: bool = False) -> None:
        """
        Tell that a piece of work has begun; *start* is in seconds since 1970.

        With *keep* it may be told a little later, or not before it has ended.
        """
        if self._descriptor is not None:
            self._tell((request_id, kind, name, start), ("running", None, ""), start, keep)

    def ended(
        self,
        request_id: str,
        kind: str,
        name: str,
        state: str,
        start: float,
        end: float,
        reason: str = "",
        *,
        keep: bool = False,
    ) -> None:
        """
        Tell of one piece of work; *start* and *end* are seconds since 1970.

        *reason* says why it failed. Only its beginning is told. With *keep* it may be told a little later.
        """
        if self._descriptor is not None:
            self._tell((request_id, kind, name, start), (state, end, reason), end, keep)

    def flush(self, before: float | None = None) -> None:
        """Write what was kept; if *before* is given, only if the first of it is older, in seconds since 1970."""
        if self._kept and (before is None or self._since < before):
            with self._lock:
                self._write()

    def _tell(
        self, what: tuple[str, str, str, float], said: tuple[str, float | None, str], now: float, keep: bool
    ) -> None:
        with self._lock:
            if not self._kept:
                self._since = now
            self._kept[what] = said
            if not keep or len(self._kept) >= _MOST_KEPT:
                self._write()

    def _write(self) -> None:
        kept, self._kept = self._kept, {}
        if self._descriptor is None or not kept:
            return
        names: dict[tuple[str, str], str] = {}
        lines = []
        for (request_id, kind, name, start), (state, end, reason) in kept.items():
            text = names.get((kind, name))
            if text is None:
                text = names[kind, name] = f'"kind": "{kind}", "name": {json.dumps(name)}'
            until = "null" if end is None else f"{end:.6f}"
            why = f', "reason": {json.dumps(reason[:_MAX_REASON])}' if reason else ""
            times = f'"start": {start:.6f}, "end": {until}'
            lines.append(f'{{"request_id": "{request_id}", {text}, "state": "{state}", {times}{why}}}\n')
        try:
            os.write(self._descriptor, "".join(lines).encode())
        except OSError:
            self._descriptor = None  # the emulator has gone
