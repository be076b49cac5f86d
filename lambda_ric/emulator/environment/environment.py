"""
What every execution environment has: a sandbox that is started and ended, and a log.
"""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic

from anyio.abc import TaskGroup

from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.log_line import LogLine
from lambda_ric.emulator.event.span import Span

from .confinement import Confinement
from .host import Host
from .names import MISSING_NAME, needs_name
from .platform_log import PlatformLog
from .sandbox import Sandbox, Side

log: logging.Logger = logging.getLogger("lambda_ric.emulator")


class Environment(ABC, Generic[Side]):
    """
    One environment, the *number*-th of its *host*, whose processes run in *tasks*.

    Whoever makes it calls `shut_down`, and `kill` and `close` in any case.
    """

    def __init__(self, host: Host, number: int, confinement: Confinement, tasks: TaskGroup) -> None:
        self.number = number
        self._host = host
        self._function = host.function
        self._clock = host.clock
        self._confinement = confinement
        self._tasks = tasks
        self._platform = PlatformLog(host, f"environment-{number}", self._say)
        self._sandbox: Sandbox[Side] | None = None
        self._told_of_rubbish = False
        self.init_failure: Failure | None = None
        """Why the last init failed, if it did."""

    @abstractmethod
    async def init(self) -> None:
        """Go through the init before there is an event; the first one learns of its failure."""

    @abstractmethod
    async def run(self, invocation: Invocation) -> None:
        """Bring *invocation* to its end, whatever the runtime does."""

    async def shut_down(self) -> None:
        """End what is left of it in good order."""
        await self._end_sandbox("spindown")

    def kill(self) -> None:
        """End all processes at once."""
        if self._sandbox is not None:
            self._sandbox.kill()

    def close(self) -> None:
        """Give back what the processes, which must have ended, had been given."""
        if self._sandbox is not None:
            self._sandbox.processes.close()

    @property
    def healthy(self) -> bool:
        """Whether an event would find processes that live."""
        return self._sandbox is not None and not self._sandbox.broken

    # The sandbox, which is another one after each reset...

    @abstractmethod
    def _make_side(self, on_turn: Callable[[], None]) -> Side:
        """Return the Runtime API of a sandbox."""

    async def _start(self, limit: float, phase: str) -> Failure | None:
        self._sandbox = sandbox = Sandbox(self._host, self._confinement, self._tasks, self, self._make_side)
        started_at = self._clock()
        self._platform.init_start(phase, sandbox.telemetry_api, sandbox.extensions_api)
        try:
            await sandbox.start(limit)
        except OSError as exc:
            text = f"cannot run {self._function.arguments[0]!r}: {exc.strerror}"
            failure: Failure | None = Failure("Runtime.InvalidEntrypoint", text)
        else:
            failure = await sandbox.initialised(limit - (self._clock() - started_at))
        if failure is not None and failure.status == "timeout":
            self._tell_who_is_waited_for(sandbox)
        if failure is not None and failure.error_type.startswith("Extension.") and needs_name(self._function):
            self._host.observer.note("extension", MISSING_NAME)
        self._platform.init_end(phase, self._clock() - started_at, failure)
        sandbox.telemetry_api.close()
        self.init_failure = failure
        return failure

    def _tell_who_is_waited_for(self, sandbox: Sandbox[Side]) -> None:
        """Say whose fault it is that a phase has run out of time, unless it is the runtime's alone."""
        if waited_for := sandbox.extensions_api.waited_for:
            self._host.observer.note("extension", f"environment {self.number} waited in vain: {'; '.join(waited_for)}")

    async def _end_sandbox(self, reason: str) -> None:
        if self._sandbox is not None:
            await self._sandbox.shut_down(reason)
            self._sandbox = None

    # ...and what is written meanwhile.

    @abstractmethod
    def _of_line(self, text: str) -> Invocation | None:
        """Return the invocation during which *text* was written."""

    @abstractmethod
    def _of_span(self, request_id: str) -> Invocation | None:
        """Return the invocation that a span belongs to, if it is still of interest."""

    def runtime_done(self) -> None:
        """Tell it at once: an extension may wait for this record before it polls itself."""
        self._platform.runtime_done(None, None)

    def output(self, line: bytes, extension: str) -> None:
        """Log a line of the runtime's or of an *extension*."""
        text = line.decode(errors="replace")
        if self._sandbox is not None and self._sandbox.telemetry_api.wanted:
            self._sandbox.telemetry_api.emit("extension" if extension else "function", text)
        self._log(text, platform=False)

    def span(self, line: bytes) -> None:
        """Read what the runtime says of its work."""
        try:
            request_id, span = _parse_span(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            if not self._told_of_rubbish:
                self._told_of_rubbish = True
                text = "environment %d writes on the side channel what is no span, which is told once: %r"
                log.warning(text, self.number, line[:200])
            return
        invocation = self._of_span(request_id)
        if invocation is not None:
            invocation.add(span)

    def _say(self, text: str) -> None:
        self._log(text, platform=True)

    def _log(self, text: str, *, platform: bool) -> None:
        line = LogLine(self._clock(), text, platform)
        invocation = self._of_line(text)
        if invocation is not None:
            invocation.log(line)
        self._host.observer.log(line, invocation, self.number)


def _parse_span(line: bytes) -> tuple[str, Span]:
    fields = json.loads(line.decode())
    kind, name, state = str(fields["kind"]), str(fields["name"]), str(fields["state"])
    start, end = float(fields["start"]), math.nan
    if state != "running":
        end = float(fields["end"])
    if not (math.isfinite(start) and (math.isfinite(end) or state == "running")):
        raise ValueError("a time without end")
    return fields["request_id"], Span(kind, name, state, start, end, str(fields.get("reason", "")))
