"""
The side channel that tells a local emulator what ran, and when.

An emulator passes the number of a pipe in LAMBDA_RIC_SPANS_FD; in Lambda the
variable is unset and nothing is written. The format is one JSON object a
line: docs/architecture.md.
"""

from __future__ import annotations

import json
import os


class Spans:
    """Writes one line when a piece of work begins, but for the handler, and one when it has ended."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    @property
    def wanted(self) -> bool:
        """Whether anybody reads them."""
        return self._descriptor is not None

    def started(self, request_id: str, kind: str, name: str, start: float) -> None:
        """Tell that a piece of work has begun; *start* is in seconds since 1970."""
        if self._descriptor is not None:
            self._write(request_id, kind, name, "running", start, None)

    def ended(self, request_id: str, kind: str, name: str, state: str, start: float, end: float) -> None:
        """Tell of one piece of work; *start* and *end* are seconds since 1970."""
        if self._descriptor is not None:
            self._write(request_id, kind, name, state, start, end)

    def _write(self, request_id: str, kind: str, name: str, state: str, start: float, end: float | None) -> None:
        span = {"request_id": request_id, "kind": kind, "name": name, "state": state, "start": start, "end": end}
        try:
            os.write(self._descriptor, json.dumps(span).encode() + b"\n")  # type: ignore[arg-type]
        except OSError:
            self._descriptor = None  # the emulator has gone
