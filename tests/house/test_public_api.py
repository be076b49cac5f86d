"""What users may rely on: the names, that they are described, and that the version is the changelog's."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import lambda_ric
from tests.conftest import ROOT

PACKAGE = Path(lambda_ric.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

PUBLIC = [
    "BackgroundTask", "Codec", "InvocationScope", "LambdaContext", "Outcome", "Payload", "StreamingResponse",
    "TaskReport", "__version__", "after_invoke", "after_response", "after_restore", "after_thaw", "before_freeze",
    "before_invoke", "before_snapshot", "blocking", "current_invocation", "on_shutdown", "on_startup",
    "on_task_failed", "run", "task", "wait_until",
]  # fmt: skip


def test_public_names_are_these() -> None:
    """One added or taken away is a decision, and a line of the changelog."""
    assert lambda_ric.__all__ == PUBLIC


def test_public_names_are_sorted_and_complete() -> None:
    """Nothing is public by accident: what is not named is a module or private."""
    modules = {path.stem for path in PACKAGE.iterdir()}
    found = {name for name in vars(lambda_ric) if not name.startswith("_")} - modules

    assert lambda_ric.__all__ == sorted(lambda_ric.__all__)
    assert found | {"__version__"} | set(lambda_ric._LATER) == set(lambda_ric.__all__)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_name_is_described_where_users_look(name: str) -> None:
    """By `help()`, and on a page."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]

    assert getattr(lambda_ric, name).__doc__
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in pages)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_has_a_docstring(path: Path) -> None:
    """Modules, classes, functions and methods; those of a private class, and overloads, may go without."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert ast.get_docstring(tree), path
    assert undescribed(tree) == []


def undescribed(scope: ast.Module | ast.ClassDef) -> list[str]:
    """Return the public names in *scope* without a docstring."""
    found = []
    for node in scope.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and "overload" not in map(ast.unparse, node.decorator_list):
            found.append(f"{node.name}:{node.lineno}")
        if isinstance(node, ast.ClassDef):
            found += undescribed(node)
    return found


def test_version_is_the_newest_of_the_changelog() -> None:
    """A release is described before it is made."""
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert newest[1] == lambda_ric.__version__


def test_types_are_shipped() -> None:
    """Type checkers read the annotations of packages with this file only."""
    assert (PACKAGE / "py.typed").is_file()


def test_package_can_be_imported_module_by_module() -> None:
    """No module needs another to have been imported first; one needs Django 6, which not every Python has."""
    for path in PACKAGE.glob("*.py"):
        if path.stem not in ("__init__", "__main__", "django_tasks"):
            importlib.import_module(f"lambda_ric.{path.stem}")
