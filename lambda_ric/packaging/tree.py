"""
The files of a package, before they are a zip: each with its place, its source and its owner.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CODE = "your code"
RUNTIME = "lambda-ric"
PYTHON = "python"


class File(NamedTuple):
    """One file: where its content is, or the content itself; whether it is a program; whose it is."""

    source: Path | bytes
    executable: bool
    owner: str

    def read(self) -> bytes:
        """Return the content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


class Tree:
    """
    Files by their paths in the package, which have slashes on every system.

    Who comes first keeps a path: the parts are added in the order of their rank, the user's code before all others.
    """

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.shadowed: list[tuple[str, str, str]] = []
        """Paths that two owners claim: the path, who has it, who does not."""

    def add(self, path: str, source: Path | bytes, owner: str, executable: bool | None = None) -> None:
        """Put a file at *path*, unless somebody else has that path; a source on disk brings its mode along."""
        if executable is None:
            executable = isinstance(source, Path) and bool(source.stat().st_mode & stat.S_IXUSR)
        taken = self.files.get(path)
        if taken is None:
            self.files[path] = File(source, executable, owner)
        elif taken.owner != owner:
            self.shadowed.append((path, taken.owner, owner))

    def remove(self, path: str) -> None:
        """Leave *path* out."""
        del self.files[path]

    def sorted(self) -> Iterator[tuple[str, File]]:
        """Yield all files, in the order of the zip."""
        yield from sorted(self.files.items())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield all files below *root* with their paths in a package, sorted."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path
