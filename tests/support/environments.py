"""
Virtual environments of their own, for packages that the tests do not want among theirs.

Each is made once in .cache, by uv in a few seconds, for each list of packages and each version of Python:
`python -m tests.support.environments` makes them all.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^\| (\w+) \| ([0-9.]+) \|$", re.MULTILINE)
# The server of reference, and what the applications of the tests import besides. Litestar imports sniffio, which came
# with anyio then.
BESIDE_FIRST_VERSIONS = ["uvicorn==0.34.0", "python-multipart==0.0.18", "itsdangerous", "sniffio"]
APPLICATIONS = [
    "aiosqlite",
    "datasette>=0.65,<1",
    "django>=5.2,<6",
    "django-ninja>=1.4,<2",
    "fastapi>=0.115",
    "python-multipart",
    "sqladmin>=0.20,<1",
    "sqlalchemy[asyncio]>=2",
    "strawberry-graphql>=0.260,<1",
    "titiler.core>=1,<3",
    "uvicorn>=0.34",
]


def first_versions() -> dict[str, str]:
    """Return the versions that docs/frameworks.md names first, by the names of the frameworks in lower case."""
    return {name.lower(): version for name, version in TABLE.findall((ROOT / "docs/frameworks.md").read_text())}


def python_with_first_versions() -> str:
    """Return the path of an interpreter with these; raises what *python_with* raises."""
    wanted = [f"{name}=={version}" for name, version in first_versions().items()]
    return python_with([*wanted, *BESIDE_FIRST_VERSIONS])


def python_with_applications() -> str:
    """Return the path of an interpreter with whole applications; raises what *python_with* raises."""
    return python_with(APPLICATIONS)


def python_with(packages: list[str]) -> str:
    """
    Return the path of an interpreter with these *packages*, after making its environment if it is not there yet.

    Raises:
        subprocess.CalledProcessError: It cannot be made.
    """
    key = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    environment = ROOT / ".cache" / f"environment-{key}"
    if not environment.exists():
        environment.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=environment.parent) as directory:
            made = Path(directory) / "environment"
            _uv("venv", "--python", sys.executable, str(made))
            _uv("pip", "install", "--python", str(made / "bin/python"), *packages)
            os.replace(made, environment)
    return str(environment / "bin/python")


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments, "--quiet"], check=True, timeout=300)


if __name__ == "__main__":
    print(python_with_first_versions(), python_with_applications(), sep="\n")
