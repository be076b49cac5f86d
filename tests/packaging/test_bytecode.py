"""
Bytecode under a limit: which goes first, when not all of it has room.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lambda_ric.packaging.bytecode import add_bytecode, find_compiler, fit
from lambda_ric.packaging.platforms import platform
from lambda_ric.packaging.tree import CODE, PYTHON, RUNTIME, Tree
from tests.support.projects import PYTHON as VERSION


def package(sizes: dict[str, int]) -> Tree:
    """Return a package of modules without content, whose bytecode has the *sizes* by owner."""
    tree = Tree()
    for number, (owner, size) in enumerate(sizes.items()):
        tree.add(f"m{number}.py", b"", owner)
        tree.add(f"__pycache__/m{number}.pyc", bytes(size), owner)
    return tree


def test_all_of_it_stays_where_there_is_room() -> None:
    """The limit itself is allowed."""
    tree = package({"a": 10, CODE: 5})

    assert fit(tree, 15) == []
    assert tree.size == 15


def test_largest_of_other_peoples_goes_first() -> None:
    """So most packages keep theirs; the runtime's, the interpreter's and your own serve every start."""
    tree = package({"small": 10, "large": 40, "middle": 20, CODE: 50, PYTHON: 60, RUNTIME: 70})

    assert fit(tree, 195) == ["large", "middle"]
    kept = {file.owner for path, file in tree.files.items() if path.endswith(".pyc")}
    assert kept == {"small", CODE, PYTHON, RUNTIME}
    assert len([path for path in tree.files if path.endswith(".py")]) == 6  # the modules themselves stay


def test_what_cannot_be_compiled_is_passed_over(tmp_path: Path) -> None:
    """A template that ends in .py is no mistake of the package."""
    (tmp_path / "template.py").write_text("class {{ name }}: ...")
    (tmp_path / "good.py").write_text("x = {1, 2, 3}")
    tree = Tree()
    for name in ("template.py", "good.py"):
        tree.add(name, tmp_path / name, CODE)
    where = platform("x86_64", VERSION)
    compiler = find_compiler(where)

    assert compiler is not None
    add_bytecode(tree, compiler, where, "/var/task", tmp_path / "work")

    tag = sys.implementation.cache_tag
    assert sorted(tree.files) == [f"__pycache__/good.{tag}.pyc", "good.py", "template.py"]


def test_version_that_is_not_here_has_no_compiler() -> None:
    """The build says so, and goes on without bytecode."""
    assert find_compiler(platform("x86_64", "3.99")) is None
