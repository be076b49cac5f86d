"""
One function on this machine: invocations wait their turn for its environment.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.memory import MemoryObjectReceiveStream

from lambda_ric.errors import ConfigurationError
from lambda_ric.protocol import MAX_RESPONSE_BYTES

from .environment import environment as execution_environment
from .function import Function
from .invocation import Answer, EmulatorError, Invocation
from .lines import LogLine

# The event has the limit of the response.
MAX_EVENT_BYTES = MAX_RESPONSE_BYTES


def _ignore(line: LogLine) -> None:
    pass


class Emulator:
    """
    Runs a function's runtime as Lambda would, one environment at a time.

    An async context manager; leaving it ends the runtime at once, also in the
    middle of an invocation. *command* starts any other runtime instead of our
    own. *on_log* is called with each line that the function or the platform
    writes, as it comes.

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
        on_log: Callable[[LogLine], None] = _ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.function = Function(
            handler=handler,
            command=tuple(command or ()),
            task_root=Path(task_root),
            timeout=timeout,
            memory=memory,
            environment=dict(environment or {}),
            init_timeout=init_timeout,
        )
        self._freeze = freeze
        self._on_log = on_log
        self._clock = clock
        self._unfinished: list[Invocation] = []
        self._stack = AsyncExitStack()
        self._open = False

    async def __aenter__(self) -> Self:
        self._requests, queue = anyio.create_memory_object_stream[Invocation](math.inf)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._requests)
            stack.enter_context(queue)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._work, queue)
            self._stack = stack.pop_all()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The task group does not see the body's exception, which so is not wrapped in a group.
        await self._stack.aclose()

    async def invoke(self, event: Any = None) -> Answer:
        """
        Send *event* to the function; return its answer as soon as it is posted.

        Bytes are sent as they are, anything else as JSON. A function error is
        an answer, not an exception. Calls at the same time wait their turn,
        which comes when the invocation before has ended.

        Raises:
            ConfigurationError: The event is not JSON, or larger than Lambda takes.
            EmulatorError: The emulator is not open, or was closed meanwhile.
        """
        if not self._open:
            raise EmulatorError("the emulator is not open: use it with `async with`")
        invocation = Invocation(event=_encode(event), function_arn=self.function.arn, requested_at=self._clock())
        self._unfinished.append(invocation)
        self._requests.send_nowait(invocation)
        return await invocation.answered()

    async def _work(self, queue: MemoryObjectReceiveStream[Invocation]) -> None:
        try:
            invocation = await queue.receive()
            while True:
                async with execution_environment(
                    self.function, freeze=self._freeze, clock=self._clock, on_log=self._on_log
                ) as environment:
                    while environment.usable:
                        await environment.run(invocation)
                        self._unfinished.remove(invocation)
                        invocation = await queue.receive()
        finally:
            self._open = False
            for invocation in self._unfinished:
                invocation.cut_short()


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


@contextmanager
def blocking(emulator: Emulator) -> Iterator[BlockingEmulator]:
    """Open *emulator* for code that is not async; it runs in a thread of its own."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(emulator):
        yield BlockingEmulator(portal, emulator)


class BlockingEmulator:
    """An emulator whose methods block; made by `blocking`. Several threads may use it."""

    def __init__(self, portal: BlockingPortal, emulator: Emulator) -> None:
        self._portal = portal
        self._emulator = emulator

    def invoke(self, event: Any = None) -> Answer:
        """Send *event* to the function; return its answer as soon as it is posted."""
        answer: Answer = self._portal.call(self._emulator.invoke, event)
        return answer

    def finished(self, answer: Answer) -> Invocation:
        """Wait for the end of the invocation that gave *answer*."""
        return self._portal.call(answer.finished)
