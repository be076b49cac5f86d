"""
What is told of a function before the first event: whether there is such a file, and such a name in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Function, problem_of

APP = """
import json
from functools import partial
first, (second, *rest) = 1, (2, 3)
if first:
    def handler(event, context): inner = 1
else:
    class Other: pass
try:
    fallback = None
except ImportError:
    pass
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "package" / "__init__.py").write_text("from app import *")
    (tmp_path / "package" / "module.py").write_text("def __getattr__(name): return print")
    (tmp_path / "broken.py").write_text("def handler(:")
    (tmp_path / "bootstrap").write_text("#!/bin/sh")
    (tmp_path / "run").write_text("#!/bin/sh")
    (tmp_path / "run").chmod(0o755)
    return tmp_path


def problem(root: Path, handler: str = "", **options: Any) -> str | None:
    return problem_of(Function(handler=handler, task_root=root, caller={"PATH": "/usr/bin:/bin"}, **options))


@pytest.mark.parametrize(
    "handler",
    [
        *("app.handler", "app.Other", "app.json", "app.partial", "app.second", "app.rest", "app.fallback"),
        *("package.anything", "package.module.anything", "package/module.anything", "json.dumps", "os.path.join"),
    ],
)
def test_handler_that_may_be_there_is_no_problem(handler: str, root: Path) -> None:
    """
    Bound in whatever way at the top of its module, or in a module of which only the run tells.
    """
    assert problem(root, handler) is None


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("app.handlr", "app.py has no 'handlr' (did you mean 'handler'?)"),
        ("app.inner", "app.py has no 'inner'"),
        ("nope.handler", "there is no module 'nope' in "),
        ("handler", "the handler 'handler' has not the form module.function"),
        ("broken.handler", "broken.py cannot be read as Python: invalid syntax"),
    ],
)
def test_handler_that_is_not_there_is_told(handler: str, text: str, root: Path) -> None:
    """
    With the file, and what may have been meant.
    """
    assert text in (problem(root, handler) or "")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["./run"], None),
        ([sys.executable, "-m", "anything"], None),
        (["sh", "-c", "exit"], None),
        (["./nothing"], "there is no program './nothing' in "),
        (["./bootstrap"], "'./bootstrap' cannot be executed: chmod +x ./bootstrap"),
        (["no-such-program"], "there is no program 'no-such-program' on the PATH"),
    ],
)
def test_program_of_another_runtime_is_looked_up(command: list[str], text: str | None, root: Path) -> None:
    """
    In the task root, or on the PATH that it will have.
    """
    found = problem(root, command=command)

    assert found is None if text is None else text in (found or "")


def test_runtime_that_is_attached_by_hand_is_not_looked_up(root: Path) -> None:
    """
    There is nothing to start.
    """
    assert problem(root, only_api=True) is None
