"""
A runtime as the operating system sees it: a process group and its pipes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio

from .invocation import Failure
from .lines import LinePipe


class RuntimeProcess:
    """
    A runtime's process and whatever it starts, stopped, continued and ended together.

    What it writes to stdout and stderr goes to *on_output* line by line, what
    it says on the side about its spans to *on_span*; `watch` has to run.

    Raises:
        OSError: The command cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        *,
        on_output: Callable[[bytes], None],
        on_span: Callable[[bytes], None],
    ) -> None:
        self.exited = anyio.Event()
        self._output = LinePipe(on_output)
        self._spans = LinePipe(on_span)
        try:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**variables, "LAMBDA_RIC_SPANS_FD": str(self._spans.write_fd)},
                stdin=subprocess.DEVNULL,
                stdout=self._output.write_fd,
                stderr=self._output.write_fd,  # one stream on Lambda too, so the order is kept
                pass_fds=[self._spans.write_fd],
                # A group in our session, not a session: should the emulator be killed outright, the
                # kernel sends SIGHUP and SIGCONT to a group that is stopped and has lost its parent.
                process_group=0,
            )
        except OSError:
            self.close()
            raise
        self._output.close_write_end()
        self._spans.close_write_end()

    async def watch(self) -> None:
        """Hand on what the process writes until it has exited; then end whatever it has started."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._output.follow)
            tasks.start_soon(self._spans.follow)
            await anyio.to_thread.run_sync(self._process.wait, limiter=anyio.CapacityLimiter(1))
            self.kill()
            tasks.cancel_scope.cancel()
        self.drain()
        self.exited.set()

    def drain(self) -> None:
        """Hand on what the process has written so far."""
        self._output.drain()
        self._spans.drain()

    def freeze(self) -> None:
        """Stop the group where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a stopped group go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the group at once, stopped or not."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the pipes back; `watch` must have ended."""
        self._output.close()
        self._spans.close()

    @property
    def peak_memory(self) -> int | None:
        """The most memory that the process has used, in MB; None where the system does not tell."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return None
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(peak[1]) // 1024 if peak else None

    def exit_failure(self) -> Failure:
        """Return what Lambda says of a runtime that exited as this one did."""
        code = self._process.returncode
        if code == 0:
            return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
        name = (signal.strsignal(abs(code)) or str(-code)).lower()
        reason = f"exit status {code}" if code > 0 else f"signal: {name}"
        return Failure("Runtime.ExitError", f"Runtime exited with error: {reason}")

    def _signal(self, number: int) -> None:
        if not self.exited.is_set():
            with suppress(ProcessLookupError, PermissionError):  # the latter is macOS' word for a zombie
                os.killpg(self._process.pid, number)
