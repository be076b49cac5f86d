"""
A flame graph of an invocation, drawn by py-spy: it looks at the runtime from outside, and slows nothing down.

https://github.com/benfred/py-spy
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from lambda_ric.errors import ConfigurationError

# Looks a second: a function of 20 ms is seen ten times.
_RATE = 500
# What py-spy writes as soon as it looks.
_LOOKS = b"Sampling process"


class Profiler:
    """
    Writes what *file* is named for: a flame graph (``.svg``), or a profile for speedscope (``.json``).

    Raises:
        ConfigurationError: It is named otherwise, or cannot be there, or py-spy is not installed.
    """

    def __init__(self, file: Path) -> None:
        formats = {".svg": "flamegraph", ".json": "speedscope"}
        if file.suffix not in formats or not file.parent.is_dir() or file.is_dir():
            raise ConfigurationError(
                f"the profile {str(file)!r} has to be an .svg or .json file in a folder that is there"
            )
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        program = shutil.which("py-spy", path=beside)
        if program is None:
            raise ConfigurationError("a profile is drawn by py-spy, which is not installed: pip install py-spy")
        self._program = program
        self._file = file
        self._format = formats[file.suffix]

    async def begin(self, pid: int) -> Recording:
        """Look at the process *pid* from now on; it may be stopped."""
        unfinished = self._file.with_name(f".{self._file.stem}-{pid}{self._file.suffix}")
        options = ["--rate", str(_RATE), "--format", self._format, "--output", str(unfinished)]
        # Also those that wait: what an invocation waits for takes its time, too.
        process = await asyncio.create_subprocess_exec(
            *(self._program, "record", "--pid", str(pid), "--nonblocking", "--idle", "--threads", *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the emulator
        )
        recording = Recording(process, unfinished, self._file)
        await recording.started()
        return recording


class Recording:
    """One profile that is being made by *process* in the file *unfinished*, and is *file* in the end."""

    def __init__(self, process: asyncio.subprocess.Process, unfinished: Path, file: Path) -> None:
        self._process = process
        self._unfinished = unfinished
        self._file = file
        self._said = b""

    async def started(self) -> None:
        """Wait until the process looks, or has given up."""
        assert self._process.stdout is not None
        while _LOOKS not in self._said and (line := await self._process.stdout.readline()):
            self._said += line

    async def end(self) -> str:
        """Write the profile; return what there is to say of it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        rest, _ = await self._process.communicate()
        if self._process.returncode == 0 and self._unfinished.is_file():
            self._unfinished.replace(self._file)
            return f"{self._file} shows where the time of it went"
        self._unfinished.unlink(missing_ok=True)
        said = [line for line in (self._said + rest).decode(errors="replace").splitlines() if line.strip()]
        return f"there is no profile: {' '.join(said[-2:])[:500] or 'py-spy said nothing'}"
