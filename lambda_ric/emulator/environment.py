"""
One execution environment: a runtime process, and the phases that Lambda leads it through.

Its life: init, then for each event thaw, invoke, freeze; it ends by SIGKILL,
or on its own. Whatever goes wrong ends the environment, not the emulator.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup

from .function import Function
from .invocation import Failure, Invocation, Span
from .lines import LogLine
from .process import RuntimeProcess
from .routes import dispatch
from .runtime_api import RuntimeAPI, State
from .server import serve_connection

log = logging.getLogger("lambda_ric.emulator")

# How long a runtime that has posted its init error may take to log it and to exit.
EXIT_GRACE = 1.0


@asynccontextmanager
async def environment(
    function: Function, *, freeze: bool, clock: Callable[[], float], on_log: Callable[[LogLine], None]
) -> AsyncIterator[Environment]:
    """Provide an environment for *function*, whose process starts with the first invocation and ends here."""
    with ExitStack() as resources:
        async with anyio.create_task_group() as tasks:
            created = Environment(function, tasks, resources, freeze=freeze, clock=clock, on_log=on_log)
            try:
                yield created
            finally:
                created.kill()
                tasks.cancel_scope.cancel()


class Environment:
    """One environment; made by `environment`, which also ends it."""

    def __init__(
        self,
        function: Function,
        tasks: TaskGroup,
        resources: ExitStack,
        *,
        freeze: bool,
        clock: Callable[[], float],
        on_log: Callable[[LogLine], None],
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._resources = resources
        self._freeze = freeze
        self._clock = clock
        self._on_log = on_log
        self._api = resources.enter_context(RuntimeAPI(clock))
        self._process: RuntimeProcess | None = None
        self._current: Invocation | None = None
        self._killed = False

    @property
    def usable(self) -> bool:
        """Whether another event may be sent here."""
        return not self._killed and not self._exited

    async def run(self, invocation: Invocation) -> None:
        """Bring *invocation* to its end, whatever the runtime does."""
        self._current = invocation
        failure = await self._init(invocation) if self._process is None else None
        invocation.start(self._clock(), self._function.timeout)
        self._say(f"START RequestId: {invocation.request_id} Version: $LATEST")
        if failure is None:
            failure = await self._invoke(invocation)
            invocation.ended_at = self._clock()
        invocation.max_memory = self._process.peak_memory if self._process else None
        if failure is not None:
            await self._reset(invocation, failure)
        elif self._process is not None:
            self._end_invoke(invocation, self._process)
        self._say(f"END RequestId: {invocation.request_id}")
        self._say(invocation.report(self._function.memory))
        invocation.finish()

    def kill(self) -> None:
        """End the runtime and whatever it started at once."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    # The phases...

    async def _init(self, invocation: Invocation) -> Failure | None:
        invocation.init_started_at = self._clock()
        limit = self._function.init_timeout
        try:
            self._process = await self._start()
        except OSError as exc:
            text = f"cannot run {self._function.arguments[0]!r}: {exc.strerror}"
            failure: Failure | None = Failure("Runtime.InvalidEntrypoint", text)
        else:
            failure = await self._phase(limit, f"Init timed out after {limit:.2f} seconds")
            if self._api.init_failure is not None:
                with anyio.move_on_after(EXIT_GRACE):
                    await self._process.exited.wait()
            self._process.drain()
        invocation.init_ended_at = self._clock()
        if failure is not None:
            duration = (invocation.init_ended_at - invocation.init_started_at) * 1000
            status = "\t".join(failure.report_fields())
            self._say(f"INIT_REPORT Init Duration: {duration:.2f} ms\tPhase: init\t{status}")
        return failure

    async def _invoke(self, invocation: Invocation) -> Failure | None:
        if self._process is not None:
            self._process.thaw()
        self._api.deliver(invocation)
        left = invocation.deadline - self._clock()
        return await self._phase(left, f"Task timed out after {self._function.timeout:.2f} seconds")

    async def _phase(self, seconds: float, timeout_message: str) -> Failure | None:
        """Wait until the runtime polls; return why it did not."""
        if not self._exited:
            with anyio.move_on_after(seconds):
                await self._api.phase_over.wait()
        if self._api.state is State.READY:
            return None
        if self._api.init_failure is not None:
            return self._api.init_failure.failure
        if self._process is not None and self._exited:
            return self._process.exit_failure()
        return Failure("Sandbox.Timedout", timeout_message)

    def _end_invoke(self, invocation: Invocation, process: RuntimeProcess) -> None:
        if self._freeze:
            process.freeze()
            invocation.frozen_at = self._clock()
        process.drain()

    async def _reset(self, invocation: Invocation, failure: Failure) -> None:
        self.kill()
        if self._process is not None:
            await self._process.exited.wait()
        if self._api.init_failure is not None:
            invocation.respond(invocation.ended_at, *self._api.init_failure)
        else:
            when = " (after the response)" if invocation.answer is not None else ""
            self._say(f"RequestId: {invocation.request_id} Error: {failure.message}{when}")
        invocation.fail(invocation.ended_at, failure)

    # ...the process...

    @property
    def _exited(self) -> bool:
        return self._process is not None and self._process.exited.is_set()

    async def _start(self) -> RuntimeProcess:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        self._tasks.start_soon(self._serve, listener)
        address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        process = RuntimeProcess(
            self._function.arguments,
            self._function.task_root,
            self._function.variables(address),
            on_output=self._read_output,
            on_span=self._read_span,
        )
        self._resources.callback(process.close)
        self._tasks.start_soon(self._watch, process)
        return process

    async def _serve(self, listener: Listener[SocketStream]) -> None:
        async with listener:
            await listener.serve(partial(serve_connection, handler=partial(dispatch, self._api)))

    async def _watch(self, process: RuntimeProcess) -> None:
        await process.watch()
        self._api.phase_over.set()

    # ...and what it writes.

    def _read_output(self, line: bytes) -> None:
        self._log(line.decode(errors="replace"), platform=False)

    def _say(self, text: str) -> None:
        self._log(text, platform=True)

    def _log(self, text: str, *, platform: bool) -> None:
        line = LogLine(self._clock(), text, platform)
        if self._current is not None:
            self._current.logs.append(line)
        self._on_log(line)

    def _read_span(self, line: bytes) -> None:
        try:
            request_id, span = _parse_span(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            log.warning("not a span: %r", line[:200])
            return
        if self._current is not None and request_id == self._current.request_id:
            self._current.spans.append(span)


def _parse_span(line: bytes) -> tuple[str, Span]:
    fields = json.loads(line)
    start, end = float(fields["start"]), float(fields["end"])
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("a time without end")
    kind, name, state = (str(fields[key]) for key in ("kind", "name", "state"))
    return fields["request_id"], Span(kind, name, state, start, end)
