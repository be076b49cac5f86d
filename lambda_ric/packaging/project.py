"""
The project: where it is, what `[tool.lambda-ric]` says of it, and which file names what it needs.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from lambda_ric.version import __version__

from .errors import PackagingError

_SETTINGS: dict[str, type] = {
    "allow-secrets": list,
    "arch": str,
    "build-from-source": list,
    "exclude": list,
    "handler": str,
    "include": list,
    "python": str,
    "source": str,
    "target": str,
}


class Project:
    """
    A folder with `pyproject.toml`, `requirements.txt`, or neither.

    Raises:
        PackagingError: A file cannot be understood; the text says which, and what is expected.
    """

    def __init__(self, root: Path) -> None:
        self.root: Path = root.resolve()
        if not self.root.is_dir():
            raise PackagingError(f"{root} is no folder: name the one with your pyproject.toml or requirements.txt")
        self.pyproject: dict[str, Any] = self._read_pyproject()
        self.settings: Mapping[str, Any] = self._settings()
        self.metadata: Mapping[str, Any] = self._metadata()
        self.name: str = str(self.metadata.get("name") or self.root.name)

    @property
    def lock(self) -> Path | None:
        """`uv.lock`, where there is one: that of the project, or of the workspace that it is a member of."""
        for folder in (self.root, *self.root.parents):
            if (folder / "uv.lock").is_file():
                return folder / "uv.lock" if "project" in self.pyproject else None
            if (folder / ".git").exists():
                break
        return None

    @property
    def requirements(self) -> Path | None:
        """The file that names what is needed when there is no lock: `requirements.txt`, else `pyproject.toml`."""
        if (self.root / "requirements.txt").is_file():
            return self.root / "requirements.txt"
        return self.root / "pyproject.toml" if "project" in self.pyproject else None

    @property
    def source(self) -> Path:
        """The folder that becomes the root of the package: `source`, else `src`, else the project itself."""
        named = self.settings.get("source")
        if named is not None:
            folder: Path = (self.root / named).resolve()
            if not folder.is_dir() or not folder.is_relative_to(self.root):
                raise PackagingError(f"[tool.lambda-ric] source = {named!r}: there is no such folder in {self.root}")
            return folder
        src = self.root / "src"
        packed = ("project" in self.pyproject and any(src.glob("*.py"))) or any(src.glob("*/__init__.py"))
        return src if packed else self.root

    def patterns(self, setting: str) -> list[str]:
        """Return the list that *setting* holds."""
        return list(self.settings.get(setting, []))

    def check_python(self, version: str) -> None:
        """
        Hold *version* against ``requires-python``.

        Raises:
            PackagingError: The project does not run on it.
        """
        wanted = self.metadata.get("requires-python")
        # The newest patch of the version is meant: ">=3.13.2" is no reason to refuse 3.13.
        if wanted and not any(f"{version}.{patch}" in SpecifierSet(wanted) for patch in range(100)):
            raise PackagingError(
                f"the package is for Python {version}, and pyproject.toml says requires-python = {wanted!r}: "
                "choose another version with --python"
            )

    def check_own_version(self) -> None:
        """
        Hold the version of lambda-ric that the project asks for against this one, which is packed.

        Raises:
            PackagingError: It asks for another.
        """
        specifier = SpecifierSet()
        for requirement in self._direct():
            if canonicalize_name(requirement.name) == "lambda-ric":
                specifier &= requirement.specifier
        if not specifier.contains(__version__, prereleases=True):
            raise PackagingError(
                f"the project asks for lambda-ric{specifier}, and this is lambda-ric {__version__}, whose runtime is "
                "packed: run the command of the project's own environment, such as `uv run lambda-ric build`"
            )

    def check_other_tools(self) -> None:
        """
        Look for needs in files that are not read, when there is none that is.

        Raises:
            PackagingError: There are some, and without them the function would fail at its first import.
        """
        for name, remedy in self._other_needs():
            raise PackagingError(
                f"{name} names what the project needs in a way that is not read here: {remedy}. An empty "
                "requirements.txt says that nothing is needed"
            )

    def _other_needs(self) -> Iterator[tuple[str, str]]:
        poetry = _table(_table(self.pyproject, "tool"), "poetry", "tool.")
        if _table(poetry, "dependencies", "tool.poetry.").keys() - {"python"}:
            yield (
                "pyproject.toml ([tool.poetry])",
                "`poetry export -o requirements.txt` writes a file that is, or write [project] dependencies",
            )
        for name, (mark, remedy) in _OTHER_FILES.items():
            path = self.root / name
            if path.is_file() and re.search(mark, path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
                yield name, remedy

    def _direct(self) -> list[Requirement]:
        """Return what the project names itself."""
        lines: Sequence[str] = self.metadata.get("dependencies", [])
        if self.lock is None and self.requirements is not None and self.requirements.suffix == ".txt":
            lines = requirement_lines(self.requirements)
        found = []
        for line in lines:
            try:
                found.append(Requirement(line))
            except InvalidRequirement:
                continue  # a path, an option: uv's business
        return found

    def _read_pyproject(self) -> dict[str, Any]:
        path = self.root / "pyproject.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PackagingError(f"{path} is not TOML: {error}") from error

    def _metadata(self) -> Mapping[str, Any]:
        metadata = _table(self.pyproject, "project")
        lines = metadata.get("dependencies", [])
        if not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
            raise PackagingError(f"dependencies = {lines!r} in pyproject.toml: a list of texts is expected")
        for line in lines:
            try:
                Requirement(line)
            except InvalidRequirement as error:
                raise PackagingError(f"{line!r} in the dependencies of pyproject.toml: {error}") from error
        python = metadata.get("requires-python", "")
        try:
            SpecifierSet(python)
        except (InvalidSpecifier, TypeError, ValueError, AttributeError) as error:
            raise PackagingError(
                f"requires-python = {python!r} in pyproject.toml: a text such as '>=3.12' is expected"
            ) from error
        return metadata

    def _settings(self) -> Mapping[str, Any]:
        settings = _table(_table(self.pyproject, "tool"), "lambda-ric", "tool.")
        for name, value in settings.items():
            if name not in _SETTINGS:
                near = difflib.get_close_matches(name, _SETTINGS, 1)
                known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_SETTINGS)}"
                raise PackagingError(f"[tool.lambda-ric] in pyproject.toml has no {name!r}: {known}")
            of_list = _SETTINGS[name] is list
            good = isinstance(value, list) and all(isinstance(item, str) for item in value) if of_list else None
            if not (good if of_list else isinstance(value, str)):
                kind = "a list of texts" if of_list else "a text"
                raise PackagingError(f"[tool.lambda-ric] {name} = {value!r} in pyproject.toml: {kind} is expected")
        return settings


# What shows that a file names needs, and how they become a file that is read.
_OTHER_FILES = {
    "Pipfile": (r"^\[packages\]\s+(?!\[)\S", "`pipenv requirements > requirements.txt` writes a file that is"),
    "requirements.in": (r"^\w", "`uv pip compile requirements.in -o requirements.txt` writes a file that is"),
    "setup.py": (r"\binstall_requires\b", "`uv pip compile setup.py -o requirements.txt` writes a file that is"),
    "setup.cfg": (r"^install_requires\b", "`uv pip compile setup.cfg -o requirements.txt` writes a file that is"),
    "environment.yml": (r"^dependencies:", "write requirements.txt, or [project] dependencies in pyproject.toml"),
}


def _table(document: Mapping[str, Any], name: str, prefix: str = "") -> dict[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise PackagingError(f"{prefix}{name} = {found!r} in pyproject.toml: a table is expected")
    return found


def requirement_lines(path: Path, seen: frozenset[Path] = frozenset()) -> list[str]:
    """
    Return the requirements of a file, and of those that it names with ``-r``, without hashes and comments.

    Raises:
        PackagingError: One of the files cannot be read.
    """
    found: list[str] = []
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PackagingError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PackagingError(f"{path} is not UTF-8: save it so") from error
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split(" #")[0].split(" --hash")[0].strip()
        option, _, other = words.replace("=", " ", 1).partition(" ")
        if option in ("-r", "--requirement"):
            nested = (path.parent / other.strip()).resolve()
            if nested not in seen:
                found += requirement_lines(nested, seen | {path.resolve(), nested})
        elif words and not words.startswith(("#", "-")):
            found.append(words)
    return found
