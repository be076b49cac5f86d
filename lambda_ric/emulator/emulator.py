"""
One function on this machine: invocations find an environment, or wait their turn, or are throttled.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from lambda_ric.errors import ConfigurationError
from lambda_ric.protocol import MAX_RESPONSE_BYTES

from .changes import SourceFiles
from .confinement import Confinement
from .environment import Environment
from .function import Function
from .guard import Guard
from .invocation import Answer, EmulatorError, Invocation, ThrottledError
from .lines import LogLine
from .managed import ManagedEnvironment
from .observer import LogObserver, Observer, Observers

# The event has the limit of the response.
MAX_EVENT_BYTES = MAX_RESPONSE_BYTES


class Emulator:
    """
    Runs a function's runtime as Lambda would, in one environment for each of *concurrency* callers at a time.

    An async context manager; leaving it ends every runtime, also in the middle
    of an invocation: at once, or in the time that extensions are given.
    *command* starts any other runtime instead of our own. *on_log* is called
    with each line that the function or the platform writes, as it comes. With
    *queue*, `submit` lets an invocation wait instead of throttling it. With
    *reload*, an event finds the files of the task root as they are then. An
    environment that was idle for *idle_timeout* seconds is shut down. Anything
    else is a field of `Function`.

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
        observers: Sequence[Observer] = (),
        **function: Any,
    ) -> None:
        self.function = Function(
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
        self._idle_timeout = idle_timeout
        self._clock = clock
        self.observers = Observers(*([LogObserver(on_log)] if on_log else []), *observers)
        self._sources = SourceFiles(self.function.task_root) if reload else None
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._guard: Guard | None = None
        self._idle: list[_Slot] = []
        self._waiting: deque[Invocation] = deque()
        self._unfinished: set[Invocation] = set()
        self._scopes: set[anyio.CancelScope] = set()
        self._busy = 0
        self._environments = 0
        self._generation = 0

    async def __aenter__(self) -> Self:
        Confinement.check(self.function)
        if self.function.only_api:
            _check_port(self.function.runtime_api_port)
        async with AsyncExitStack() as stack:
            guard = Guard()
            stack.callback(guard.close)
            stack.callback(self._cut_short)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        self._guard, self._tasks = guard, tasks
        if self.function.only_api or self.function.snapstart:  # a debugger, or a snapshot, comes before any event
            self._busy += 1
            tasks.start_soon(self._live, None, self._slots())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks = None
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
        if self._sources is not None and self._sources.changed():
            if self._scopes:
                self.observers.note("reload", "the files have changed: new environments will have the new code")
            self.reload()
        if self._busy < self.concurrency * (self.function.max_concurrency or 1):
            self._unfinished.add(invocation)
            self._begin(self._tasks, invocation)
        elif queue:
            self._unfinished.add(invocation)
            self._waiting.append(invocation)
        else:
            text = f"every environment is at work, and the concurrency is {self.concurrency}"
            # What waits in a queue comes again, and the queue tells of it.
            if invocation.source not in ("event", "sqs"):
                self.observers.note("throttle", text, invocation)
            raise ThrottledError(text)

    def _begin(self, tasks: TaskGroup, invocation: Invocation) -> None:
        self._busy += 1
        if self._idle:
            self._idle.pop().give(invocation)
        else:
            tasks.start_soon(self._live, invocation, self._slots())

    def reload(self) -> None:
        """Let no environment of before take another event; what runs is finished there."""
        self._generation += 1
        for slot in list(self._idle):
            self._retire(slot)

    # ...and the life of an environment.

    def _slots(self) -> list[_Slot]:
        """Return the slots of one more environment; all but the first may be given events at once."""
        first, *others = [_Slot(self._generation) for _ in range(self.function.max_concurrency or 1)]
        self._idle += others
        return [first, *others]

    async def _live(self, invocation: Invocation | None, slots: Sequence[_Slot]) -> None:
        if self._tasks is None:  # closed before this began
            return
        first, *others = slots
        self._environments += 1
        number = self._environments
        self.observers.note("environment", f"environment {number} starts")
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        # Shielded, or the servers and pipes would be gone before the processes can be shut down.
        with anyio.CancelScope(shield=True):
            async with self._environment(number) as environment:
                with scope:
                    async with anyio.create_task_group() as tasks:
                        for slot in others:
                            tasks.start_soon(self._serve_as_given, environment, slot)
                        if invocation is None:
                            await environment.init()
                            invocation = await self._next(first)
                        await self._serve(environment, first, invocation)
                self._scopes.discard(scope)
                await environment.shut_down()
        self.observers.note("environment", f"environment {number} has ended")

    async def _serve(self, environment: Environment, slot: _Slot, invocation: Invocation | None) -> None:
        """Run one invocation after the other, beginning with *invocation*."""
        while invocation is not None:
            await environment.run(invocation)
            self._unfinished.discard(invocation)
            invocation = await self._next(slot)

    async def _serve_as_given(self, environment: Environment, slot: _Slot) -> None:
        await self._serve(environment, slot, await self._given(slot))

    async def _next(self, slot: _Slot) -> Invocation | None:
        """Wait for what the environment in *slot* is to do next; None says that there will be nothing."""
        current = slot.generation == self._generation
        if self._waiting and current:
            return self._waiting.popleft()
        self._busy -= 1
        if self._waiting and self._tasks is not None:
            self._begin(self._tasks, self._waiting.popleft())
        if not current:
            return None
        self._idle.append(slot)
        return await self._given(slot)

    async def _given(self, slot: _Slot) -> Invocation | None:
        timer = None
        if self._idle_timeout < math.inf:
            timer = asyncio.get_running_loop().call_later(self._idle_timeout, self._retire, slot)
        taken = await slot.taken()
        if timer is not None:
            timer.cancel()
        return taken

    @asynccontextmanager
    async def _environment(self, number: int) -> AsyncIterator[Environment]:
        assert self._guard is not None
        kind = ManagedEnvironment if self.function.max_concurrency else Environment
        with ExitStack() as resources:
            confinement = Confinement(self.function)
            resources.callback(confinement.close)
            async with anyio.create_task_group() as tasks:
                environment = kind(
                    self.function,
                    number,
                    self._guard,
                    confinement,
                    tasks,
                    freeze=self._freeze,
                    another_waits=lambda: bool(self._waiting),
                    clock=self._clock,
                    observer=self.observers,
                )
                resources.callback(environment.close)
                try:
                    yield environment
                finally:
                    environment.kill()
                    tasks.cancel_scope.cancel()

    def _retire(self, slot: _Slot) -> None:
        if slot in self._idle:
            self._idle.remove(slot)
            slot.give(None)

    def _stop(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    def _cut_short(self) -> None:
        self._guard = self._tasks = None
        for invocation in self._unfinished:
            invocation.cut_short()


class _Slot:
    """The place of one environment in the row of those that wait for an event."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._moved = asyncio.Event()
        self._invocation: Invocation | None = None

    def give(self, invocation: Invocation | None) -> None:
        """Wake the environment with *invocation*; with None it has to end."""
        self._invocation = invocation
        self._moved.set()

    async def taken(self) -> Invocation | None:
        """Wait for what is given."""
        await self._moved.wait()
        self._moved.clear()
        return self._invocation


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
    if len(encoded) > MAX_EVENT_BYTES:
        raise ConfigurationError(f"the event has {len(encoded)} bytes, and Lambda takes {MAX_EVENT_BYTES}")
    return encoded
