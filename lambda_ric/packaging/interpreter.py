"""
An interpreter to bring along: found, unpacked, pruned, stripped.

Lambda's OS-only runtime has none. uv's are those of python-build-standalone, which run on glibc 2.17 and later and
from any folder; others are taken as an archive or a folder with ``bin`` and ``lib``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from .binaries import architecture, has_debug_symbols, needed_libraries
from .errors import PackagingError
from .platforms import Platform
from .tree import PYTHON, Tree, files_below
from .wheels import uv_program

# Relative to lib/pythonX.Y: what serves those who build, draw or test.
_STANDARD_LIBRARY_NOISE = """\
__pycache__/
/test/
/tests/
/*/test/
/*/tests/
/config-*/
/ensurepip/
/idlelib/
/lib2to3/
/pydoc_data/
/site-packages/
/tkinter/
/turtledemo/
/venv/scripts/
/turtle.py
/EXTERNALLY-MANAGED
/build-details.json
/_sysconfig_vars*.json
/lib-dynload/_test*
/lib-dynload/_ctypes_test*
/lib-dynload/_xxtest*
/lib-dynload/xx*
/lib-dynload/_tkinter*
*.exe
*.whl
*.a
"""


class Interpreter(NamedTuple):
    """A folder with ``bin`` and ``lib``, and what is in it."""

    folder: Path
    python: str
    """Such as 3.13."""
    version: str
    """Such as 3.13.2, or the same where its headers are missing."""

    @property
    def program(self) -> Path:
        """The executable."""
        return self.folder / "bin" / f"python{self.python}"


def obtain(given: Path | None, platform: Platform, work: Path) -> Interpreter:
    """
    Return the interpreter for *platform*: the *given* archive or folder, else the one that uv downloads.

    uv's mirror is the one that `UV_PYTHON_INSTALL_MIRROR` or its configuration names, which may be a folder.

    Raises:
        PackagingError: There is none, or it is for another platform.
    """
    work.mkdir(parents=True)
    if given is None:
        folder = _downloaded(platform, work)
    elif given.is_dir():
        folder = given
    elif given.is_file():
        folder = _unpacked(given, work)
    else:
        raise PackagingError(f"--interpreter {given}: there is no such file or folder")
    interpreter = inspect(folder, platform.python)
    if interpreter.python != platform.python:
        raise PackagingError(
            f"the interpreter in {given or folder} is Python {interpreter.python}, and the package is for "
            f"{platform.python}: give both the same version, with --python"
        )
    arch = architecture(interpreter.program.read_bytes())
    if arch != platform.arch:
        raise PackagingError(
            f"the interpreter in {given or folder} is for {arch}, and the package is for {platform.arch}: "
            "give one that was built for it, or choose another --arch"
        )
    return interpreter


def inspect(folder: Path, wanted: str = "") -> Interpreter:
    """
    Return what *folder* holds: the interpreter of the *wanted* version, where there are several.

    Raises:
        PackagingError: No interpreter, or one that is no ELF file.
    """
    programs = [
        path
        for path in sorted((folder / "bin").glob("python3.*"))
        if re.fullmatch(r"python3\.\d+", path.name) and (folder / "lib" / path.name / "os.py").is_file()
    ]
    programs = [path for path in programs if path.name == f"python{wanted}"] or programs
    if len(programs) > 1:
        names = ", ".join(path.name for path in programs)
        raise PackagingError(f"{folder} holds several interpreters, {names}: say which with --python")
    if not programs:
        raise PackagingError(
            f"{folder} holds no interpreter: bin/python3.X and lib/python3.X are expected, as in an archive of "
            "python-build-standalone (install_only_stripped)"
        )
    if programs[0].read_bytes()[:4] != b"\x7fELF":
        raise PackagingError(f"{programs[0]} is no program for Linux: give an interpreter that was built for it")
    short = programs[0].name.removeprefix("python")
    header = folder / "include" / programs[0].name / "patchlevel.h"
    found = re.search(r'#define PY_VERSION\s+"([^"]+)"', header.read_text()) if header.exists() else None
    return Interpreter(folder, short, found[1] if found else short)


def add_interpreter(
    tree: Tree, interpreter: Interpreter, root: str, work: Path, say: Callable[[str], None]
) -> None:
    """
    Add the interpreter to *tree*: ``bin/python3``, and below ``lib`` what it needs to run, without symbols.

    *root* is where the package will lie, such as ``/var/task``.
    """
    work.mkdir(parents=True)
    library = f"lib/python{interpreter.python}"
    # One file by the name that `bootstrap` looks for: a zip need not carry links.
    chosen = {"bin/python3": interpreter.program}
    linked = needed_libraries(interpreter.program.read_bytes())
    noise = GitIgnoreSpec.from_lines(_STANDARD_LIBRARY_NOISE.splitlines())
    for name in linked:
        if (interpreter.folder / "lib" / name).is_file():
            chosen[f"lib/{name}"] = interpreter.folder / "lib" / name
    for path, source in files_below(interpreter.folder / library):
        if not noise.match_file(path):
            chosen[f"{library}/{path}"] = source
    if f"{library}/encodings/__init__.py" not in chosen:
        raise PackagingError(f"{interpreter.folder} has no complete standard library in {library}")
    stripped = _Stripper(work)
    for path, source in sorted(chosen.items()):
        if Path(path).match("_sysconfigdata_*.py"):
            source = _moved(source, interpreter.folder, root, work / path)
        tree.add(path, stripped(path, source), PYTHON, executable=path == "bin/python3")
    if stripped.left:
        say(f"{len(stripped.left)} files keep their symbols, since `strip` is missing or of another architecture")


def _moved(source: Path, folder: Path, root: str, target: Path) -> Path:
    """Return a copy of *source* that names *root*, and not the *folder* of this machine that uv has written into it."""
    content = source.read_bytes()
    for name in (os.path.realpath(folder), str(folder)):
        content = content.replace(name.encode(), root.encode())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


class _Stripper:
    """Takes symbols out of programs and libraries, with binutils or LLVM, where there are any."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self.left: list[str] = []
        """Files that could not be stripped."""

    def __call__(self, path: str, source: Path) -> Path:
        """Return a stripped copy of *source*, or *source* where there is nothing to do, or no way."""
        if not (path.startswith("bin/") or ".so" in source.name):
            return source
        content = source.read_bytes()
        if not has_debug_symbols(content):
            return source
        target = self._work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        for tool in ("strip", "llvm-strip"):
            program = shutil.which(tool)
            command = [program or tool, "--strip-unneeded", "-o", str(target), str(source)]
            if program and subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return target
        self.left.append(path)
        return source


def _downloaded(platform: Platform, work: Path) -> Path:
    request = f"cpython-{platform.python}-linux-{platform.machine}-gnu"
    done = subprocess.run(
        [uv_program(), "python", "install", request, "--install-dir", work, "--no-bin", "--no-progress"],
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    folders = [path for path in work.glob("cpython-*") if path.is_dir() and not path.is_symlink()]
    if done.returncode != 0 or len(folders) != 1:
        detail = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines())
        raise PackagingError(
            f"uv could not download {request}. Give an archive of python-build-standalone "
            f"(install_only_stripped) or a folder with --interpreter, or name a mirror in UV_PYTHON_INSTALL_MIRROR. "
            f"uv says:\n{detail}"
        )
    return folders[0]


def _unpacked(archive: Path, work: Path) -> Path:
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(work, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PackagingError(
            f"--interpreter {archive} cannot be unpacked: {error}. A tar archive is expected, such as "
            "python-build-standalone's install_only_stripped.tar.gz"
        ) from error
    roots = [path.parents[1] for path in work.rglob("bin/python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
    if not roots:
        raise PackagingError(f"--interpreter {archive} holds no bin/python3.X: give an `install_only` archive")
    return min(roots, key=lambda root: len(root.parts))
