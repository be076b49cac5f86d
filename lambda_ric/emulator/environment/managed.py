"""
An environment that serves many events at once, as on Lambda Managed Instances.

It is never frozen, and neither an error nor a timeout resets it. An invocation
is over with its response; what follows is not billed, but keeps its slot busy.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from lambda_ric.emulator.apis.managed_runtime_api import ManagedRuntimeAPI
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import ThrottledError

from .confinement import Confinement
from .environment import Environment
from .host import Host
from .sandbox import Sandbox

# So many invocations are remembered, for what is written about them after they are over.
MAX_KNOWN = 1000


class ManagedEnvironment(Environment[ManagedRuntimeAPI]):
    """One such environment; `run` may be called while it runs."""

    def __init__(self, host: Host, number: int, confinement: Confinement, tasks: TaskGroup) -> None:
        super().__init__(host, number, confinement, tasks)
        self._known: dict[str, Invocation] = {}
        self._starting = anyio.Lock()

    async def init(self) -> None:
        """Wait for the first event: there is no snapshot to take, and no debugger to wait for."""

    async def run(self, invocation: Invocation) -> None:
        """Bring *invocation* to its end beside the others."""
        invocation.environment = self.number
        self._remember(invocation)
        async with self._starting:
            failure = None
            if self._sandbox is None or self._sandbox.processes.runtime_has_exited:
                failure = await self._begin(invocation)
        invocation.start(self._clock(), self._function.timeout_of(invocation.source))
        self._platform.start(invocation)
        if self._sandbox is not None:
            if failure is None:
                await self._invoke_beside_others(invocation, self._sandbox)
            else:
                self._give_up(invocation, failure, self._sandbox)
        invocation.ended_at = self._clock()
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.processes.peak_memory
            self._sandbox.processes.drain()
        self._platform.end(invocation)
        invocation.finish()

    def _make_side(self, on_turn: Callable[[], None]) -> ManagedRuntimeAPI:
        return ManagedRuntimeAPI(self._clock, on_turn)

    def _remember(self, invocation: Invocation) -> None:
        self._known[invocation.request_id] = invocation
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _begin(self, invocation: Invocation) -> Failure | None:
        await self._end_sandbox("failure")
        invocation.init_started_at = self._clock()
        failure = await self._start(self._function.init_timeout, "init")
        invocation.init_ended_at = self._clock()
        return failure

    async def _invoke_beside_others(self, invocation: Invocation, sandbox: Sandbox[ManagedRuntimeAPI]) -> None:
        api = sandbox.runtime_api
        with anyio.move_on_after(invocation.deadline - self._clock()):
            while not api.idle and not sandbox.processes.runtime_has_exited:
                await sandbox.stirred()
        try:
            await api.invoke(invocation)
        except ThrottledError as exc:
            invocation.fail(self._clock(), Failure("Runtime.Unavailable", str(exc)))
            invocation.reset = False

    def _give_up(self, invocation: Invocation, failure: Failure, sandbox: Sandbox[ManagedRuntimeAPI]) -> None:
        init_failure = sandbox.runtime_api.init_failure
        if init_failure is not None:
            invocation.delivery.respond(self._clock(), *init_failure)
        else:
            self._platform.runtime_done(invocation, failure)
        invocation.fail(self._clock(), failure)

    def _of_line(self, text: str) -> Invocation | None:
        """Return the invocation that a line of JSON names, as every line has to here."""
        try:
            fields = json.loads(text)
            return self._of_span(fields.get("record", fields).get("requestId", ""))
        except (ValueError, RecursionError, AttributeError, TypeError):
            return None

    def _of_span(self, request_id: str) -> Invocation | None:
        return self._known.get(request_id)
