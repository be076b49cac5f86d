"""
Bytecode: what Python would have to make at every cold start, since the package cannot be written to.

It is of the kind that is never checked against its source (PEP 552, unchecked hash): right for files that do not
change, the same bytes on any day, and indifferent to the times that a zip or Lambda puts on files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .platforms import Platform
from .tree import CODE, PYTHON, RUNTIME, Tree
from .wheels import uv_program

# One process compiles so many files: what it compiles never depends on how many processors there are.
_BATCH = 100

_COMPILE = """
import json, py_compile, sys
for source, shown, target in json.load(sys.stdin):
    try:
        py_compile.compile(source, target, shown, True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except (py_compile.PyCompileError, ValueError, RecursionError):
        pass  # a template, or code for another Python: it is not imported, or its error is the user's to see
"""

_VERSION = "import platform, sys; print(sys.implementation.cache_tag, platform.python_version())"


class Compiler(NamedTuple):
    """An interpreter whose bytecode the platform understands, and its full version."""

    program: str
    version: str


def find_compiler(platform: Platform, packed: Path | None = None) -> Compiler | None:
    """Return a matching interpreter: the one that is *packed* where it runs here, this one, or one that uv finds."""
    candidates = [str(packed)] if packed else []
    candidates += [sys.executable]
    for program in candidates:
        compiler = _asked(program, platform)
        if compiler is not None:
            return compiler
    found = subprocess.run(
        [uv_program(), "python", "find", "--no-python-downloads", "--no-project", platform.python],
        capture_output=True,
        text=True,
        check=False,
    )
    return _asked(found.stdout.strip(), platform) if found.returncode == 0 else None


def _asked(program: str, platform: Platform) -> Compiler | None:
    libraries = str(Path(program).resolve().parents[1] / "lib")
    try:
        done = subprocess.run(
            [program, "-I", "-c", _VERSION],
            env={"LD_LIBRARY_PATH": libraries},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        tag, version = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Compiler(program, version) if tag == platform.cache_tag else None


def add_bytecode(tree: Tree, compiler: Compiler, platform: Platform, root: str, work: Path) -> None:
    """
    Compile the Python files of *tree*, and add what comes of them.

    *root* is where the package will lie, such as ``/var/task``: tracebacks name it.
    """
    jobs = []
    for path, file in tree.sorted():
        if path.endswith(".py") and isinstance(file.source, Path) and not path.startswith("bin/"):
            target = _bytecode_path(path, platform)
            jobs.append(((str(file.source), f"{root}/{path}", str(work / target)), target, file.owner))
    batches = [[job for job, _, _ in jobs[start : start + _BATCH]] for start in range(0, len(jobs), _BATCH)]
    environment = {
        "PYTHONHASHSEED": "0",  # the order in constant sets
        "LD_LIBRARY_PATH": str(Path(compiler.program).resolve().parents[1] / "lib"),
    }

    def run(batch: list[tuple[str, str, str]]) -> None:
        subprocess.run(
            [compiler.program, "-c", _COMPILE],
            input=json.dumps(batch),
            text=True,
            env=environment,
            check=True,
            capture_output=True,
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, batches))
    for _, target, owner in jobs:
        if (work / target).exists():
            tree.add(target, work / target, owner, executable=False)


def _bytecode_path(path: str, platform: Platform) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/".lstrip("/") + f"{name.removesuffix('.py')}.{platform.cache_tag}.pyc"


def fit(tree: Tree, limit: int) -> list[str]:
    """
    Leave bytecode out until *tree* has no more than *limit* bytes; return the packages that lost theirs.

    Kept longest is that of every start: the runtime's, the interpreter's, the user's own. Of the others the largest
    goes first, so that most packages keep theirs.
    """
    lost = []
    for owner in _by_worth(tree):
        if tree.size <= limit:
            break
        for path, file in list(tree.sorted()):
            if file.owner == owner and path.endswith(".pyc"):
                tree.remove(path)
        lost.append(owner)
    return lost


def _by_worth(tree: Tree) -> Iterator[str]:
    """Yield the owners of bytecode, those that can do best without first."""
    sizes: dict[str, int] = {}
    for path, file in tree.sorted():
        if path.endswith(".pyc"):
            sizes[file.owner] = sizes.get(file.owner, 0) + file.size
    first = (CODE, PYTHON, RUNTIME)
    yield from sorted((owner for owner in sizes if owner not in first), key=lambda owner: -sizes[owner])
    yield from (owner for owner in first if owner in sizes)
