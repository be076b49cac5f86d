"""
What the project needs, as wheels for the platform: uv resolves and unpacks them, from any machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

from .errors import PackagingError
from .platforms import Platform
from .project import Project, requirement_lines
from .tree import Tree, files_below


class Distribution(NamedTuple):
    """One installed package."""

    name: str
    version: str
    licence: str


class Wheels:
    """What was installed into *folder*, and from which file of the project."""

    def __init__(self, folder: Path, source: str, pinned: bool) -> None:
        self.folder = folder
        self.source = source
        self.pinned = pinned
        self._owners: dict[str, str] = {}
        self.distributions: list[Distribution] = []
        for metadata in sorted(folder.glob("*.dist-info/METADATA")):
            fields = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"))
            licence = fields.get("License-Expression") or (fields.get("License") or "").splitlines()[:1] or ""
            name = canonicalize_name(fields["Name"])
            self.distributions.append(
                Distribution(name, fields["Version"], licence if isinstance(licence, str) else licence[0])
            )
            record = metadata.with_name("RECORD")
            for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
                self._owners[line.rsplit(",", 2)[0].strip('"')] = name

    def add_to(self, tree: Tree, folder: str = "") -> None:
        """Add all files to *tree*, below *folder*, each as its package's."""
        for path, source in files_below(self.folder):
            if path != ".lock":
                tree.add(f"{folder}{path}", source, self._owners.get(path, path.split("/")[0]))


def install(project: Project, platform: Platform, folder: Path) -> Wheels:
    """
    Install what *project* needs into *folder*; lambda-ric itself, and what only its tools need, stay out.

    Raises:
        PackagingError: There is no wheel for the platform, or uv says no for another reason; uv's text is in it.
    """
    folder.mkdir(parents=True)
    needed = _needed(project, folder.with_name(f"{folder.name}-requirements"))
    if needed is None:
        return Wheels(folder, "nothing", True)
    options: list[str | Path] = ["--target", folder, "--link-mode", "copy", "--no-progress", "-r", needed.file]
    _uv(project, ["pip", "install", *options, *needed.options(project, platform)], platform)
    return Wheels(folder, needed.source, needed.pinned)


def exact_requirements(project: Project, platform: Platform, work: Path) -> bytes:
    """
    Return what *project* needs as a requirements file: exact versions for *platform*, with their hashes.

    Raises:
        PackagingError: As `install`; or something lies in a folder of this machine, which another does not have.
    """
    needed = _needed(project, work)
    if needed is None:
        return b""
    file = work / "exact.txt"
    options: list[str | Path] = ["--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--output-file", file]
    _uv(project, ["pip", "compile", needed.file, *options, *needed.options(project, platform)], platform)
    text = file.read_text(encoding="utf-8")
    local = _local_projects(text, project.root)
    if local:
        raise PackagingError(
            f"{', '.join(local)} comes from a folder of this machine, which an image cannot install: publish it, or "
            "choose --target provided, whose zip holds it"
        )
    return text.encode()


class _Needed(NamedTuple):
    """The file that names what is needed: which of the project's it is, and whether its versions are exact."""

    file: Path
    source: str
    pinned: bool
    excluded: Path

    def options(self, project: Project, platform: Platform) -> list[str | Path]:
        """Return the options for uv's resolver."""
        text = self.file.read_text(encoding="utf-8")
        built_here = [*project.patterns("build-from-source"), *_local_projects(text, project.root)]
        return [
            "--python", sys.executable, "--python-platform", platform.uv_name, "--python-version", platform.python,
            "--only-binary", ":all:", *(word for name in built_here for word in ("--no-binary", name)),
            "--excludes", self.excluded,
        ]  # fmt: skip


def _needed(project: Project, work: Path) -> _Needed | None:
    project.check_own_version()
    work.mkdir(parents=True)
    excluded = work / "excluded.txt"
    excluded.write_text("lambda-ric\n")
    if project.lock is not None:
        _export(project, work / "locked.txt")
        return _Needed(work / "locked.txt", "uv.lock", True, excluded)
    file = project.requirements
    if file is None:
        project.check_other_tools()
        return None
    if file.suffix == ".toml" and "dependencies" in project.metadata.get("dynamic", ()):
        raise PackagingError(
            "pyproject.toml leaves to its build backend what the project needs (dynamic): `uv lock` in the project "
            "writes that down"
        )
    pinned = file.suffix == ".txt" and all("==" in line or " @ " in line for line in requirement_lines(file))
    return _Needed(file, file.name, pinned, excluded)


def uv_program() -> str:
    """
    Return where uv is.

    Raises:
        PackagingError: It is not installed.
    """
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise PackagingError("uv is missing, which comes with the extra: pip install 'lambda-ric[build]'") from error


def _export(project: Project, file: Path) -> None:
    """Write what `uv.lock` holds for this project to *file*, but for lambda-ric and what only it needs."""
    _uv(
        project,
        [
            "export", "--locked", "--no-default-groups", "--no-emit-project", "--no-editable", "--no-annotate",
            "--no-header", "--python", sys.executable, "--output-file", file, "--quiet",
            "--prune", "lambda-ric",
        ],
    )  # fmt: skip


def _uv(project: Project, arguments: list[str | Path], platform: Platform | None = None) -> None:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    done = subprocess.run(
        [uv_program(), *arguments], cwd=project.root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PackagingError(_explained(done.stderr, platform))


def _explained(text: str, platform: Platform | None) -> str:
    """Return what uv's *text* means for the user, and the text."""
    detail = "\n".join(f"  {line}" for line in text.strip().splitlines() if line.strip())
    named = re.findall(r"Wheels are required for `([^`]+)`", text) or re.findall(
        r"(?:Because|and) (?:all versions of |only )?([\w.-]+)\S* (?:has|have|is|are) (?:no |available and )", text
    )
    unbuilt = re.findall(r"attempted to build `([^`=]+)", text)
    if "uv.lock" in text and "needs to be updated" in text:
        return f"uv.lock does not fit pyproject.toml any more: run `uv lock`. uv says:\n{detail}"
    if "invalid peer certificate" in text:
        return (
            "uv does not know who has signed the certificate of the index: set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE "
            f"to a file with their own. uv says:\n{detail}"
        )
    if "not found in the package registry" in text or "not found in the cache" in text:
        (name,) = re.findall(r"Because ([\w.-]+) was not found", text)[:1] or ["a package"]
        return f"{name} is on no index that uv knows: correct its name, or name the index. uv says:\n{detail}"
    if platform is not None and ("wheels" in text or unbuilt):
        name = ", ".join(dict.fromkeys(named or unbuilt)) or "a package"
        return (
            f"{name} has no wheel for {platform.arch} ({platform.uv_name}, Python {platform.python}). Choose a version "
            "that has one, or another --python or --arch; if it is pure Python, let it be built here: "
            f'[tool.lambda-ric] build-from-source = ["{name}"]. uv says:\n{detail}'
        )
    return f"uv could not install what the project needs. It says:\n{detail}"


def _local_projects(text: str, root: Path) -> list[str]:
    """Return the names of the projects on this disk that *text* asks for: the user's own code, built here."""
    names = []
    for line in text.splitlines():
        place = line.split(" ;")[0].split(" #")[0].removeprefix("-e ").removeprefix("--editable ").strip()
        place = place.rpartition(" @ ")[2].removeprefix("file://").partition("[")[0]
        if place.startswith((".", "/")):
            try:
                metadata = tomllib.loads((root / place / "pyproject.toml").read_text(encoding="utf-8"))
                names.append(str(metadata["project"]["name"]))
            except (OSError, KeyError, tomllib.TOMLDecodeError):
                continue
    return names
