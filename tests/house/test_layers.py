"""
Who may import whom: the rows of every folder, and the few who may know a library.
"""

from __future__ import annotations

import ast
import sys

import pytest

from tests.house.layers import (
    PAGE,
    ROWS,
    arrows_of,
    folders,
    imports_of,
    levels_of,
    modules,
    page_with_pictures,
    rooms_of,
)

TOOLS = {"cli/", "debugging", "emulator/", "packaging/", "testing"}

# Libraries, and who may know them: all from outside, and those of the standard library that have an owner.
KNOWN_TO = {
    "anyio": {"emulator", "cli"},
    "asyncio": {
        "asgi", "background", "cli", "emulator", "event_loop", "handover", "managed", "streaming",
        "tasks", "web.exchange", "web.lifespan", "web.websocket",
    },
    "boto3": {"packaging.deployment"},
    "botocore": {"overflow.credentials", "packaging.deployment"},
    "cyclonedx": {"packaging"},
    "debugpy": {"debugging"},
    "detect_secrets": {"packaging"},
    "elftools": {"packaging"},
    "django": {"django_tasks"},
    "h11": {"emulator"},
    "httpx": {"httpx_connection", "emulator", "cli"},
    "packageurl": {"packaging"},
    "packaging": {"packaging"},
    "pathspec": {"packaging"},
    "signal": {"interrupt", "managed.supervisor", "process", "emulator", "cli"},
    "snapshot_restore_py": {"process.snapshot"},
    "typing_extensions": {"background.task", "tasks.policy"},
    "socket": {"connection", "managed", "overflow.http_client", "emulator"},
    "uv": {"packaging"},
}  # fmt: skip


def test_every_folder_has_rows() -> None:
    """A new one is put into the picture first."""
    assert sorted(ROWS) == folders()


@pytest.mark.parametrize("folder", sorted(ROWS))
def test_every_room_has_one_row(folder: str) -> None:
    """So that the picture is whole."""
    assert sorted(room for _, rooms in ROWS[folder] for room in rooms.split()) == sorted(rooms_of(folder))


@pytest.mark.parametrize("folder", sorted(ROWS))
def test_imports_point_downwards(folder: str) -> None:
    """Inside every folder, so there is no circle in the whole house."""
    level = levels_of(folder)
    upwards = {arrow: example for arrow, example in arrows_of(folder).items() if level[arrow[1]] >= level[arrow[0]]}

    assert upwards == {}


def test_pictures_of_the_page_are_these_rows() -> None:
    """``python -m tests.house.layers`` draws them anew."""
    assert PAGE.read_text(encoding="utf-8") == page_with_pictures()


def test_runtime_never_imports_a_tool() -> None:
    """What runs in Lambda is loaded without what runs on a developer's machine."""
    arrows = arrows_of("lambda_ric")

    assert {arrow: example for arrow, example in arrows.items() if arrow[1] in TOOLS and arrow[0] not in TOOLS} == {}


def test_emulator_shares_the_words_of_the_runtime_only() -> None:
    """It is the second opinion: what it shares with the client, it cannot find fault with."""
    shared = {to for by, to in arrows_of("lambda_ric") if by == "emulator/"}

    assert shared <= {"errors", "limits", "protocol", "settings", "version"}


@pytest.mark.parametrize("library", sorted(KNOWN_TO))
def test_library_is_known_to_few(library: str) -> None:
    """So that it can be replaced where it is used."""
    knowing = {module for module in modules() if library in libraries_of(module)}
    allowed = tuple(f"lambda_ric.{name}." for name in KNOWN_TO[library])

    assert {module for module in knowing if not f"{module}.".startswith(allowed)} == set()


def test_every_library_from_outside_is_accounted_for() -> None:
    """A new one is decided upon, not slipped in."""
    used = {library for module in modules() for library in libraries_of(module)}

    assert used - sys.stdlib_module_names - {"lambda_ric"} <= set(KNOWN_TO)


def test_nobody_assigns_private_names_of_another_object() -> None:
    """Every state has one owner, and it is its only writer."""
    foreign = {
        f"{module}:{target.lineno} {ast.unparse(target)}"
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for target in targets_of(node)
        if isinstance(target, ast.Attribute) and is_private(target.attr) and not is_own(target.value)
    }

    assert foreign == set()


def targets_of(node: ast.AST) -> list[ast.expr]:
    """Return what *node* assigns to or deletes."""
    found: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        found = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        found = [node.target]
    return [part for target in found for part in (target.elts if isinstance(target, ast.Tuple) else [target])]


def is_private(name: str) -> bool:
    """Say whether *name* is nobody's but its object's."""
    return name.startswith("_") and not name.startswith("__")


def is_own(owner: ast.expr) -> bool:
    """Say whether *owner* is the object whose method is written there."""
    return isinstance(owner, ast.Name) and owner.id in ("self", "cls")


def libraries_of(module: str) -> set[str]:
    """Return the first parts of the names that *module* imports."""
    return {name.split(".")[0] for name in imports_of(module)}
