"""
The processes of an environment and the APIs that they speak to, from a start to the next reset.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from lambda_ric.emulator.apis.extensions_api import ExtensionsAPI
from lambda_ric.emulator.apis.metadata_api import MetadataAPI
from lambda_ric.emulator.apis.routes import Routes
from lambda_ric.emulator.apis.runtime_side import RuntimeSide
from lambda_ric.emulator.apis.telemetry_api import TelemetryAPI
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.function.function import extension_variables
from lambda_ric.emulator.http.server import listening

from .confinement import Confinement
from .host import Host
from .process import Process
from .processes import Listener, Processes
from .waiting import Waiting

# How long a runtime that has posted its init error may take to log it and to exit, in seconds.
EXIT_GRACE = 1.0

OUT_OF_MEMORY = Failure("Runtime.ExitError", "Runtime exited with error: signal: killed", "Runtime.OutOfMemory")
TIMED_OUT = Failure("Sandbox.Timedout", "")

Side = TypeVar("Side", bound=RuntimeSide)


class Sandbox(Generic[Side]):
    """
    A runtime's process, those of the external extensions, and their APIs, of which *make_side* makes the runtime's.

    `start` begins it and `end` leaves nothing of it. *make_side* is given what has to be called when it is the
    environment's turn. What runs meanwhile runs in *tasks*.
    """

    def __init__(
        self,
        host: Host,
        confinement: Confinement,
        tasks: TaskGroup,
        listener: Listener,
        make_side: Callable[[Callable[[], None]], Side],
    ) -> None:
        self.processes: Processes = Processes(host, confinement, listener)
        self._host = host
        self._tasks = tasks
        self._listener = listener
        self._scope = anyio.CancelScope()
        self._waiting = Waiting()
        self._ends = False
        self.runtime_api: Side = make_side(self._runtime_waits)
        self.extensions_api: ExtensionsAPI = ExtensionsAPI(
            host.function, [path.name for path in host.function.extensions], host.clock, self._waiting.stir
        )
        network = self.processes.network
        self.telemetry_api: TelemetryAPI = TelemetryAPI(
            self.extensions_api, tasks, host.clock, lead_in=network.lead_in if network is not None else None
        )
        self._metadata_api = MetadataAPI()
        self._routes = Routes(self.runtime_api, self.extensions_api, self.telemetry_api, self._metadata_api)

    async def start(self, limit: float) -> None:
        """
        Open the APIs, start the extensions and, when they have registered within *limit* seconds, the runtime.

        Raises:
            OSError: The command cannot be run, or the port is taken.
        """
        function = self._host.function
        port: int = await self._tasks.start(self._serve)
        if function.only_api:
            return
        variables = function.variables(f"127.0.0.1:{port}", self._metadata_api.token)
        for path in function.extensions:
            await self._start_extension(path.name, str(path), extension_variables(variables))
        with anyio.move_on_after(limit) as waiting:
            await self.extensions_api.all_registered()
        if not waiting.cancelled_caught and self.extensions_api.failure is None:
            self._tasks.start_soon(self._watch_runtime, await self.processes.start_runtime(variables))

    async def _start_extension(self, name: str, program: str, variables: dict[str, str]) -> None:
        try:
            process = await self.processes.start_extension(name, program, variables)
        except OSError as exc:
            self.extensions_api.not_launched(name, _why_not(program, exc))
        else:
            self._tasks.start_soon(self._watch_extension, name, process)

    # The phases...

    async def initialised(self, limit: float) -> Failure | None:
        """Wait *limit* seconds for the end of the init; return why it did not come."""
        failure = await self.settled(limit)
        if self.runtime_api.init_failure is not None and self.processes.runtime is not None:
            with anyio.move_on_after(EXIT_GRACE):
                await self.processes.runtime.exited.wait()
        self.processes.drain()
        return failure

    async def settled(self, limit: float) -> Failure | None:
        """Wait *limit* seconds until nobody is at work; return why somebody still is, or never will be again."""
        end = self._waiting.time() + limit
        while not self._nobody_works:
            if end <= self._waiting.time():
                return TIMED_OUT
            if await self._waiting.stirred_until(end) and self.out_of_memory:
                return OUT_OF_MEMORY
        return self._failure()

    async def stirred(self) -> None:
        """Wait until there is a reason to look again."""
        await self._waiting.stirred()

    @property
    def _nobody_works(self) -> bool:
        if self.extensions_api.failure is not None:
            return True
        if self.runtime_api.init_failure is not None or self.processes.runtime_has_exited:
            return True
        return self.runtime_api.waits and self.extensions_api.ready

    def _failure(self) -> Failure | None:
        if self.extensions_api.failure is not None:
            return self.extensions_api.failure
        if self.runtime_api.init_failure is not None:
            return self.runtime_api.init_failure.failure
        if self.runtime_api.waits and self.extensions_api.ready:
            return None
        # Also if it had polled: the phase was not over.
        assert self.processes.runtime is not None
        return self.extensions_api.blamed(self.processes.runtime.exit_failure())

    # ...the end...

    async def shut_down(self, reason: str) -> None:
        """
        End everything in the order and in the time that the platform gives, which is none without extensions.

        *reason* is spindown, timeout or failure.
        """
        windows = self.extensions_api.shutdown_windows
        if windows is not None:
            self._ends = True
            deadline = self._host.clock() + windows.total
            self.processes.thaw()
            if self.processes.runtime is not None:
                await _end_runtime(self.processes.runtime, windows.runtime)
            self._end_those_not_told()
            self.extensions_api.deliver_shutdown(reason, deadline)
            with anyio.move_on_after(deadline - self._host.clock()):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.telemetry_api.flush)
                    for process in self.processes.externals.values():
                        await process.exited.wait()
                    tasks.cancel_scope.cancel()  # who has ended listens no more
        await self.end()

    def _end_those_not_told(self) -> None:
        told = {extension.name for extension in self.extensions_api.registered if "SHUTDOWN" in extension.events}
        for name, process in self.processes.externals.items():
            if name not in told:
                process.kill()

    async def end(self) -> None:
        """End every process at once, stopped or not, and close the APIs."""
        self._ends = True
        await self.processes.end()
        self._waiting.stop()
        self._scope.cancel()
        self.processes.close()

    def kill(self) -> None:
        """End every process at once, stopped or not."""
        self._ends = True
        self.processes.kill()

    def attach(self, side: Side) -> None:
        """Forget a runtime that cannot be ended, being no process of ours; whoever comes now finds *side*."""
        self.runtime_api = self._routes.runtime = side

    # ...and what is known.

    @property
    def broken(self) -> bool:
        """Whether a process has ended, be it the runtime's or an extension's."""
        return self.processes.runtime_has_exited or self.extensions_api.failure is not None

    @property
    def out_of_memory(self) -> bool:
        """Whether the runtime has used more than the function has."""
        return (self.processes.peak_memory or 0) > self._host.function.memory

    def _runtime_waits(self) -> None:
        self.extensions_api.close_registration()
        runtime = self.processes.runtime
        if runtime is not None and self.telemetry_api.wanted and not self._host.function.max_concurrency:
            runtime.drain()  # or the record would come before the lines
        self._listener.runtime_done()
        self._waiting.stir()

    async def _serve(self, *, task_status: TaskStatus[int]) -> None:
        with self._scope:
            async with self._listening() as port:
                task_status.started(port)
                await anyio.sleep_forever()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[int]:
        """Serve the APIs where the processes are, be it a network of their own; provide the port."""
        function, network = self._host.function, self.processes.network
        if network is None:
            async with listening(self._routes.dispatch, function.runtime_api_port) as port:
                yield port
            return
        async with listening(self._routes.dispatch, on=await network.listener()) as port, aclosing(network):
            for reachable in function.reachable_ports:
                await network.lead_out(reachable)
            yield port

    async def _watch_runtime(self, process: Process) -> None:
        await process.watch()
        self.runtime_api.end(process.exit_failure())
        self._waiting.stir()

    async def _watch_extension(self, name: str, process: Process) -> None:
        await process.watch()
        if not self._ends:
            reason = process.exit_reason
            self.extensions_api.exited(name, "exit code 0" if reason == "exit status 0" else reason)


def _why_not(program: str, error: OSError) -> str:
    """Return why *program* could not be started; what its first line asks for may be missing, and not itself."""
    if isinstance(error, FileNotFoundError):
        with suppress(OSError), open(program, "rb") as file:
            first = file.readline(200)
            if first.startswith(b"#!") and (words := first[2:].decode(errors="replace").split()):
                return f"there is no {words[0]}, which it is a script for"
    return error.strerror or str(error)


async def _end_runtime(runtime: Process, window: float) -> None:
    # Of threads that are just being continued any may take the signal, and only the main one makes use of it.
    await anyio.sleep(0.02)
    runtime.terminate()
    with anyio.move_on_after(window):
        await runtime.exited.wait()
    runtime.kill()
    await runtime.exited.wait()
