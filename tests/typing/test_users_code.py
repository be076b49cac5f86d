"""
What type checkers say of users' code: nothing, but where a line is marked.

``# refused`` is a line that `mypy --strict` and pyright have to refuse, ``# refused by mypy`` one on which pyright has
an opinion in its strict mode only, and ``# is T`` one whose `reveal_type` is T.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = Path(__file__).parent / "code"
FILES = sorted(path.name for path in CODE.glob("*.py"))

Places = dict[str, dict[int, str]]
"""What was found, by file and line."""


@cache
def mypy() -> tuple[Places, Places]:
    """Return the errors of mypy and the types that it revealed."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty", str(CODE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    errors, types = _empty(), _empty()
    for path, line, kind, text in re.findall(r"^(.+?):(\d+): (error|note): (.*)$", done.stdout, re.MULTILINE):
        revealed = re.fullmatch(r'Revealed type is "(.*)"', text)
        if revealed is not None:
            types[Path(path).name][int(line)] = _short(revealed[1])
        elif kind == "error":
            errors[Path(path).name][int(line)] = text
    return errors, types


@cache
def pyright() -> tuple[Places, Places]:
    """Return the errors of pyright and the types that it revealed."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(CODE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors, types = _empty(), _empty()
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        name, line, text = Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["message"]
        revealed = re.fullmatch(r'Type of ".*" is "(.*)"', text)
        if revealed is not None:
            types[name][line] = _short(revealed[1])
        elif found["severity"] == "error":
            errors[name][line] = text
    return errors, types


def _empty() -> Places:
    return {name: {} for name in FILES}


def _short(text: str) -> str:
    """Return the name of a type without the modules that its parts are from."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def marked(name: str, mark: str) -> dict[int, str]:
    """Return what follows *mark* on the lines of the file *name* that have it."""
    lines = enumerate((CODE / name).read_text(encoding="utf-8").splitlines(), 1)
    return {number: found[1] for number, line in lines if (found := re.search(rf"  # {mark}\b ?(.*)$", line))}


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("name", FILES)
def test_marked_lines_are_refused_and_no_others(name: str, checker: Callable[[], tuple[Places, Places]]) -> None:
    """A mistake in the call of a public function is found before it is deployed; right code is let alone."""
    errors, _ = checker()
    refused = {line for line, by in marked(name, "refused").items() if by in ("", f"by {checker.__name__}")}

    assert set(errors[name]) == refused, errors[name]


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("name", FILES)
def test_types_are_known(name: str, checker: Callable[[], tuple[Places, Places]]) -> None:
    """What a handle will return, and what is left of a decorated function."""
    _, types = checker()

    assert types[name] == marked(name, "is")
