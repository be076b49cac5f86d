"""
One execution environment, and the phases that Lambda leads it through.

Its life: init, then for each event thaw, invoke, freeze. What goes wrong in
one of them resets the environment: its processes are ended, and the next
event finds new ones, whose init is part of the invocation then.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable

from anyio.abc import TaskGroup

from .confinement import Confinement
from .function import Function
from .guard import Guard
from .invocation import Failure, Invocation, Span
from .lines import LogLine
from .observer import Observer
from .platform_log import PlatformLog
from .sandbox import OUT_OF_MEMORY, Sandbox

log = logging.getLogger("lambda_ric.emulator")

# At least; https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
SNAPSHOT_TIMEOUT = 130.0


class Environment:
    """
    One environment, whose processes run in *tasks*.

    It is frozen after an invocation if *another_waits* does not say that the
    next one is there already.
    Whoever makes it calls `shut_down`, and `kill` and `close` in any case.
    """

    def __init__(
        self,
        function: Function,
        number: int,
        guard: Guard,
        confinement: Confinement,
        tasks: TaskGroup,
        *,
        freeze: bool,
        another_waits: Callable[[], bool],
        clock: Callable[[], float],
        observer: Observer,
    ) -> None:
        self.number = number
        self._function = function
        self._guard = guard
        self._confinement = confinement
        self._tasks = tasks
        self._freeze = freeze
        self._another_waits = another_waits
        self._clock = clock
        self._observer = observer
        self._platform = PlatformLog(function, f"environment-{number}", clock, self._say)
        self._sandbox: Sandbox | None = None
        self._current: Invocation | None = None
        self._initialised = False
        self._failed_init: Failure | None = None

    async def init(self) -> None:
        """Go through the init before there is an event; the first one learns of its failure."""
        self._failed_init = failure = await self._init(None)
        if failure is not None:
            self._observer.note("init", f"the init of environment {self.number} failed: {failure.message}")

    async def run(self, invocation: Invocation) -> None:
        """Bring *invocation* to its end, whatever the runtime does."""
        self._current = invocation
        invocation.environment = self.number
        # While nobody was looking, not being frozen.
        if self._failed_init is None and self._sandbox is not None and self._sandbox.broken:
            await self._end_sandbox("failure")
            self._initialised = False
        if not self._initialised:
            self._failed_init = await self._init(invocation)
        failure, self._failed_init = self._failed_init, None
        if failure is None:
            failure = await self._attached() or await self._restore()
        invocation.start(self._clock(), self._function.timeout)
        self._platform.start(invocation)
        if failure is None:
            failure = await self._invoke(invocation)
            invocation.ended_at = self._clock()
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.peak_memory
            if failure is None and (invocation.max_memory or 0) > self._function.memory:
                failure = OUT_OF_MEMORY
        if failure is None:
            self._end_invoke(invocation)
        else:
            self._platform.runtime_done(invocation, failure)
            await self._reset(invocation, failure)
        self._platform.end(invocation)
        invocation.finish()

    def _runtime_done(self) -> None:
        """Tell it at once: an extension may wait for this record before it polls itself."""
        self._platform.runtime_done(self._current, None)

    async def shut_down(self) -> None:
        """End what is left of it in good order."""
        self._current = None
        await self._end_sandbox("spindown")

    def kill(self) -> None:
        """End all processes at once."""
        if self._sandbox is not None:
            self._sandbox.kill()

    def close(self) -> None:
        """Give back what the processes, which must have ended, had been given."""
        if self._sandbox is not None:
            self._sandbox.close()

    # The phases...

    async def _init(self, invocation: Invocation | None) -> Failure | None:
        """Go through the first init; return why its invocation has failed already."""
        self._initialised = True
        limit = math.inf if self._function.only_api else self._function.init_timeout
        if self._function.snapstart:
            limit = max(self._function.timeout, SNAPSHOT_TIMEOUT)
        if invocation is not None:
            invocation.init_started_at = self._clock()
            invocation.on_change(invocation)
        failure = await self._start(limit, "init")
        if invocation is not None:
            invocation.init_ended_at = self._clock()
        if failure is None and self._sandbox is not None and self._sandbox.snapshot_taken:
            self._sandbox.freeze()
        if failure is not None and failure.status == "timeout":
            # As on Lambda, what took too long is tried again within the invocation, and in its time.
            await self._end_sandbox("timeout")
            return None
        return failure

    async def _start(self, limit: float, phase: str) -> Failure | None:
        self._sandbox = sandbox = Sandbox(
            self._function,
            self._tasks,
            self._guard,
            self._confinement,
            clock=self._clock,
            on_output=self._read_output,
            on_span=self._read_span,
            on_runtime_done=self._runtime_done,
        )
        started_at = self._clock()
        self._platform.init_start(phase, sandbox.telemetry_api, sandbox.extensions_api)
        try:
            await sandbox.start(limit)
        except OSError as exc:
            text = f"cannot run {self._function.arguments[0]!r}: {exc.strerror}"
            failure: Failure | None = Failure("Runtime.InvalidEntrypoint", text)
        else:
            failure = await sandbox.initialised(limit - (self._clock() - started_at))
        self._platform.init_end(phase, self._clock() - started_at, failure)
        sandbox.telemetry_api.close()
        return failure

    async def _attached(self) -> Failure | None:
        """Wait for another runtime, however long it takes, where the last one was detached."""
        if self._function.only_api and self._sandbox is not None:
            return await self._sandbox.initialised(math.inf)
        return None

    async def _restore(self) -> Failure | None:
        sandbox = self._sandbox
        if sandbox is None or not sandbox.snapshot_taken:
            return None
        self._platform.restore_start()
        started_at = self._clock()
        failure = await sandbox.restored(self._function.restore_timeout)
        if failure is not None and failure.status == "timeout":
            failure = Failure("Runtime.RestoreHookUserTimeout", "the hooks after the restore took too long")
        self._platform.restore_end(self._clock() - started_at, failure)
        return failure

    async def _invoke(self, invocation: Invocation) -> Failure | None:
        failure = None
        if self._sandbox is None:
            left = invocation.deadline - self._clock()
            failure = await self._start(left, "invoke") or await self._restore()
        if failure is None and self._sandbox is not None:
            failure = await self._sandbox.invoked(invocation)
        if failure is not None and failure.status == "timeout":
            return Failure(failure.error_type, f"Task timed out after {self._function.timeout:.2f} seconds")
        return failure

    def _end_invoke(self, invocation: Invocation) -> None:
        if self._sandbox is None:
            return
        if self._freeze and not self._another_waits():
            self._sandbox.freeze()
            invocation.frozen_at = self._clock()
        self._sandbox.drain()

    async def _reset(self, invocation: Invocation, failure: Failure) -> None:
        init_failure = None
        if self._sandbox is not None:
            self._sandbox.drain()  # or what is told of the work that ended would come after the verdict
            init_failure = self._sandbox.runtime_api.init_failure
        if init_failure is not None:
            invocation.respond(invocation.ended_at, *init_failure)
        else:
            self._platform.error(invocation, failure)
        # The caller does not wait for the end of the processes.
        invocation.fail(invocation.ended_at, failure)
        await self._end_sandbox("timeout" if failure.status == "timeout" else "failure")
        self._observer.note("reset", f"environment {self.number} was reset: {failure.message}", invocation)

    async def _end_sandbox(self, reason: str) -> None:
        if self._sandbox is None:
            return
        if self._function.only_api:
            self._sandbox.detach()
            return
        await self._sandbox.shut_down(reason)
        self._sandbox = None

    # ...and what is written meanwhile.

    def _read_output(self, line: bytes, extension: str) -> None:
        text = line.decode(errors="replace")
        if self._sandbox is not None and self._sandbox.telemetry_api.wanted:
            self._sandbox.telemetry_api.emit("extension" if extension else "function", text)
        self._log(text, platform=False)

    def _say(self, text: str) -> None:
        self._log(text, platform=True)

    def _log(self, text: str, *, platform: bool) -> None:
        line = LogLine(self._clock(), text, platform)
        invocation = self._of_line(text)
        if invocation is not None:
            invocation.logs.append(line)
        self._observer.log(line, invocation, self.number)

    def _of_line(self, text: str) -> Invocation | None:
        """Return the invocation during which *text* was written."""
        return self._current

    def _of_span(self, request_id: str) -> Invocation | None:
        """Return the invocation that a span belongs to, if it is still of interest."""
        return self._current if self._current is not None and self._current.request_id == request_id else None

    def _read_span(self, line: bytes) -> None:
        try:
            request_id, span = _parse_span(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            log.warning("not a span: %r", line[:200])
            return
        invocation = self._of_span(request_id)
        if invocation is not None:
            invocation.add(span)


def _parse_span(line: bytes) -> tuple[str, Span]:
    fields = json.loads(line)
    kind, name, state = (str(fields[key]) for key in ("kind", "name", "state"))
    start, end = float(fields["start"]), math.nan
    if state != "running":
        end = float(fields["end"])
    if not (math.isfinite(start) and (math.isfinite(end) or state == "running")):
        raise ValueError("a time without end")
    return fields["request_id"], Span(kind, name, state, start, end)
