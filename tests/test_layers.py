"""
Who may import whom: rows, from the ground up, and the few who may know a library.

What is imported for type checkers only counts as well: it is knowledge, too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lambda_ric

PACKAGE = Path(lambda_ric.__file__).parent

ROWS = [
    ["errors", "version", "interrupt", "spans", "streams", "background_task"],
    ["settings", "failures", "handlers", "payloads", "envelope", "metrics"],
    ["protocol", "threads", "http_events", "forks"],
    ["context", "client", "connection", "reports", "overflow", "children"],
    ["hooks", "event_loop", "logs", "httpx_connection", "extension", "recycling"],
    ["tasks", "streaming"],
    ["supervision"],
    ["background"],
    ["handover", "lifespan"],
    ["consumer", "synchronous", "asgi"],
    ["runtime"],
    ["entry", "wsgi"],
    ["__init__"],
    ["__main__", "testing", "emulator"],
    ["cli"],
]
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
TOOLS = {"testing", "emulator", "cli"}

# Libraries, and the modules that may know them: all from outside, and those of the standard library that have an owner.
KNOWN_TO = {
    "anyio": {"emulator", "cli"},
    "a2wsgi": {"wsgi"},
    "asyncio": {"event_loop", "background", "supervision", "asgi", "lifespan", "streaming", "emulator", "cli"},
    "botocore": {"overflow"},
    "h11": {"emulator"},
    "httpx": {"httpx_connection", "overflow", "emulator", "cli"},
    "signal": {"interrupt", "extension", "children", "recycling", "emulator", "cli"},
    "snapshot_restore_py": {"entry"},
    "typing_extensions": {"tasks"},
    "socket": {"connection", "emulator"},
}


def modules() -> dict[str, list[Path]]:
    """Return the modules of the package with their files; a package inside it counts as one module."""
    found = {path.stem: [path] for path in PACKAGE.glob("*.py")}
    for directory in PACKAGE.glob("*/__init__.py"):
        found[directory.parent.name] = sorted(directory.parent.rglob("*.py"))
    return found


MODULES = modules()


def imports_of(name: str) -> set[str]:
    """Return the full names that the module *name* imports, whether at its top, in a function or for type checkers."""
    imported = set()
    for path in MODULES[name]:
        inside = ("lambda_ric", *path.relative_to(PACKAGE).parts[:-1])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = [*inside[: len(inside) - node.level + 1]] if node.level else []
                base += [node.module] if node.module else []
                # `from . import protocol` imports a module, `from .protocol import API` a name of one.
                imported |= {".".join([*base, alias.name]) for alias in node.names}
    return imported


def siblings_of(name: str) -> set[str]:
    """Return the modules of the package that the module *name* imports."""
    return {
        part if part in MODULES else "__init__"
        for full_name in imports_of(name)
        if full_name.split(".")[0] == "lambda_ric"
        for part in [[*full_name.split("."), "__init__"][1]]
    } - {name}


def test_every_module_has_a_row() -> None:
    """A new one is put into the picture first."""
    assert sorted(MODULES) == sorted(LEVEL)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_downwards(name: str) -> None:
    """A module imports from rows below its own only, so there is no circle and no neighbour."""
    assert {sibling for sibling in siblings_of(name) if LEVEL[sibling] >= LEVEL[name]} == set()


def test_runtime_never_imports_a_tool() -> None:
    """What runs in Lambda is loaded without what runs on a developer's machine."""
    runtime = set(MODULES) - TOOLS

    assert {name for name in runtime if siblings_of(name) & TOOLS} == set()


def test_emulator_shares_the_words_of_the_runtime_only() -> None:
    """It is the second opinion: what it shares with the client, it cannot find fault with."""
    assert siblings_of("emulator") <= {"errors", "protocol", "settings", "version"}


@pytest.mark.parametrize("library", sorted(KNOWN_TO))
def test_library_is_known_to_few(library: str) -> None:
    """So that it can be replaced where it is used."""
    assert {name for name in MODULES if library in libraries_of(name)} <= KNOWN_TO[library]


def test_every_library_from_outside_is_accounted_for() -> None:
    """A new one is decided upon, not slipped in."""
    used = {library for name in MODULES for library in libraries_of(name)}

    assert used - sys.stdlib_module_names - {"lambda_ric"} <= set(KNOWN_TO)


def libraries_of(name: str) -> set[str]:
    """Return the first parts of the names that the module *name* imports."""
    return {full_name.split(".")[0] for full_name in imports_of(name)}
