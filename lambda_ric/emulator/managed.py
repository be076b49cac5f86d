"""
An environment that serves many events at once, as on Lambda Managed Instances.

It is never frozen, and neither an error nor a timeout resets it. An invocation
is over with its response; what follows is not billed, but keeps its slot busy.
"""

from __future__ import annotations

import json
from typing import Any

import anyio

from .environment import Environment
from .invocation import Failure, Invocation, ThrottledError
from .managed_runtime_api import ManagedRuntimeAPI

# So many invocations are remembered, for what is written about them after they are over.
MAX_KNOWN = 1000


class ManagedEnvironment(Environment):
    """One such environment; `run` may be called while it runs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: dict[str, Invocation] = {}
        self._starting = anyio.Lock()

    async def run(self, invocation: Invocation) -> None:
        """Bring *invocation* to its end beside the others."""
        invocation.environment = self.number
        self._remember(invocation)
        async with self._starting:
            failure = None
            if self._sandbox is None or self._sandbox.exited:
                failure = await self._begin(invocation)
        invocation.start(self._clock(), self._function.timeout)
        self._platform.start(invocation)
        if failure is None:
            await self._invoke_beside_others(invocation)
        else:
            self._give_up(invocation, failure)
        invocation.ended_at = self._clock()
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.peak_memory
            self._sandbox.drain()
        self._platform.end(invocation)
        invocation.finish()

    def _remember(self, invocation: Invocation) -> None:
        self._known[invocation.request_id] = invocation
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _begin(self, invocation: Invocation) -> Failure | None:
        if self._sandbox is not None:
            await self._end_sandbox("failure")
        invocation.init_started_at = self._clock()
        failure = await self._start(self._function.init_timeout, "init")
        invocation.init_ended_at = self._clock()
        return failure

    async def _invoke_beside_others(self, invocation: Invocation) -> None:
        api = self._managed_api
        with anyio.move_on_after(invocation.deadline - self._clock()):
            await self._idle_poll(api)
        try:
            await api.invoke(invocation)
        except ThrottledError as exc:
            invocation.fail(self._clock(), Failure("Runtime.Unavailable", str(exc)))
            invocation.reset = False

    async def _idle_poll(self, api: ManagedRuntimeAPI) -> None:
        while not api.idle and self._sandbox is not None and not self._sandbox.exited:
            await self._sandbox.stirred()

    def _give_up(self, invocation: Invocation, failure: Failure) -> None:
        init_failure = self._managed_api.init_failure
        if init_failure is not None:
            invocation.respond(self._clock(), *init_failure)
        else:
            self._platform.runtime_done(invocation, failure)
        invocation.fail(self._clock(), failure)

    @property
    def _managed_api(self) -> ManagedRuntimeAPI:
        assert self._sandbox is not None
        assert isinstance(self._sandbox.runtime_api, ManagedRuntimeAPI)
        return self._sandbox.runtime_api

    def _of_line(self, text: str) -> Invocation | None:
        """Return the invocation that a line of JSON names, as every line has to here."""
        try:
            fields = json.loads(text)
            return self._of_span(fields.get("record", fields).get("requestId", ""))
        except (ValueError, RecursionError, AttributeError, TypeError):
            return None

    def _of_span(self, request_id: str) -> Invocation | None:
        return self._known.get(request_id)
