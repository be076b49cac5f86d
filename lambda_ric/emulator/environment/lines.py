"""
What a runtime process writes: lines over a pipe, read as they come or all at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

# Lambda cuts a log event at 256 KiB too.
MAX_LINE = 256 * 1024
_PIECE = 64 * 1024
# What Linux lets anybody have; https://man7.org/linux/man-pages/man7/pipe.7.html
_ROOMY = 1024 * 1024


class LinePipe:
    """
    A pipe whose other end a child process inherits.

    *follow* hands on each line as it comes. *drain* hands on, at once, what
    has been written so far: after the process has been stopped, or has said
    over HTTP that it is done, nothing is missing. A *roomy* one takes thousands
    of lines before the writer has to wait for the reader, where the system allows it.
    """

    def __init__(self, on_line: Callable[[bytes], None], *, roomy: bool = False) -> None:
        self._on_line = on_line
        self._rest = b""
        self._open = True
        self._read_fd, write_fd = os.pipe()
        self.write_fd: int = write_fd
        os.set_blocking(self._read_fd, False)
        if roomy:
            with suppress(AttributeError, OSError):  # not on macOS; or too many pipes have grown already
                fcntl.fcntl(self._read_fd, fcntl.F_SETPIPE_SZ, _ROOMY)

    async def follow(self) -> None:
        """Hand on lines until every process that holds the other end has closed it."""
        loop = asyncio.get_running_loop()
        closed = loop.create_future()

        def read() -> None:
            self._read(most=1)
            if not self._open and not closed.done():
                closed.set_result(None)

        # One watch for all lines: to begin one anew for each costs more than the reading.
        loop.add_reader(self._read_fd, read)
        try:
            await closed
        finally:
            loop.remove_reader(self._read_fd)

    def drain(self) -> None:
        """Hand on what has been written so far, an unfinished last line included."""
        self._read(most=64)  # a process that is not frozen could go on writing for ever
        if self._rest:
            self._on_line(self._rest)
            self._rest = b""

    def close_write_end(self) -> None:
        """Leave the other end to the processes that inherited it."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        """Close both ends; *follow* must have ended."""
        self.close_write_end()
        os.close(self._read_fd)

    def _read(self, most: int) -> None:
        for _ in range(most):
            try:
                data = os.read(self._read_fd, _PIECE)
            except BlockingIOError:
                return
            if not data:
                self._open = False
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._on_line(line)
            if len(self._rest) >= MAX_LINE:
                self._on_line(self._rest)
                self._rest = b""
            if len(data) < _PIECE:
                return
