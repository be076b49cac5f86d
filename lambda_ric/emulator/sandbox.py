"""
The processes of an environment and the APIs that they speak to, from a start to the next reset.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .confinement import Confinement
from .extensions_api import ExtensionsAPI
from .function import Function, extension_variables
from .guard import Guard
from .invocation import Failure, Invocation
from .managed_runtime_api import ManagedRuntimeAPI
from .process import Process
from .routes import dispatch
from .runtime_api import WAITING, RuntimeAPI, State
from .server import listening
from .telemetry_api import TelemetryAPI

# How long a runtime that has posted its init error may take to log it and to exit.
EXIT_GRACE = 1.0
# How often a phase that takes its time is looked at, in seconds.
MEMORY_INTERVAL = 0.25

OUT_OF_MEMORY = Failure("Runtime.ExitError", "Runtime exited with error: signal: killed", "Runtime.OutOfMemory")
TIMED_OUT = Failure("Sandbox.Timedout", "")


class Sandbox:
    """
    A runtime's process, those of the external extensions, and their APIs.

    `start` begins it and `end` leaves nothing of it. *on_output* gets each
    line that is written, and the name of the extension that wrote it, if any.
    *on_runtime_done* is called when the runtime has polled; extensions may
    still be at work then.
    """

    def __init__(
        self,
        function: Function,
        tasks: TaskGroup,
        guard: Guard,
        confinement: Confinement,
        *,
        clock: Callable[[], float],
        on_output: Callable[[bytes, str], None],
        on_span: Callable[[bytes], None],
        on_runtime_done: Callable[[], None],
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._guard = guard
        self._confinement = confinement
        self._clock = clock
        self._on_output = on_output
        self._on_span = on_span
        self._on_runtime_done = on_runtime_done
        self._scope = anyio.CancelScope()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._memory_is_due = False
        self._stirred = asyncio.Event()
        self._runtime: Process | None = None
        self._externals: dict[str, Process] = {}
        self._frozen = False
        self._shutting_down = False
        self.metadata_token = secrets.token_hex(16)
        self.runtime_api: RuntimeAPI | ManagedRuntimeAPI
        if function.max_concurrency:
            self.runtime_api = ManagedRuntimeAPI(clock, self._runtime_waits)
        else:
            self.runtime_api = RuntimeAPI(
                clock, self._runtime_waits, snapstart=function.snapstart, newest_first=function.only_api
            )
        names = [path.name for path in function.extensions]
        self.extensions_api = ExtensionsAPI(
            function, names, clock, self._stirred.set, managed=bool(function.max_concurrency)
        )
        self.telemetry_api = TelemetryAPI(self.extensions_api, tasks, clock)

    async def start(self, limit: float) -> None:
        """
        Open the APIs, start the extensions and, when they have registered within *limit* seconds, the runtime.

        Raises:
            OSError: The command cannot be run, or the port is taken.
        """
        port: int = await self._tasks.start(self._serve)
        if self._function.only_api:
            return
        variables = self._function.variables(f"127.0.0.1:{port}", self.metadata_token)
        for path in self._function.extensions:
            self._start_extension(path, extension_variables(variables))
        with anyio.move_on_after(limit) as waiting:
            await self.extensions_api.all_registered()
        if not waiting.cancelled_caught and self.extensions_api.failure is None:
            self._runtime = self._launch(self._function.arguments, variables, "")
            self._tasks.start_soon(self._watch, self._runtime)

    def _start_extension(self, path: Path, variables: Mapping[str, str]) -> None:
        try:
            process = self._launch([str(path.resolve())], variables, path.name)
        except OSError as exc:
            self.extensions_api.not_launched(path.name, exc.strerror or str(exc))
        else:
            self._externals[path.name] = process
            self._tasks.start_soon(self._watch_extension, path.name, process)

    def _launch(self, arguments: list[str], variables: Mapping[str, str], extension: str) -> Process:
        return Process(
            self._confinement.command(arguments),
            self._function.task_root,
            variables,
            guard=self._guard,
            on_output=lambda line: self._on_output(line, extension),
            on_span=None if extension else self._on_span,
            follow_spans=bool(self._function.max_concurrency),
        )

    # The phases...

    async def initialised(self, limit: float) -> Failure | None:
        """Wait *limit* seconds for the end of the init; return why it did not come."""
        failure = await self._settled(limit)
        if self.runtime_api.init_failure is not None and self._runtime is not None:
            with anyio.move_on_after(EXIT_GRACE):
                await self._runtime.exited.wait()
        self.drain()
        return failure

    async def restored(self, limit: float) -> Failure | None:
        """Tell the runtime that it was restored from its snapshot; wait as above until it polls."""
        self.thaw()
        self._ordinary_api.restore()
        return await self.initialised(limit)

    async def invoked(self, invocation: Invocation) -> Failure | None:
        """Deliver *invocation* and wait until everybody polls again; return why somebody did not."""
        self.thaw()
        self.extensions_api.deliver_invoke(invocation)
        self._ordinary_api.deliver(invocation)
        failure = await self._settled(invocation.deadline - self._clock())
        invocation.spans += self.extensions_api.spans(self._clock())
        return failure

    async def _settled(self, limit: float) -> Failure | None:
        until = self._loop.time() + limit
        while not self._nobody_works:
            if until <= self._loop.time():
                return TIMED_OUT
            if self._memory_is_due and self.out_of_memory:
                return OUT_OF_MEMORY
            self._set_timer(until)
            self._stirred.clear()
            await self._stirred.wait()
        return self._failure()

    def _set_timer(self, until: float) -> None:
        """Have a look at *until*, and now and then before; the timer of the phase before will mostly do."""
        self._memory_is_due = False
        when = min(until, self._loop.time() + MEMORY_INTERVAL)
        if self._timer is None or when < self._timer.when():
            self._stop_timer()
            self._timer = self._loop.call_at(when, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer, self._memory_is_due = None, True
        if self._runtime is not None:
            self._runtime.drain_spans()
        self._stirred.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def stirred(self) -> None:
        """Wait until there is a reason to look again."""
        self._stirred.clear()
        await self._stirred.wait()

    @property
    def _ordinary_api(self) -> RuntimeAPI:
        assert isinstance(self.runtime_api, RuntimeAPI)
        return self.runtime_api

    @property
    def _nobody_works(self) -> bool:
        api = self.runtime_api
        if api.state in WAITING:
            return api.init_failure is not None or self.extensions_api.ready or self.extensions_api.failure is not None
        return self.exited or self.extensions_api.failure is not None

    def _failure(self) -> Failure | None:
        if self.extensions_api.failure is not None:
            return self.extensions_api.failure
        if self.runtime_api.init_failure is not None:
            return self.runtime_api.init_failure.failure
        if self.runtime_api.state in WAITING:
            return None
        assert self._runtime is not None
        return self.extensions_api.blamed(self._runtime.exit_failure())

    # ...the end...

    async def shut_down(self, reason: str) -> None:
        """
        End everything in the order and in the time that the platform gives, which is none without extensions.

        *reason* is spindown, timeout or failure.
        """
        windows = self.extensions_api.shutdown_windows
        if windows is not None:
            self._shutting_down = True
            deadline = self._clock() + windows.total
            self.thaw()
            if self._runtime is not None:
                await self._end_runtime(self._runtime, windows.runtime)
            self._end_those_not_told()
            self.extensions_api.deliver_shutdown(reason, deadline)
            with anyio.move_on_after(deadline - self._clock()):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.telemetry_api.flush)
                    for process in self._externals.values():
                        await process.exited.wait()
                    tasks.cancel_scope.cancel()  # who has ended listens no more
        await self.end()

    async def _end_runtime(self, runtime: Process, window: float) -> None:
        # Of threads that are just being continued any may take the signal, and only the main one makes use of it.
        await anyio.sleep(0.02)
        runtime.terminate()
        with anyio.move_on_after(window):
            await runtime.exited.wait()
        runtime.kill()
        await runtime.exited.wait()

    def _end_those_not_told(self) -> None:
        told = {extension.name for extension in self.extensions_api.registered if "SHUTDOWN" in extension.events}
        for name, process in self._externals.items():
            if name not in told:
                process.kill()

    async def end(self) -> None:
        """End every process at once, stopped or not, and close the APIs."""
        self.kill()
        for process in self._processes:
            await process.exited.wait()
        self._stop_timer()
        self._scope.cancel()
        self.close()

    def kill(self) -> None:
        """End every process at once, stopped or not."""
        self._shutting_down = True
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """Give back what the processes, which must have ended, had been given."""
        for process in self._processes:
            process.close()

    def detach(self) -> None:
        """Forget a runtime that cannot be ended, being no process of ours; what it says from now on is news."""
        self.runtime_api = self._ordinary_api.anew()

    def freeze(self) -> None:
        """Stop everything where it stands."""
        self._frozen = True
        for process in self._processes:
            process.freeze()

    def thaw(self) -> None:
        """Let everything go on."""
        if self._frozen:
            self._frozen = False
            for process in self._processes:
                process.thaw()

    def drain(self) -> None:
        """Hand on what has been written so far."""
        for process in self._processes:
            process.drain()

    # ...and what is known of the processes.

    @property
    def snapshot_taken(self) -> bool:
        """Whether the runtime waits for its restore."""
        return self.runtime_api.state is State.RESTORE_READY

    @property
    def exited(self) -> bool:
        """Whether the runtime has ended."""
        return self._runtime is not None and self._runtime.exited.is_set()

    @property
    def broken(self) -> bool:
        """Whether a process has ended, be it the runtime's or an extension's."""
        return self.exited or self.extensions_api.failure is not None

    @property
    def peak_memory(self) -> int | None:
        """The most memory that the runtime has used, in MB; None where the system does not tell."""
        return None if self._runtime is None else self._runtime.peak_memory

    @property
    def out_of_memory(self) -> bool:
        """Whether the runtime has used more than the function has."""
        return (self.peak_memory or 0) > self._function.memory

    @property
    def _processes(self) -> list[Process]:
        return [*self._externals.values(), self._runtime] if self._runtime else list(self._externals.values())

    def _runtime_waits(self) -> None:
        self.extensions_api.close_registration()
        if self._runtime is not None and self.telemetry_api.wanted and not self._function.max_concurrency:
            self._runtime.drain()  # or the record would come before the lines
        self._on_runtime_done()
        self._stirred.set()

    async def _serve(self, *, task_status: TaskStatus[int]) -> None:
        with self._scope:
            async with listening(partial(dispatch, self), self._function.runtime_api_port) as port:
                task_status.started(port)
                await anyio.sleep_forever()

    async def _watch(self, process: Process) -> None:
        await process.watch()
        if isinstance(self.runtime_api, ManagedRuntimeAPI):
            self.runtime_api.end(process.exit_failure())
        self._stirred.set()

    async def _watch_extension(self, name: str, process: Process) -> None:
        await process.watch()
        if not self._shutting_down:
            reason = process.exit_reason
            self.extensions_api.exited(name, "exit code 0" if reason == "exit status 0" else reason)
