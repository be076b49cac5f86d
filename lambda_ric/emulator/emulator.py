"""
One function on this machine: invocations find an environment, or wait their turn, or are throttled.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_EVENT

from .environment.confinement import Confinement
from .environment.guard import Guard
from .environment.host import Host
from .environment.managed import ManagedEnvironment
from .environment.ordinary import OrdinaryEnvironment
from .environment.profiler import Profiler
from .event.invocation import Answer, Invocation
from .event.log_line import LogLine
from .event.observer import LogObserver, Observer, Observers
from .event.refusals import EmulatorError, ThrottledError
from .function.changes import SourceFiles
from .function.function import QUEUED, Function
from .slots import Slot, Slots

AnyEnvironment = ManagedEnvironment | OrdinaryEnvironment

_SHARED_PORTS = (
    "the init of environment {} failed while another environment lives. All of them share the ports of this machine,"
    " which on Lambda each has for itself: with a fixed port, use --private-network, or --concurrency 1 --queue"
)


class Emulator:
    """
    Runs a function's runtime as Lambda would, in one environment for each of *concurrency* callers at a time.

    An async context manager; leaving it ends every runtime, also in the middle
    of an invocation: at once, or in the time that extensions are given.
    *command* starts any other runtime instead of our own. *on_log* is called
    with each line that the function or the platform writes, as it comes. With
    *queue*, `submit` lets an invocation wait instead of throttling it. With
    *reload*, an event finds the code of the task root as it is then, and what
    matches the patterns of *reload_include*. An environment that was idle for
    *idle_timeout* seconds is shut down. Runtimes read from the
    descriptor *terminal*, by default from nothing. A flame graph of each invocation
    becomes the file *profile*. Anything else is a field of `Function`. Its one subject is what a caller can ask of one
    function, and who is started and ended for that.

    Raises:
        ConfigurationError: What Lambda, or this machine, would not accept.
    """

    def __init__(
        self,
        handler: str = "",
        *,
        command: Sequence[str] | None = None,
        task_root: str | Path = ".",
        timeout: float = 3.0,
        memory: int = 128,
        environment: Mapping[str, str] | None = None,
        freeze: bool = True,
        init_timeout: float = 10.0,
        on_log: Callable[[LogLine], None] | None = None,
        clock: Callable[[], float] = time.time,
        concurrency: int = 1,
        queue: bool = False,
        idle_timeout: float = math.inf,
        reload: bool = False,
        reload_include: Sequence[str] = (),
        observers: Sequence[Observer] = (),
        terminal: int | None = None,
        profile: str | Path | None = None,
        **function: Any,
    ) -> None:
        self.function: Function = Function(
            handler=handler,
            command=tuple(command or ()),
            task_root=Path(task_root),
            timeout=timeout,
            memory=memory,
            environment=dict(environment or {}),
            init_timeout=init_timeout,
            **function,
        )
        if concurrency < 1:
            raise ConfigurationError(f"the concurrency must be at least 1, not {concurrency}")
        if not idle_timeout > 0:
            raise ConfigurationError(f"the idle timeout must be more than 0 seconds, not {idle_timeout}")
        self.concurrency = concurrency
        self._queue = queue
        self._freeze = freeze
        self._terminal = terminal
        if profile is not None and (self.function.max_concurrency or self.function.only_api):
            raise ConfigurationError("a profile is one of an ordinary environment, which the emulator has started")
        self._profiler = Profiler(Path(profile)) if profile is not None else None
        # A debugger has one port, and so one environment that lives, however quickly a reload makes the next one.
        self._places: AbstractAsyncContextManager[object] = anyio.Lock() if self.function.debug_port else nullcontext()
        self._clock = clock
        self.observers: Observers = Observers(*([LogObserver(on_log)] if on_log else []), *observers)
        self._sources = SourceFiles(self.function.task_root, self._code(reload_include)) if reload else None
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._host: Host | None = None
        per_environment = self.function.max_concurrency or 1
        self._slots = Slots(concurrency * per_environment, per_environment, idle_timeout, self._start)
        self._unfinished: set[Invocation] = set()
        self._scopes: set[anyio.CancelScope] = set()
        self._alive: list[AnyEnvironment] = []
        self._environments = 0

    def _code(self, include: Sequence[str]) -> list[str]:
        """Return the patterns of files that count as code: those of *include*, and what the command names."""
        root = self.function.task_root
        named = [os.path.normpath(word) for word in self.function.command if (root / word).is_file()]
        return [*include, *(name for name in named if not os.path.isabs(name))]

    async def __aenter__(self) -> Self:
        Confinement.check(self.function)
        if self.function.only_api:
            _check_port(self.function.runtime_api_port)
        async with AsyncExitStack() as stack:
            guard = Guard()
            stack.callback(guard.close)
            await guard.ready()
            if self.function.private_network:
                try:
                    await guard.check_own_network()
                except OSError as exc:
                    text = f"a private network needs network namespaces, which this machine denies: {exc.strerror}"
                    raise ConfigurationError(text) from exc
            stack.callback(self._cut_short)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        self._host = Host(
            self.function, guard, self.observers, self._clock, self._freeze, self._terminal, self._profiler
        )
        self._tasks = tasks
        if self.function.only_api or self.function.snapstart:  # a debugger, or a snapshot, comes before any event
            self._slots.place(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._host = self._tasks = None
        self._slots.close()
        # The task group does not see the body's exception, which so is not wrapped in a group.
        await self._stack.aclose()

    # What a caller can do...

    async def invoke(self, event: Any = None) -> Answer:
        """
        Send *event* to the function; return its answer as soon as it is posted.

        Bytes are sent as they are, anything else as JSON. A function error is
        an answer, not an exception. Calls for which there is no environment
        wait their turn, which comes when the invocation before has ended.

        Raises:
            ConfigurationError: The event is not JSON, or larger than Lambda takes.
            EmulatorError: The emulator is not open, or was closed meanwhile.
        """
        invocation = self.invocation(_encode(event))
        self._submit(invocation, queue=True)
        return await invocation.answered()

    def invocation(self, event: bytes, **fields: Any) -> Invocation:
        """Return an invocation of the function with *event*, and *fields* of `Invocation`; `submit` sends it."""
        return Invocation(event=event, function_arn=self.function.arn, requested_at=self._clock(), **fields)

    def submit(self, invocation: Invocation) -> None:
        """
        Give *invocation* to an environment; it tells itself what becomes of it.

        Raises:
            ThrottledError: All environments are at work, and there are as many as there may be.
            EmulatorError: The emulator is not open.
        """
        self._submit(invocation, queue=self._queue)

    def _submit(self, invocation: Invocation, *, queue: bool) -> None:
        if self._tasks is None:
            raise EmulatorError("the emulator is not open: use it with `async with`")
        invocation.on_change = self.observers.changed
        changed = self._sources.changed() if self._sources is not None else []
        if changed:
            if self._alive:
                self.observers.note("reload", f"{_some(changed)} changed: new environments will have the new code")
            self.reload()
        if self._slots.all_busy and not queue:
            raise self._throttled(invocation)
        self._unfinished.add(invocation)
        if self._slots.all_busy:
            self._slots.wait(invocation)
        else:
            self._slots.place(invocation)

    def _throttled(self, invocation: Invocation) -> ThrottledError:
        text = f"every environment is at work, and the concurrency is {self.concurrency}"
        # What waits in a queue comes again, and the queue tells of it.
        if invocation.source not in QUEUED:
            self.observers.note("throttle", text, invocation)
        return ThrottledError(text)

    def reload(self) -> None:
        """Let no environment of before take another event; what runs is finished there."""
        self._slots.renew()

    # ...and the life of an environment.

    def _start(self, slots: list[Slot], invocation: Invocation | None) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(self._live, slots, invocation)

    async def _live(self, slots: list[Slot], invocation: Invocation | None) -> None:
        if self._host is None:  # closed before this began
            return
        self._environments += 1
        number = self._environments
        self.observers.note("environment", f"environment {number} starts")
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        # Shielded, or the servers and pipes would be gone before the processes can be shut down.
        with anyio.CancelScope(shield=True):
            async with self._places, self._environment(self._host, number) as environment:
                with scope:
                    await self._serve(environment, slots, invocation)
                self._scopes.discard(scope)
                await environment.shut_down()
        self.observers.note("environment", f"environment {number} has ended")

    async def _serve(self, environment: AnyEnvironment, slots: list[Slot], invocation: Invocation | None) -> None:
        first, *others = slots
        async with anyio.create_task_group() as tasks:
            for slot in slots:
                slot.healthy = lambda: environment.healthy
            for slot in others:
                tasks.start_soon(self._serve_slot, environment, slot, None)
            if invocation is None:
                await environment.init()
                invocation = await self._slots.next(first)
                if invocation is None:
                    return
            await self._serve_slot(environment, first, invocation)

    async def _serve_slot(self, environment: AnyEnvironment, slot: Slot, invocation: Invocation | None) -> None:
        """Run one invocation after the other, beginning with *invocation* or, without, what is given."""
        current = invocation or await self._slots.given(slot)
        while current is not None:
            await environment.run(current)
            self._unfinished.discard(current)
            shared = not self.function.private_network
            if environment.init_failure is not None and shared and self._others_live(environment):
                self.observers.note("init", _SHARED_PORTS.format(environment.number), current)
            current = await self._slots.next(slot)

    def _others_live(self, environment: AnyEnvironment) -> bool:
        return any(other.healthy for other in self._alive if other is not environment)

    @asynccontextmanager
    async def _environment(self, host: Host, number: int) -> AsyncIterator[AnyEnvironment]:
        with ExitStack() as resources:
            confinement = Confinement(self.function)
            resources.callback(confinement.close)
            async with anyio.create_task_group() as tasks:
                if self.function.max_concurrency:
                    environment: AnyEnvironment = ManagedEnvironment(host, number, confinement, tasks)
                else:
                    waits = lambda: self._slots.another_waits  # noqa: E731
                    environment = OrdinaryEnvironment(host, number, confinement, tasks, waits)
                resources.callback(environment.close)
                self._alive.append(environment)
                try:
                    yield environment
                finally:
                    self._alive.remove(environment)
                    environment.kill()
                    tasks.cancel_scope.cancel()

    def _stop(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    def _cut_short(self) -> None:
        for invocation in self._unfinished:
            invocation.cut_short()


def _some(names: Sequence[str]) -> str:
    """Name a few of *names*."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more + (" have" if len(names) > 1 else " has")


def _check_port(port: int) -> None:
    """Say now that *port* cannot be had: to the init it would be a function's failure."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio does: the last one may linger
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as exc:
        text = getattr(exc, "strerror", None) or exc
        raise ConfigurationError(f"cannot listen on port {port} for the Runtime API: {text}") from exc


def _encode(event: Any) -> bytes:
    if isinstance(event, bytes):
        encoded = event
    else:
        try:
            encoded = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as exc:
            raise ConfigurationError(f"the event cannot be written as JSON: {exc}") from exc
    if len(encoded) > MAX_EVENT:
        raise ConfigurationError(f"the event has {len(encoded)} bytes, and Lambda takes {MAX_EVENT}")
    return encoded
