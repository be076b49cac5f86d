"""
What can be known of a function before it is run: whether there is such a file, and such a name in it.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path

from .function import Function


def problem_of(function: Function) -> str | None:
    """
    Return why *function* cannot be started, as far as a look at its files tells; None if nothing speaks against it.

    Nothing is run or imported. A module that is not in the task root may be found elsewhere by its runtime, and is
    passed over unless it is nowhere to be seen.
    """
    if function.only_api:
        return None
    if function.command:
        return _problem_of_command(function)
    module, dot, name = function.handler.rpartition(".")
    if not dot or not module or not name:
        return f"the handler {function.handler!r} has not the form module.function"
    path = _file_of(module.replace("/", "."), function)
    if path is None:
        return f"there is no module {module!r} in {function.task_root.resolve()}"
    return _problem_of_name(path, name, function)


def _problem_of_command(function: Function) -> str | None:
    program = function.command[0]
    if os.sep in program:
        path = function.task_root / program
        if not path.is_file():
            return f"there is no program {program!r} in {function.task_root.resolve()}"
        return None if os.access(path, os.X_OK) else f"{program!r} cannot be executed: chmod +x {program}"
    if shutil.which(program, path=function.caller.get("PATH")) is None:
        return f"there is no program {program!r} on the PATH"
    return None


def _file_of(module: str, function: Function) -> Path | None:
    parts = module.split(".")
    base = function.task_root.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    # Installed, compiled, or a package without a file: the interpreter may know more.
    places = [str(function.task_root), *function.caller.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    return Path() if PathFinder.find_spec(parts[0], places) is not None else None


def _problem_of_name(path: Path, name: str, function: Function) -> str | None:
    if path == Path():
        return None
    where = os.path.relpath(path, function.task_root)
    try:
        tree = ast.parse(path.read_bytes(), where)
    except (SyntaxError, ValueError, RecursionError) as exc:
        return f"{where} cannot be read as Python: {exc}"
    except OSError as exc:
        return f"{where} cannot be read: {exc.strerror}"
    names = set(_names(tree.body))
    if name in names or "*" in names:
        return None
    close = get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{where} has no {name!r}{hint}"


def _names(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that *body* binds, whatever becomes of it; a star for those that only the run would tell."""
    for node in body:
        match node:
            case ast.FunctionDef(name="__getattr__") | ast.Name(id="globals" | "exec" | "setattr" | "vars"):
                yield "*"
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case _:
                yield from _names(ast.iter_child_nodes(node))
