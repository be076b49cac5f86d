"""
What is published, and what installing it into a Lambda package gives.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from uv import find_uv_bin

from hatch_build import IndexPage, long_description
from lambda_ric.version import __version__
from tests.support.fakes import FakeRuntimeAPI

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

INSTALLERS = {
    "pip": [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check"],
    "uv": [find_uv_bin(), "pip", "install", "--no-index", "--no-deps", f"--python={sys.executable}"],
}


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"


def build(kind: str, source: Path, destination: Path) -> Path:
    """Build the wheel or the sdist of *source* with what is installed here, without a network."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", f"--outdir={destination}", source)
    (artefact,) = destination.iterdir()
    return artefact


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", REPOSITORY, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", REPOSITORY, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(params=INSTALLERS)
def package(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """The wheel, installed into a directory that is to become a zip, by each of the two tools."""
    package = tmp_path / "package"
    run(*INSTALLERS[request.param], f"--target={package}", wheel)
    return package


def read(wheel: Path, name: str) -> str:
    """Return the text of the one file of *wheel* whose path ends with *name*."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.endswith(name)]
        return archive.read(path).decode()


def metadata(wheel: Path) -> Message:
    return email.message_from_string(read(wheel, ".dist-info/METADATA"))


# The wheel...


def test_wheel_holds_the_package_its_start_script_and_nothing_else(wheel: Path) -> None:
    """
    Tests, documents and tools stay in the repository; the marker for type checkers is shipped.
    """
    with zipfile.ZipFile(wheel) as archive:
        paths = archive.namelist()
    tops = {path.split("/")[0] for path in paths}
    stem = f"lambda_ric-{__version__}"

    assert tops == {"lambda_ric", f"{stem}.data", f"{stem}.dist-info"}
    assert [path for path in paths if path.startswith(f"{stem}.data")] == [f"{stem}.data/data/bootstrap"]
    assert "lambda_ric/py.typed" in paths
    page = {path.rpartition("/")[2] for path in paths if "/callers/browser/" in path}
    assert page == {path.name for path in (REPOSITORY / "lambda_ric/emulator/callers/browser").iterdir()}
    assert f"{stem}.dist-info/licenses/LICENSE" in paths


def test_wheel_fits_every_machine_and_python_3(wheel: Path) -> None:
    """
    There is no compiled part, so one wheel serves x86_64 and arm64.
    """
    assert wheel.name == f"lambda_ric-{__version__}-py3-none-any.whl"


def test_metadata_says_what_the_package_needs(wheel: Path) -> None:
    """
    The name, the version, the Python versions and the dependencies are what installers act upon.
    """
    fields = metadata(wheel)
    needed = [field for field in fields.get_all("Requires-Dist", []) if "extra ==" not in field]

    assert (fields["Name"], fields["Version"]) == ("lambda-ric", __version__)
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "Apache-2.0"
    assert [field.split(">=")[0] for field in needed] == ["anyio", "h11", "httpx", "typing-extensions"]


def test_long_description_is_the_readme_without_a_link_that_leads_nowhere(wheel: Path) -> None:
    """
    An index shows the page, and has none of the repository's files.
    """
    shown = str(metadata(wheel).get_payload())

    assert words(shown) == words(re.sub(r"^!\[.*?\n\n", "", README, flags=re.MULTILINE))
    assert [target for target in targets(shown) if not target.startswith(("https://", "#"))] == []


def test_public_address_of_the_repository_is_named_in_one_place() -> None:
    """
    From it come the links of the page, its pictures, and those beside it.
    """
    fields: dict[str, Any] = {"version": "1.2.3"}
    IndexPage(str(REPOSITORY), {"repository": "https://example.org/a/b/"}).update(fields)

    shown = targets(fields["readme"]["text"])
    assert len(shown) == len(targets(README))
    assert "https://example.org/a/b/blob/v1.2.3/docs/deployment.md#with-the-tool-that-you-have" in shown
    assert "https://example.org/a/b/raw/v1.2.3/docs/pictures/page.png" in shown
    assert [target for target in shown if not target.startswith("https://example.org/a/b/")] == []
    assert fields["urls"] == {
        "Documentation": "https://example.org/a/b/tree/v1.2.3/docs",
        "Source": "https://example.org/a/b",
        "Issues": "https://example.org/a/b/issues",
        "Changelog": "https://example.org/a/b/blob/v1.2.3/CHANGELOG.md",
    }


def test_links_in_code_are_code() -> None:
    """
    `handlers[name](event)` is none.
    """
    code = "```python\nhandlers[name](event)\n```\n[a](b.md)\n"

    assert long_description(code, "", "1") == "```python\nhandlers[name](event)\n```\na\n"


class _Targets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def targets(markdown: str) -> list[str]:
    """
    Return where the links and pictures of a page lead, as an index renders it.
    """
    parser = _Targets()
    parser.feed(MarkdownIt("commonmark").enable("table").render(markdown))
    return parser.found


def words(markdown: str) -> str:
    """
    Return what is read of a page, without what its links lead to.
    """
    return re.sub(r"<[^>]*>", "", MarkdownIt("commonmark").enable("table").render(markdown))


def test_command_is_installed(wheel: Path) -> None:
    """
    `lambda-ric` is a command.
    """
    assert read(wheel, ".dist-info/entry_points.txt").splitlines()[:2] == [
        "[console_scripts]",
        "lambda-ric = lambda_ric.cli:main",
    ]


def test_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """
    The sdist is complete, and a build is reproducible.
    """
    (tmp_path / "source").mkdir()
    run("tar", "-xf", sdist, "-C", tmp_path / "source", "--strip-components=1")

    rebuilt = build("wheel", tmp_path / "source", tmp_path / "rebuilt")

    assert rebuilt.read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("name", ["Makefile", "CHANGELOG.md", ".ci/run", "tests/house/test_packaging.py", "docs"])
def test_sdist_holds_what_a_contributor_needs(sdist: Path, name: str) -> None:
    """
    Tests and documents can be had from the sdist, too.
    """
    with tarfile.open(sdist) as archive:
        paths = {path.partition("/")[2] for path in archive.getnames()}

    assert any(path == name or path.startswith(f"{name}/") for path in paths)


def test_sdist_holds_nothing_that_was_made_here(sdist: Path) -> None:
    """
    Virtual environments, caches and downloads stay on the machine.
    """
    with tarfile.open(sdist) as archive:
        tops = {path.split("/")[1] for path in archive.getnames()}

    assert not [top for top in tops if top.startswith((".venv", ".cache", ".mypy", ".pytest", "dist"))]


# Installed into a Lambda package...


def test_target_installation_has_an_executable_bootstrap_at_its_root(package: Path) -> None:
    """
    Lambda's OS-only runtimes execute `bootstrap` at the root of the zip.
    """
    bootstrap = package / "bootstrap"

    assert os.access(bootstrap, os.X_OK)
    assert bootstrap.read_bytes() == (REPOSITORY / "bootstrap").read_bytes()


def test_zipped_package_serves_events_without_any_dependency(package: Path, tmp_path: Path) -> None:
    """
    The loop needs the standard library only: `--no-deps` makes the smallest package.
    """
    (package / "app.py").write_text("def handler(event, context):\n    return {'hello': event['name']}\n")
    shutil.make_archive(str(tmp_path / "function"), "zip", package)
    task = tmp_path / "var" / "task"
    extract(tmp_path / "function.zip", task)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare")

    with FakeRuntimeAPI({"name": "Zoë"}) as api:
        function = subprocess.run(
            ["./bootstrap"],
            cwd=task,
            env={
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "LAMBDA_RIC_PYTHON": str(tmp_path / "bare" / "bin" / "python"),
                "LAMBDA_TASK_ROOT": str(task),
                "_HANDLER": "app.handler",
            },
            capture_output=True,
            text=True,
            timeout=30,
        )

    assert [(post.name, post.json()) for post in api.posts] == [("response", {"hello": "Zoë"})], function


def extract(archive: Path, directory: Path) -> None:
    """Extract *archive* with the file modes that it records, as Lambda does."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = opened.extract(member, directory)
            os.chmod(path, member.external_attr >> 16)
