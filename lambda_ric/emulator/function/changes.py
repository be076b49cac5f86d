"""
Whether a function's code has changed, for the hot reload.

Looked at when an event arrives, and so before it is served: nobody has to wait
until a watcher has noticed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import translate
from pathlib import Path

# What is code, whichever runtime it is for. Data beside it may be written by the function itself.
CODE = ("*.py", "*.js", "*.mjs", "*.cjs", "*.rb", "*.php", "*.sh")
# What a developer's directory holds besides the function. A hidden directory is passed over as well.
_PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
# A look may take this part of the time: with a great many files it is not taken at every event. It is what hot reload
# costs a function that is called without a pause, which is why a quick look comes less often still: after 5 ms at most,
# in which nobody saves a file and calls.
_SHARE = 0.03
_SHARE_OF_QUICK = 0.01
_SHORT = 0.005

Seen = dict[str, tuple[int, int, int]]
"""What makes a file the same: its time, size and number, by its path below the root."""


class SourceFiles:
    """
    The files below *root* that are code or match one of *include*, as they were when they were last looked at.

    A pattern is that of a name, such as ``*.html``, or of a path below the root, such as ``templates/*``.
    """

    def __init__(self, root: Path, include: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        # One expression for all: to try each pattern takes up to twice as long.
        self._is_code = re.compile("|".join(map(translate, (*CODE, *include)))).match
        self._clock = clock
        self._next_look = 0.0
        self._seen = self._look()

    def changed(self) -> list[str]:
        """Return the files that were written, made or removed since the last call, by their paths below the root."""
        if self._clock() < self._next_look:
            return []
        before, self._seen = self._seen, self._look()
        names = before.keys() | self._seen.keys()
        return sorted(name for name in names if before.get(name) != self._seen.get(name))

    def _look(self) -> Seen:
        started = self._clock()
        found = dict(self._files())
        now = self._clock()
        took = now - started
        self._next_look = now + max(took / _SHARE, min(took / _SHARE_OF_QUICK, _SHORT))
        return found

    def _files(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        directories = [""]  # a stack, for others may nest theirs deeper than Python its calls
        while directories:
            directory = directories.pop()
            for entry in _entries(self._root / directory):
                path = f"{directory}/{entry.name}" if directory else entry.name
                with suppress(OSError):  # removed meanwhile
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith(".") and entry.name not in _PASSED_OVER:
                            directories.append(path)
                    elif self._is_code(entry.name) or self._is_code(path):
                        status = entry.stat()
                        yield path, (status.st_mtime_ns, status.st_size, status.st_ino)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:  # removed meanwhile, not ours to read, or with too long a path
        return []
