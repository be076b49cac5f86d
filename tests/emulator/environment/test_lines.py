"""
Lines over a pipe: followed as they come, drained when it matters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import anyio
import pytest

from lambda_ric.emulator.environment.lines import MAX_LINE, LinePipe


class Written:
    """A pipe with the lines that came out of it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.pipe = LinePipe(self.lines.append)

    def write(self, data: bytes) -> None:
        os.write(self.pipe.write_fd, data)


async def follow_while(written: Written, write: Callable[[], None]) -> None:
    """Follow the pipe while another thread writes, until it has closed its end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(written.pipe.follow)
        tasks.start_soon(anyio.to_thread.run_sync, write)


@pytest.fixture
def written() -> Iterator[Written]:
    written = Written()
    yield written
    written.pipe.close()


def test_drain_hands_on_what_was_written_so_far(written: Written) -> None:
    """
    An unfinished line is handed on too, once.
    """
    written.write(b"one\ntwo\n\nunfin")
    written.pipe.drain()
    written.write(b"ished\n")
    written.pipe.drain()
    written.pipe.drain()

    assert written.lines == [b"one", b"two", b"", b"unfin", b"ished"]


def test_follow_puts_lines_together_and_ends_with_the_writer(written: Written) -> None:
    """
    A line comes out whole however it was written.
    """

    def write() -> None:
        for part in (b"on", b"e\ntw", b"o\nthree"):
            written.write(part)
        written.pipe.close_write_end()

    anyio.run(follow_while, written, write)
    written.pipe.drain()

    assert written.lines == [b"one", b"two", b"three"]


def test_line_without_an_end_is_cut(written: Written) -> None:
    """
    A process that writes no line break does not fill the memory.
    """

    def write() -> None:
        written.write(b"x" * (3 * MAX_LINE))
        written.pipe.close_write_end()

    anyio.run(follow_while, written, write)
    written.pipe.drain()

    assert sum(len(line) for line in written.lines) == 3 * MAX_LINE
    assert max(len(line) for line in written.lines) < 2 * MAX_LINE
