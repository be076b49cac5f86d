"""
A runtime or an extension as the operating system sees it: a process group and its pipes.
"""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import anyio

from lambda_ric.emulator.event.failure import Failure

from .guard import Keeping
from .lines import LinePipe

# Seconds.
MEMORY_AGE = 0.02

_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Process:
    """
    A runtime's or an extension's process and its group, stopped, continued and ended together.

    What it writes to stdout and stderr goes to *on_output* line by line, what
    it says on the side about its spans to *on_span*, if that is wanted at all.
    `watch` has to run.
    """

    def __init__(
        self,
        keeper: Keeping,
        on_output: Callable[[bytes], None],
        on_span: Callable[[bytes], None] | None,
    ) -> None:
        self.exited: anyio.Event = anyio.Event()
        self.pid: int = 0
        """The number of the process, and of its group."""
        self._keeper = keeper
        self._output = LinePipe(on_output)
        self._spans = LinePipe(on_span, roomy=True) if on_span is not None else None
        self._code = 0
        self._status: int | None = None
        self._peak: int | None = None
        self._peak_read_at = -math.inf

    async def start(
        self, command: Sequence[str], directory: Path, variables: Mapping[str, str], terminal: int | None = None
    ) -> Self:
        """
        Start *command*, which reads from the descriptor *terminal*, or from nothing.

        Raises:
            OSError: It cannot be run.
        """
        try:
            descriptors = [pipe.write_fd for pipe in self._pipes]
            self.pid = await self._keeper.launch(command, directory, variables, descriptors, terminal)
        except BaseException:
            self.close()
            raise
        with suppress(OSError):
            self._status = os.open(f"/proc/{self.pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        for pipe in self._pipes:
            pipe.close_write_end()
        return self

    async def watch(self) -> None:
        """Hand on what the process writes until it has exited, and its group with it."""
        async with anyio.create_task_group() as tasks:
            for pipe in self._pipes:
                tasks.start_soon(pipe.follow)
            self._code = await self._keeper.exited(self.pid)
            tasks.cancel_scope.cancel()
        self.drain()
        self.exited.set()

    def drain(self) -> None:
        """Hand on what the process has written so far."""
        for pipe in self._pipes:
            pipe.drain()

    def freeze(self) -> None:
        """Stop the group where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a stopped group go on."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the group to end, which it can only do when it is not stopped."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the group at once, stopped or not."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the pipes back; `watch` must have ended."""
        for pipe in self._pipes:
            pipe.close()
        if self._status is not None:
            os.close(self._status)
            self._status = None

    @property
    def peak_memory(self) -> int | None:
        """The most memory that the process has used, in MB; None where the system does not tell."""
        # To ask the kernel takes a while, and quick invocations follow each other more quickly than memory grows.
        if self._status is not None and time.monotonic() - self._peak_read_at > MEMORY_AGE:
            with suppress(OSError):
                peak = _PEAK.search(os.pread(self._status, 4096, 0))
                self._peak = int(peak[1]) // 1024 if peak else self._peak
                self._peak_read_at = time.monotonic()
        return self._peak

    @property
    def exit_reason(self) -> str:
        """How the process ended, in the words of the platform."""
        if self._code >= 0:
            return f"exit status {self._code}"
        return f"signal: {(signal.strsignal(-self._code) or str(-self._code)).lower()}"

    def exit_failure(self) -> Failure:
        """Return what Lambda says of a runtime that exited as this one did."""
        if self._code == 0:
            return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
        return Failure("Runtime.ExitError", f"Runtime exited with error: {self.exit_reason}")

    @property
    def _pipes(self) -> list[LinePipe]:
        return [self._output] if self._spans is None else [self._output, self._spans]

    def _signal(self, number: int) -> None:
        if not self.exited.is_set():
            with suppress(ProcessLookupError, PermissionError):  # the latter is macOS' word for a zombie
                os.killpg(self.pid, number)
