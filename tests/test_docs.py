"""Every example in the README and the docs runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.hooks import Hooks
from lambda_ric.settings import Settings
from lambda_ric.testing import invoke
from tests.conftest import CLEAN_ENVIRONMENT, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVENT = {"id": "o-17", "body": json.dumps({"id": "o-17"})}


def blocks(language: str) -> list[Any]:
    """Return the code blocks of all pages, each named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("source", blocks("python"))
def test_python_example_runs(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A handler is invoked with its background work, a test is called, and nothing fails."""
    monkeypatch.chdir(tmp_path)
    hooks = Hooks()
    monkeypatch.setattr("lambda_ric.hooks.PROCESS_HOOKS", hooks)
    names: dict[str, Any] = {"__name__": "example"}

    exec(compile(source, "example", "exec"), names)
    for hook in hooks.startup:
        hook()
    for name, test in list(names.items()):
        if name.startswith("test_"):
            test()
    if "handler" in names:
        invoked = invoke(names["handler"], EVENT | {"order_id": "o-17"}, hooks=hooks)

        assert invoked.outcome.error is None
        assert {task.state for task in invoked.tasks} <= {"succeeded"}


@pytest.mark.parametrize("source", blocks("json"))
def test_json_example_is_json(source: str) -> None:
    """Readers copy them."""
    assert json.loads(source)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, id=block.id)
        for block in blocks("sh")
        for line in str(block.values[0]).splitlines()
        if line.startswith("lambda-ric ")
    ],
)
def test_command_of_an_example_succeeds(command: str, tmp_path: Path) -> None:
    """It is run as it stands, beside the README's handler; the commands that build a zip run in test_packaging."""
    (tmp_path / "app.py").write_text(str(blocks("python")[0].values[0]), encoding="utf-8")
    _, *arguments = shlex.split(command)

    done = subprocess.run(
        [sys.executable, "-m", "lambda_ric.cli", *arguments],
        cwd=tmp_path,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()


def test_demo_shows_the_answer_before_the_receipt_is_accepted() -> None:
    """`make demo`, the README's first screen: its output is the page's, but for times and ids."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/examples/demo.py")],
        env={**CLEAN_ENVIRONMENT, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    shown = re.search(r"```text\n(\$ lambda-ric invoke.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert sorted(_without_figures(done.stdout)) == sorted(_without_figures(shown[1]))


def _without_figures(output: str) -> list[str]:
    """Return the lines without numbers, ids and bars, which differ from run to run."""
    ids = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", output)
    words = [re.sub(r"[█▏▎▍▌▋▊▉▐◆]+", " ", re.sub(r"[\d.:]+", "N", line)) for line in ids.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in words]


def test_every_setting_is_documented() -> None:
    """docs/settings.md is the one table of them."""
    documented = set(re.findall(r"^\| `(LAMBDA_RIC_\w+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    read = set(re.findall(r'"(LAMBDA_RIC_\w+)"', (ROOT / "lambda_ric/settings.py").read_text()))

    assert documented == read


def test_every_named_setting_is_one_that_is_read() -> None:
    """A page that names a variable with a typing error helps nobody."""
    settings = Settings(dict.fromkeys(re.findall(r"LAMBDA_RIC_\w+", "".join(p.read_text() for p in PAGES)), ""))

    assert settings.unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A reader follows them."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []
