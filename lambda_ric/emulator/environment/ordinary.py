"""
An environment that serves one event at a time, and the phases that Lambda leads it through.

Its life: init, then for each event thaw, invoke, freeze. What goes wrong in one of them resets the environment: its
processes are ended, and the next event finds new ones, whose init is part of the invocation then.

    state     its processes  what the next event finds
    new       none           an init, before its invoke phase
    idle      frozen, alive  a thaw; processes that have died meanwhile make the environment new
    at work   alive          is not given one
    failed    of a bad init  the failure of the init that was gone through before there was an event
    reset     none           an init within its invoke phase, and in its time
"""

from __future__ import annotations

import math
from collections.abc import Callable

from anyio.abc import TaskGroup

from lambda_ric.emulator.apis.runtime_api import RuntimeAPI
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation

from .confinement import Confinement
from .environment import Environment
from .host import Host
from .profiler import Recording
from .sandbox import OUT_OF_MEMORY, Sandbox

# Seconds, at least; https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
SNAPSHOT_TIMEOUT = 130.0


_NO_TERMINAL = (
    "a breakpoint found no terminal: the input of a runtime is empty. `lambda-ric dev --debug` leads breakpoints to its"
    " own terminal, or to an editor"
)


class OrdinaryEnvironment(Environment[RuntimeAPI]):
    """One such environment; it is frozen after an invocation unless *another_waits* for it already."""

    def __init__(
        self, host: Host, number: int, confinement: Confinement, tasks: TaskGroup, another_waits: Callable[[], bool]
    ) -> None:
        super().__init__(host, number, confinement, tasks)
        self._another_waits = another_waits
        self._current: Invocation | None = None
        self._initialised = False
        self._failed_init: Failure | None = None

    async def init(self) -> None:
        """Go through the init before there is an event; the first one learns of its failure."""
        self._failed_init = failure = await self._init(None)
        if failure is not None:
            self._host.observer.note("init", f"the init of environment {self.number} failed: {failure.message}")

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
        recording = await self._recording()
        invocation.start(self._clock(), self._function.timeout)
        self._platform.start(invocation)
        if failure is None:
            failure = await self._invoke(invocation)
            invocation.ended_at = self._clock()
        if recording is not None:
            self._host.observer.note("profile", await recording.end(), invocation)
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.processes.peak_memory
            if failure is None and self._sandbox.out_of_memory:
                failure = OUT_OF_MEMORY
        if failure is None:
            self._end_invoke(invocation)
        else:
            self._platform.runtime_done(invocation, failure)
            await self._reset(invocation, failure)
        self._platform.end(invocation)
        if invocation.failure is not None and invocation.failure.error_type.rpartition(".")[2] == "BdbQuit":
            self._host.observer.note("debug", _NO_TERMINAL, invocation)
        invocation.finish()

    async def shut_down(self) -> None:
        """End what is left of it in good order."""
        self._current = None
        await super().shut_down()

    @property
    def healthy(self) -> bool:
        """Whether an event would find processes that live."""
        return super().healthy and self._failed_init is None

    def runtime_done(self) -> None:
        """Tell it at once: an extension may wait for this record before it polls itself."""
        self._platform.runtime_done(self._current, None)

    # The phases.

    def _make_side(self, on_turn: Callable[[], None]) -> RuntimeAPI:
        function = self._function
        return RuntimeAPI(self._clock, on_turn, snapstart=function.snapstart, newest_first=function.only_api)

    async def _init(self, invocation: Invocation | None) -> Failure | None:
        """Go through the first init; return why its invocation has failed already."""
        self._initialised = True
        limit = math.inf if self._function.only_api else self._function.init_timeout
        if self._function.snapstart:
            limit = max(self._function.timeout, SNAPSHOT_TIMEOUT)
        if invocation is not None:
            invocation.init_started_at = self._clock()
            invocation.changed()
        failure = await self._start(limit, "init")
        if invocation is not None:
            invocation.init_ended_at = self._clock()
        if failure is None and self._sandbox is not None and self._sandbox.runtime_api.snapshot_taken:
            self._sandbox.processes.freeze()
        if failure is not None and failure.status == "timeout":
            # As on Lambda, what took too long is tried again within the invocation, and in its time.
            await self._end_sandbox("timeout")
            return None
        return failure

    async def _attached(self) -> Failure | None:
        """Wait for another runtime, however long it takes, where the last one was detached."""
        if self._function.only_api and self._sandbox is not None:
            return await self._sandbox.initialised(math.inf)
        return None

    async def _restore(self) -> Failure | None:
        """Tell the runtime that it was restored from its snapshot, if one was taken; wait until it polls."""
        sandbox = self._sandbox
        if sandbox is None or not sandbox.runtime_api.snapshot_taken:
            return None
        self._platform.restore_start()
        started_at = self._clock()
        sandbox.processes.thaw()
        sandbox.runtime_api.restore()
        failure = await sandbox.initialised(self._function.restore_timeout)
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
            failure = await self._delivered(invocation, self._sandbox)
        if failure is not None and failure.status == "timeout":
            return Failure(failure.error_type, f"Task timed out after {self._function.timeout:.2f} seconds")
        return failure

    async def _delivered(self, invocation: Invocation, sandbox: Sandbox[RuntimeAPI]) -> Failure | None:
        """Deliver *invocation* and wait until everybody polls again; return why somebody did not."""
        sandbox.extensions_api.deliver_invoke(invocation)
        sandbox.runtime_api.deliver(invocation)
        # Last, so that the processes wake once, to what has come, and not twice.
        sandbox.processes.thaw()
        failure = await sandbox.settled(invocation.deadline - self._clock())
        if failure is not None and failure.status == "timeout" and sandbox.runtime_api.waits:
            self._tell_who_is_waited_for(sandbox)
        if spans := sandbox.extensions_api.spans(self._clock()):
            invocation.add(*spans)
        return failure

    async def _recording(self) -> Recording | None:
        """Begin to look where the time of an invocation goes, if that is wanted."""
        if self._host.profiler is None or self._sandbox is None or self._sandbox.processes.runtime is None:
            return None
        return await self._host.profiler.begin(self._sandbox.processes.runtime.pid)

    def _end_invoke(self, invocation: Invocation) -> None:
        if self._sandbox is None:
            return
        if self._host.freeze and not self._another_waits():
            self._sandbox.processes.freeze()
            invocation.frozen_at = self._clock()
        self._sandbox.processes.drain()

    async def _reset(self, invocation: Invocation, failure: Failure) -> None:
        init_failure = None
        if self._sandbox is not None:
            self._sandbox.processes.drain()  # or what is told of the work that ended would come after the verdict
            init_failure = self._sandbox.runtime_api.init_failure
        if init_failure is not None:
            invocation.delivery.respond(invocation.ended_at, *init_failure)
        else:
            self._platform.error(invocation, failure)
        # The caller does not wait for the end of the processes.
        invocation.fail(invocation.ended_at, failure)
        await self._end_sandbox("timeout" if failure.status == "timeout" else "failure")
        self._host.observer.note("reset", f"environment {self.number} was reset: {failure.message}", invocation)

    async def _end_sandbox(self, reason: str) -> None:
        if self._sandbox is not None and self._function.only_api:
            self._sandbox.attach(self._sandbox.runtime_api.anew())
        else:
            await super()._end_sandbox(reason)

    def _of_line(self, text: str) -> Invocation | None:
        return self._current

    def _of_span(self, request_id: str) -> Invocation | None:
        return self._current if self._current is not None and self._current.request_id == request_id else None
