"""
Which of the project's files are the function's code.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from .archive import MANIFEST
from .errors import PackagingError
from .project import Project
from .tree import CODE, Tree

# What a project folder holds for those who work on it, not for the function.
DEFAULT_EXCLUDES = """\
.*
__pycache__/
*.py[cod]
*.pyi
tests/
test/
test_*.py
*_test.py
conftest.py
node_modules/
*.egg-info/
/build/
/cdk.out/
/dist/
/docs/
/event.json
/events/
/*.cfg
/*.ini
/*.lock
/*.md
/*.rst
/*.tf
/*.tfvars
*.tfstate*
/cdk.json
/compose*.y*ml
/docker-compose*.y*ml
/Dockerfile*
/LICENSE*
/Makefile
/noxfile.py
/Pipfile
/pylock*.toml
/pyproject.toml
/requirements*.in
/requirements*.txt
/samconfig.*
/serverless.y*ml
/setup.py
/template.y*ml
"""


def add_code(tree: Tree, project: Project, output: Path) -> None:
    """
    Add the user's code to *tree*.

    Left out is what `DEFAULT_EXCLUDES`, `.gitignore` files and ``exclude`` name, virtual environments, packages and the
    *output* itself; ``include`` brings back. All are patterns as in `.gitignore`, relative to the code's folder.

    Raises:
        PackagingError: A name is none that a zip can hold.
    """
    root = project.source
    defaults = GitIgnoreSpec.from_lines(DEFAULT_EXCLUDES.splitlines())
    exclude = GitIgnoreSpec.from_lines(project.patterns("exclude"))
    include = GitIgnoreSpec.from_lines(project.patterns("include"))
    ignored = _Ignored(project.root)
    for path in _walk(root, set()):
        name = path.relative_to(root).as_posix()
        if path == output:
            continue
        left_out = defaults.match_file(name) or exclude.match_file(name) or ignored.match(path)
        if include.match_file(name) or not left_out:
            if not _is_utf_8(name):
                shown = os.fsencode(name).decode(errors="backslashreplace")
                raise PackagingError(
                    f"the name of {shown} is not UTF-8, as those in a zip are: rename it, or name it in "
                    "[tool.lambda-ric] exclude"
                )
            tree.add(name, path, CODE)


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Ignored:
    """The `.gitignore` files of a project: the nearest that has something to say decides."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._specs: dict[Path, GitIgnoreSpec | None] = {}

    def match(self, path: Path) -> bool:
        for folder in path.parents:
            spec = self._spec(folder)
            if spec is not None:
                result = spec.check_file(path.relative_to(folder).as_posix())
                if result.include is not None:
                    return result.include
            if folder == self._root:
                break
        return False

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            try:
                lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
                self._specs[folder] = GitIgnoreSpec.from_lines(lines)
            except OSError:
                self._specs[folder] = None
        return self._specs[folder]


def _walk(folder: Path, above: set[str]) -> Iterator[Path]:
    """Yield the files below *folder*, through links, but no circles, virtual environments and packages."""
    real = os.path.realpath(folder)
    if real in above or any((folder / mark).exists() for mark in ("pyvenv.cfg", MANIFEST)):
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if _leads_in_a_circle(entry):
            continue
        if entry.is_dir():
            if entry.name not in (".git", "node_modules", "__pycache__"):
                yield from _walk(folder / entry.name, above | {real})
        elif entry.is_file():
            yield folder / entry.name


def _leads_in_a_circle(entry: os.DirEntry[str]) -> bool:
    """Say whether *entry* is a link to a link that leads back to it; one that leads nowhere is no file anyway."""
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return True
        raise
    return False
