"""
What this machine, a function or a package is, and what would go wrong in Lambda.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform as machine
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lambda_ric.errors import ConfigurationError
from lambda_ric.settings import Settings
from lambda_ric.version import __version__

from . import secret_files
from .archive import MANIFEST
from .binaries import problems
from .errors import PackagingError
from .platforms import AMAZON_LINUX_2023, MANAGED_PYTHONS, MAX_UNZIPPED_BYTES, MAX_UPLOAD_BYTES, Platform, platform
from .project import Project
from .runtime_files import bootstrap
from .sources import add_code
from .tree import CODE, Tree, files_below

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"

# Loads the handler as the runtime would, in a process of its own, and says what it is.
_LOAD = """
import inspect, os, sys
from lambda_ric.handlers import extend_import_path, load_handler
extend_import_path(os.getcwd(), sys.path)
handler = load_handler(sys.argv[1])
try:
    inspect.signature(handler).bind(None, None)
except ValueError:
    pass
"""


class Finding(NamedTuple):
    """One thing that was looked at: its level, and what there is to say."""

    level: str
    text: str


def examine_machine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at the interpreter, the C library, the tools and the settings of this machine."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    where = f"Python {machine.python_version()} ({sys.executable}), {machine.system()} {machine.machine()}"
    if version in MANAGED_PYTHONS:
        yield Finding(OK, f"{where}; Lambda has the managed runtime python{version}")
    else:
        yield Finding(
            NOTE, f"{where}; Lambda has managed runtimes for {MANAGED_PYTHONS[0]} to {MANAGED_PYTHONS[-1]}: build with "
            "--python, or --target provided"
        )  # fmt: skip
    if machine.system() != "Linux":
        yield Finding(NOTE, "`build`, `new` and `deploy` work here; `dev` and `invoke` freeze processes as Linux does")
    library, libc = machine.libc_ver()
    if library == "glibc" and tuple(map(int, libc.split(".")[:2])) > AMAZON_LINUX_2023:
        yield Finding(
            NOTE, f"glibc {libc} is newer than Lambda's {AMAZON_LINUX_2023[0]}.{AMAZON_LINUX_2023[1]}: what is "
            "compiled here may not start there; wheels from an index do"
        )  # fmt: skip
    if importlib.util.find_spec("uv") is None:
        yield Finding(PROBLEM, "uv is missing, which `build` needs: pip install 'lambda-ric[build]'")
    yield from _settings(environ, "this environment")


def examine_function(project: Project, handler: str) -> Iterator[Finding]:
    """Look at the code that would be packed: its handler, its secrets, its libraries."""
    tree = Tree()
    add_code(tree, project, project.root / "dist" / "function.zip")
    yield Finding(OK, f"{len(tree.files)} files of {project.source} would be packed")
    if handler:
        yield _loaded(project.source, handler)
    else:
        yield Finding(NOTE, "no handler is named: `lambda-ric doctor app.handler`, or handler in [tool.lambda-ric]")
    version = str(project.settings.get("python", f"{sys.version_info.major}.{sys.version_info.minor}"))
    yield from _contents(tree, platform(str(project.settings.get("arch", "x86_64")), version), project)


def examine_package(path: Path, arch: str | None, python: str | None) -> Iterator[Finding]:
    """
    Look at a zip, or at a folder that is to become one: whether Lambda can start it.

    *arch* and *python* are for packages that do not say themselves what they are for.

    Raises:
        PackagingError: It is neither.
    """
    tree = _read(path)
    said = json.loads(tree.files[MANIFEST].read()) if MANIFEST in tree.files else {}
    where = platform(
        arch or said.get("arch", "x86_64"),
        python or said.get("python", f"{sys.version_info.major}.{sys.version_info.minor}"),
        managed=said.get("target") == "managed",
        glibc=said.get("glibc") if python is None else None,
    )
    if said:
        yield Finding(OK, f"made by lambda-ric {said['lambda-ric']} as {said['target']}, for {where}")
    else:
        yield Finding(NOTE, f"not made by `lambda-ric build`; looked at as one for {where}")
    yield from _size(path, tree)
    yield from _start(tree, said.get("target"))
    yield from _modes(tree)
    yield from _bytecode(tree, where)
    yield from _extensions(tree)
    handler = said.get("handler")
    if handler and not _has_module(tree, handler):
        yield Finding(PROBLEM, f"the handler {handler} is in no file of the package")
    yield from _contents(tree, where, None)


def _read(path: Path) -> Tree:
    tree = Tree()
    if path.is_dir():
        for name, source in files_below(path):
            tree.add(name, source, "")
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        tree.add(info.filename, archive.read(info), "", bool(info.external_attr >> 16 & 0o111))
        except (OSError, zipfile.BadZipFile) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PackagingError(f"{path} is no package: {reason}") from error
    known = {re.sub(r"[-_.]+", "_", name.split("-")[0]).lower() for name in tree.files if ".dist-info/" in name}
    for name, file in list(tree.files.items()):
        top = name.removeprefix("python/").split("/")[0].removesuffix(".py")
        dependency = top.lower() in known or ".dist-info" in top or top == "lambda_ric"
        tree.files[name] = file._replace(owner=top if dependency else CODE)
    return tree


def _size(path: Path, tree: Tree) -> Iterator[Finding]:
    unzipped, zipped = tree.size, path.stat().st_size if path.is_file() else 0
    text = f"{zipped / 1e6:.1f} MB, {unzipped / 1e6:.1f} MB unzipped" if zipped else f"{unzipped / 1e6:.1f} MB"
    if unzipped > MAX_UNZIPPED_BYTES:
        yield Finding(PROBLEM, f"{text}: Lambda takes 250 MB unzipped, layers included")
    elif zipped > MAX_UPLOAD_BYTES:
        yield Finding(NOTE, f"{text}: above 50 MB Lambda takes a zip from an S3 bucket only")
    else:
        yield Finding(OK, text)


def _start(tree: Tree, target: str | None) -> Iterator[Finding]:
    """Look at what Lambda starts, and at what that needs."""
    script = tree.files.get("bootstrap")
    inside = [name for name in ("lambda_ric/__init__.py", "python/lambda_ric/__init__.py") if name in tree.files]
    wrapper = "/opt/bootstrap" if target == "layer" else "/var/task/bootstrap"
    if script is None:
        lost = next((name for name in tree.files if name.endswith(".data/data/bootstrap")), None)
        reason = f"; an installer has left it as {lost}" if lost else ""
        yield Finding(
            PROBLEM, f"there is no bootstrap at its root{reason}: `lambda-ric bootstrap > bootstrap`, then "
            "`chmod +x bootstrap`, beside your code; or take it from a layer"
        )  # fmt: skip
    elif b"\r\n" in script.read():
        yield Finding(PROBLEM, "bootstrap has the line ends of Windows, and does not start: write it anew")
    elif not script.executable:
        yield Finding(PROBLEM, "bootstrap is not executable, and does not start: `chmod +x bootstrap` before zipping")
    elif script.read() != bootstrap():
        yield Finding(NOTE, f"bootstrap is not the one of lambda-ric {__version__}")
    else:
        yield Finding(OK, f"bootstrap starts the runtime; on a managed runtime with AWS_LAMBDA_EXEC_WRAPPER={wrapper}")
    if not inside:
        yield Finding(PROBLEM, "lambda_ric is not in it: build it with `lambda-ric build`, or add the layer")
    if target == "provided" and "bin/python3" not in tree.files:
        yield Finding(PROBLEM, "it is for provided.al2023, and has no interpreter: bin/python3 is missing")


def _modes(tree: Tree) -> Iterator[Finding]:
    """Lambda runs as a user of its own: what only the owner may read is not there for it."""
    hidden = [
        name
        for name, file in tree.sorted()
        if isinstance(file.source, Path) and not file.source.stat().st_mode & 0o004
    ]
    if hidden:
        yield Finding(PROBLEM, f"others may not read {', '.join(hidden[:3])}, so Lambda cannot: chmod -R a+rX")


def _bytecode(tree: Tree, where: Platform) -> Iterator[Finding]:
    modules = [name for name in tree.files if name.endswith(".py")]
    without = []
    for name in modules:
        path = PurePosixPath(name)
        cached = (path.parent / "__pycache__" / f"{path.stem}.{where.cache_tag}.pyc").as_posix()
        if cached not in tree.files:
            without.append(name)
    if len(without) * 10 > len(modules):
        yield Finding(
            NOTE, f"{len(without)} of {len(modules)} modules have no bytecode for Python {where.python}: every cold "
            "start compiles them, since nothing can be written there"
        )  # fmt: skip
    else:
        yield Finding(OK, f"{len(modules) - len(without)} of {len(modules)} modules have bytecode")


def _extensions(tree: Tree) -> Iterator[Finding]:
    for name, file in tree.sorted():
        if re.fullmatch(r"extensions/[^/]+", name):
            level, how = (OK, "is started") if file.executable else (PROBLEM, "is not executable, so Lambda fails")
            yield Finding(level, f"the extension {name} {how} before the runtime, when this is a layer")


def _contents(tree: Tree, where: Platform, project: Project | None) -> Iterator[Finding]:
    libraries = problems(tree, where)
    yield from (Finding(PROBLEM, line) for line in libraries)
    if not libraries:
        yield Finding(OK, f"all libraries fit {where}")
    secrets = secret_files.find(tree, project.patterns("allow-secrets") if project else [])
    yield from (Finding(PROBLEM, f"a secret is about to be packed: {secret}") for secret in secrets)


def _loaded(folder: Path, handler: str) -> Finding:
    """Import the handler in a process of its own."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, handler],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(PROBLEM, f"{handler} is not loaded after 60 s; Lambda gives it 10")
    if done.returncode == 0:
        return Finding(OK, f"{handler} can be loaded, and takes an event and a context")
    lines = done.stderr.strip().splitlines() or ["no word"]
    # Behind an error of ours may stand what was meant.
    first = max((number for number, line in enumerate(lines) if line.startswith(_OF_OURS)), default=len(lines) - 1)
    return Finding(PROBLEM, f"{handler} cannot be loaded: {'. '.join(lines[first:]).removeprefix(_OF_OURS)}")


_OF_OURS = "lambda_ric.errors."


def _settings(environ: Mapping[str, str], whose: str) -> Iterator[Finding]:
    try:
        unknown = Settings(environ).unknown
    except ConfigurationError as error:
        yield Finding(PROBLEM, f"{error} (in {whose})")
        return
    for name, remedy in unknown.items():
        yield Finding(PROBLEM, f"{name} in {whose} means nothing to this version: {remedy}")
    wrapper = environ.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if wrapper and not os.access(wrapper, os.X_OK):
        yield Finding(NOTE, f"AWS_LAMBDA_EXEC_WRAPPER={wrapper} in {whose} is no program of this machine")


def _has_module(tree: Tree, handler: str) -> bool:
    module = handler.rpartition(".")[0].replace(".", "/")
    return bool({f"{module}.py", f"{module}/__init__.py", f"{module}.pyc"} & tree.files.keys())
