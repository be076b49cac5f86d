"""What docstrings say: of a quantity, its unit; of a long class, its subject."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lambda_ric

PACKAGE = Path(lambda_ric.__file__).parent

QUANTITIES = {
    "age", "deadline", "delay", "duration", "grace", "interval", "limit", "margin", "pause", "size", "timeout",
    "until", "when", "within",
}  # fmt: skip
UNITS = ("second", "byte", "MB", "MiB", "megabyte", "character", "events", "lines", "since 1970")


def test_every_quantity_says_its_unit() -> None:
    """A bare *until* or *limit* makes its reader look for who calls it."""
    silent = [
        f"{path.relative_to(PACKAGE)}:{function.lineno} {function.name}({name})"
        for path in sorted(PACKAGE.rglob("*.py"))
        for function, said in functions_of(ast.parse(path.read_text(encoding="utf-8")), "")
        for name in quantities_of(function)
        if not any(unit in said for unit in UNITS)
    ]

    assert silent == [], "\n".join(silent)


def test_class_of_more_than_250_lines_says_which_one_subject_it_has() -> None:
    """One that cannot say so is to be divided."""
    silent = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= 250
        if "Its one subject is" not in " ".join((ast.get_docstring(node) or "").split())
    ]

    assert silent == [], "\n".join(silent)


def functions_of(
    scope: ast.Module | ast.ClassDef, said: str
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield the public functions of *scope*, each with what its docstring and those around it say."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions_of(node, said + (ast.get_docstring(node) or ""))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.name.startswith("_") or node.name == "__init__":
                yield node, said + (ast.get_docstring(node) or "")


def quantities_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the names of the parameters of *function* that are a number of something."""
    for parameter in [*function.args.args, *function.args.kwonlyargs]:
        kind = ast.unparse(parameter.annotation) if parameter.annotation is not None else ""
        if parameter.arg in QUANTITIES and kind.split(" |")[0] in ("float", "int"):
            yield parameter.arg
