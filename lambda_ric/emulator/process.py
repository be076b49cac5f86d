"""
A runtime or an extension as the operating system sees it: a process group and its pipes.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio

from .guard import Guard
from .invocation import Failure
from .lines import LinePipe

# Seconds.
MEMORY_AGE = 0.02

_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def _ignore(line: bytes) -> None:
    pass


class Process:
    """
    A runtime's or an extension's process and whatever it starts, stopped, continued and ended together.

    What it writes to stdout and stderr goes to *on_output* line by line, what
    it says on the side about its spans to *on_span*, if that is wanted at all:
    at each `drain`, or with *follow_spans* as it comes. `watch` has to run.

    Raises:
        OSError: The command cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        *,
        guard: Guard,
        on_output: Callable[[bytes], None],
        on_span: Callable[[bytes], None] | None,
        follow_spans: bool = False,
    ) -> None:
        self.exited = anyio.Event()
        self._guard = guard
        self._output = LinePipe(on_output)
        self._spans = LinePipe(on_span or _ignore)
        if on_span is not None:
            variables = {**variables, "LAMBDA_RIC_SPANS_FD": str(self._spans.write_fd)}
        self._follow_spans = follow_spans
        self._status: int | None = None
        self._peak: int | None = None
        self._peak_read_at = -math.inf
        try:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=self._output.write_fd,
                stderr=self._output.write_fd,  # one stream on Lambda too, so the order is kept
                pass_fds=[self._spans.write_fd] if on_span is not None else [],
                process_group=0,
            )
        except OSError:
            self.close()
            raise
        guard.watch(self._process.pid)
        with suppress(OSError):
            self._status = os.open(f"/proc/{self._process.pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        self._output.close_write_end()
        self._spans.close_write_end()

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    async def watch(self) -> None:
        """Hand on what the process writes until it has exited; then end whatever it has started."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._output.follow)
            if self._follow_spans:
                tasks.start_soon(self._spans.follow)
            await anyio.to_thread.run_sync(self._process.wait, limiter=anyio.CapacityLimiter(1))
            self.kill()
            self._guard.forget(self.pid)
            tasks.cancel_scope.cancel()
        self.drain()
        self.exited.set()

    def drain(self) -> None:
        """Hand on what the process has written so far."""
        self._output.drain()
        self._spans.drain()

    def drain_spans(self) -> None:
        """Hand on what the process has said of its spans so far."""
        self._spans.drain_lines()

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
        self._output.close()
        self._spans.close()
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
        code = self._process.returncode
        if code >= 0:
            return f"exit status {code}"
        return f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"

    def exit_failure(self) -> Failure:
        """Return what Lambda says of a runtime that exited as this one did."""
        if self._process.returncode == 0:
            return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
        return Failure("Runtime.ExitError", f"Runtime exited with error: {self.exit_reason}")

    def _signal(self, number: int) -> None:
        if not self.exited.is_set():
            with suppress(ProcessLookupError, PermissionError):  # the latter is macOS' word for a zombie
                os.killpg(self.pid, number)
