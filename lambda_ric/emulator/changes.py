"""
Whether a function's files have changed, for the hot reload.

Looked at when an event arrives, and so before it is served: nobody has to wait
until a watcher has noticed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# What a developer's directory holds besides the function. A hidden directory is passed over as well.
_PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
# What is written beside a function rather than for it, the swap files of editors included.
_NO_SOURCES = (".jsonl", ".log", ".pyc", ".swp", ".swx", "~")
# A look may take this part of the time: with a great many files it is not taken at every event.
_SHARE = 0.03


class SourceFiles:
    """The files below *root*, as they were when they were last looked at."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._next_look = 0.0
        self._own_output = set(_inodes(1, 2))  # where our own log may go, `2> dev.txt` say
        self._seen = self._look()

    def changed(self) -> bool:
        """Return whether a file was written, made or removed since the last call."""
        if self._clock() < self._next_look:
            return False
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> dict[str, tuple[int, int, int]]:
        started = self._clock()
        found = {path: seen for path, seen in _files(str(self._root)) if seen[2] not in self._own_output}
        now = self._clock()
        self._next_look = now + (now - started) / _SHARE
        return found


def _inodes(*descriptors: int) -> Iterator[int]:
    for descriptor in descriptors:
        with suppress(OSError):  # closed
            yield os.fstat(descriptor).st_ino


def _files(directory: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:  # removed meanwhile, or not ours to read
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _PASSED_OVER:
                    yield from _files(entry.path)
            elif not entry.name.endswith(_NO_SOURCES):
                status = entry.stat()
                yield entry.path, (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            continue
