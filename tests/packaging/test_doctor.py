"""
`lambda-ric doctor`: what would go wrong in Lambda, before it does.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import Run
from tests.support.projects import PYTHON, for_arm64, make_library, write_project

GOOD = {"app.py": "def handler(event, context): ...\n"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A function in the current folder."""
    folder = write_project(tmp_path / "shop", GOOD)
    monkeypatch.chdir(folder)
    return folder


def repacked(archive: Path, **changes: tuple[bytes, int] | None) -> Path:
    """Write the zip anew with other contents and modes, or without a file; `__` is a slash, and `_` a point."""
    wanted = {name.replace("__", "/").replace("_", "."): change for name, change in changes.items()}
    other = archive.with_name("other.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            if info.filename not in wanted:
                new.writestr(info, old.read(info))
        for name, change in wanted.items():
            if change is not None:
                info = zipfile.ZipInfo(name)
                info.external_attr = change[1] << 16
                new.writestr(info, change[0])
    return other


def test_good_function_has_no_problem(run: Run, project: Path) -> None:
    """The interpreter, the handler and the libraries are said to be right."""
    ended = run("doctor", "app.handler")

    assert ended.exit_code == 0, ended
    assert f"Python {PYTHON}" in ended.stdout
    assert "app.handler can be loaded, and takes an event and a context" in ended.stdout


@pytest.mark.parametrize(
    ("source", "handler", "said"),
    [
        ("import no_such_module", "app.handler", "No module named 'no_such_module'"),
        ("", "app.handler", "missing on module 'app'"),
        ("def handler(event): ...", "app.handler", "too many positional arguments"),
        ("def handler(event, context): ...", "app.hander", "missing on module 'app'. Did you mean app.handler?"),
        ("def handler(", "app.handler", "Syntax error in module 'app'"),
    ],
)
def test_handler_that_cannot_be_loaded_is_a_problem(
    run: Run, project: Path, source: str, handler: str, said: str
) -> None:
    """In a process of its own, as at a cold start."""
    (project / "app.py").write_text(source)

    ended = run("doctor", handler)

    assert ended.exit_code == 1
    assert f"PROBLEM {handler} cannot be loaded" in ended.stdout
    assert said in ended.stdout


def test_secrets_and_foreign_libraries_of_the_project_are_problems(run: Run, project: Path, tmp_path: Path) -> None:
    """As `build` would refuse them."""
    write_project(project, {"prod.env": "A=1", "native.so": for_arm64(make_library(tmp_path / "c", "native.so"))})

    ended = run("doctor", "app.handler")

    assert ended.exit_code == 1
    assert "PROBLEM a secret is about to be packed: prod.env" in ended.stdout
    assert "PROBLEM native.so of your code is for arm64" in ended.stdout


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LAMBDA_RIC_MAX_THREADS", "many", "LAMBDA_RIC_MAX_THREADS='many' is not understood"),
        ("LAMBDA_RIC_MAX_TREADS", "1", "LAMBDA_RIC_MAX_TREADS in this environment means nothing"),
    ],
)
def test_settings_that_mean_nothing_are_problems(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """The variables of this environment are read as the function's would be."""
    monkeypatch.setenv(name, value)

    ended = run("doctor")

    assert ended.exit_code == 1
    assert f"PROBLEM {said}" in ended.stdout


def test_built_package_has_no_problem(run: Run, project: Path) -> None:
    """It says itself what it is for."""
    run("build", "--handler", "app.handler")

    ended = run("doctor", "dist/function.zip")

    assert ended.exit_code == 0, ended
    assert "AWS_LAMBDA_EXEC_WRAPPER=/var/task/bootstrap" in ended.stdout
    assert "modules have bytecode" in ended.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bootstrap": None}, "there is no bootstrap at its root"),
        ({"bootstrap": (b"#!/bin/sh\n", 0o644)}, "bootstrap is not executable"),
        ({"bootstrap": (b"#!/bin/sh\r\n", 0o755)}, "the line ends of Windows"),
        ({"extensions__agent": (b"#!/bin/sh\n", 0o644)}, "the extension extensions/agent is not executable"),
        ({"app_py": None}, "the handler app.handler is in no file of the package"),
        ({"prod_env": (b"A=1", 0o644)}, "a secret is about to be packed: prod.env"),
        ({"native_so": (b"\xcf\xfa\xed\xfe", 0o644)}, "native.so of your code is for macOS"),
    ],
)
def test_package_that_would_not_start_has_problems(
    run: Run, project: Path, changes: dict[str, tuple[bytes, int] | None], said: str
) -> None:
    """What other tools do to zips, and what a hand does."""
    run("build", "--handler", "app.handler")

    ended = run("doctor", repacked(project / "dist" / "function.zip", **changes))

    assert ended.exit_code == 1
    assert said in ended.stdout


def test_package_of_another_tool_is_looked_at_too(run: Run, tmp_path: Path) -> None:
    """For the platform that is named, since it says nothing itself."""
    folder = write_project(tmp_path / "package", {**GOOD, "lambda_ric-0.2.0.data/data/bootstrap": "#!/bin/sh"})

    ended = run("doctor", folder, "--arch", "arm64", "--python", "3.13")

    assert ended.exit_code == 1
    assert "looked at as one for arm64, Python 3.13" in ended.stdout
    assert "an installer has left it as lambda_ric-0.2.0.data/data/bootstrap" in ended.stdout
    assert "lambda_ric is not in it" in ended.stdout


def test_file_that_is_no_package_is_refused(run: Run, tmp_path: Path) -> None:
    """A zip is expected."""
    (tmp_path / "x.zip").write_text("no zip")

    ended = run("doctor", tmp_path / "x.zip")

    assert ended.exit_code == 1
    assert "x.zip is no package" in ended.stderr
