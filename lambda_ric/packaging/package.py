"""
The package, part by part: the code, the runtime, what is needed, an interpreter, bytecode; then what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import secret_files
from .archive import MANIFEST
from .binaries import problems
from .bytecode import Compiler, add_bytecode, find_compiler, fit
from .errors import PackagingError
from .images import Image
from .interpreter import Interpreter, add_interpreter, inspect, obtain
from .manifest import manifest
from .platforms import MAX_UNZIPPED_BYTES, MAX_UPLOAD_BYTES, Platform, platform
from .project import Project
from .pruning import prune
from .runtime_files import add_runtime, bootstrap
from .sources import add_code
from .tree import CODE, RUNTIME, Tree
from .wheels import Distribution, exact_requirements, install

ZIPS = ("managed", "provided", "layer")


@dataclass(frozen=True)
class Order:
    """What is asked for: the options of `lambda-ric build`, over those of `[tool.lambda-ric]`."""

    project: Project
    target: str
    platform: Platform
    handler: str
    interpreter: Path | None
    base: str
    output: Path

    @property
    def brings_interpreter(self) -> bool:
        """Whether an interpreter is part of the package."""
        return self.target == "provided" or self.interpreter is not None


@dataclass
class Package:
    """What was made of an order."""

    order: Order
    tree: Tree
    distributions: Sequence[Distribution]
    interpreter: Interpreter | None = None
    compiler: Compiler | None = None
    """What has made the bytecode."""
    without_bytecode: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user should know, one sentence each."""


def order(
    project: Project,
    output: Path | None = None,
    *,
    target: str | None = None,
    python: str | None = None,
    arch: str | None = None,
    handler: str | None = None,
    interpreter: Path | None = None,
    glibc: str | None = None,
    base: str | None = None,
    default_python: str,
) -> Order:
    """
    Return the order that these options and the project's settings make.

    Raises:
        PackagingError: They name something that there is not.
    """
    settings = project.settings
    kind = target or settings.get("target", "managed")
    if kind not in (*ZIPS, "image", "runtime"):
        raise PackagingError(f"there is no target {kind!r}: choose managed, provided, layer, image or runtime")
    if interpreter is not None and kind not in ("provided", "layer"):
        raise PackagingError(f"--interpreter is for the targets provided and layer; {kind} has one")
    if base is not None and kind in ZIPS:
        raise PackagingError(f"--base is for the targets image and runtime; {kind} is no image")
    version = python or settings.get("python")
    if version is None and interpreter is not None and interpreter.is_dir():
        version = inspect(interpreter).python
    version = version or default_python
    of_aws = kind == "managed" or base == "aws"
    where = platform(arch or settings.get("arch", "x86_64"), version, managed=of_aws, glibc=glibc)
    project.check_python(where.python)
    names = {"layer": "layer.zip", "image": "image", "runtime": "runtime"}
    if output is None:
        output = project.root / "dist" / names.get(kind, "function.zip")
    handler_name: str = handler or settings.get("handler", "")
    _check_handler(handler_name)
    return Order(project, kind, where, handler_name, interpreter, base or "slim", output.absolute())


def _check_handler(name: str) -> None:
    if ":" in name:
        raise PackagingError(f"a handler is written with a point: {name.replace(':', '.')}")
    if name and not all(name.rpartition(".")):
        raise PackagingError(f"the handler {name} names no function: write module.function, such as app.handler")


def assemble(order: Order, work: Path, say: Callable[[str], None]) -> Package:
    """
    Return the package for *order*, its files below *work* or where the project has them; *say* is told the steps.

    Raises:
        PackagingError: It would not run; the text says which part, for which platform, and what to do.
    """
    if order.target not in ZIPS:
        return _assemble_image(order, work, say)
    layer = order.target == "layer"
    folder, root = ("python/", "/opt") if layer else ("", "/var/task")
    tree = Tree()
    package = Package(order, tree, ())
    if not layer:
        add_code(tree, order.project, order.output)
        _check_code(order, tree)
    say(f"what {order.project.name} needs, for {order.platform}")
    wheels = install(order.project, order.platform, work / "wheels")
    package.distributions = wheels.distributions
    if wheels.distributions and not wheels.pinned:
        package.notes.append(
            f"{wheels.source} does not name exact versions: another day may bring others, and other bytes. "
            "`uv lock` in the project fixes them"
        )
    tree.add("bootstrap", bootstrap(), RUNTIME, executable=True)
    add_runtime(tree, folder)
    wheels.add_to(tree, folder)
    prune(tree, order.project.patterns("include"), folder)
    if order.brings_interpreter:
        say(f"an interpreter, Python {order.platform.python} for {order.platform.arch}")
        package.interpreter = obtain(order.interpreter, order.platform, work / "interpreter")
        add_interpreter(tree, package.interpreter, root, work / "stripped", say)
    _check_binaries(order, tree)
    _add_bytecode(package, root, work / "bytecode", say)
    tree.add(MANIFEST, _manifest(package), RUNTIME)
    _tell_of_shadows(package)
    _check_size(package)
    return package


def _assemble_image(order: Order, work: Path, say: Callable[[str], None]) -> Package:
    """Return the folder that `docker build` takes."""
    tree, code = Tree(), Tree()
    image = Image(order.base, order.platform, order.project.name, order.handler)
    add_runtime(tree, "runtime/")
    if order.target == "runtime":
        tree.add("Dockerfile", image.runtime_dockerfile().encode(), RUNTIME)
        tree.add("publish.py", image.publish_script().encode(), RUNTIME, executable=True)
    else:
        tree.add("Dockerfile", image.dockerfile().encode(), RUNTIME)
        add_code(code, order.project, order.output)
        _check_code(order, code)
        _check_binaries(order, code)
        for path, file in code.sorted():
            tree.add(f"code/{path}", file.source, CODE, file.executable)
        say(f"what {order.project.name} needs, for {order.platform}")
        tree.add("requirements.txt", exact_requirements(order.project, order.platform, work / "exact"), RUNTIME)
    package = Package(order, tree, ())
    tree.add(MANIFEST, _manifest(package), RUNTIME)
    return package


def _check_code(order: Order, tree: Tree) -> None:
    if not any(path.endswith(".py") for path in tree.files):
        raise PackagingError(
            f"there is no Python file in {order.project.source} but those that are left out: name the folder of your "
            "code in [tool.lambda-ric] source, or bring files back with include"
        )
    secrets = secret_files.find(tree, order.project.patterns("allow-secrets"))
    if secrets:
        raise PackagingError(
            "these files would carry secrets into the package:\n"
            + "".join(f"  {secret}\n" for secret in secrets)
            + "Give the function its secrets by variables or Secrets Manager, and name the files in "
            "[tool.lambda-ric] exclude; where one is no secret, in allow-secrets"
        )
    module = order.handler.rpartition(".")[0].replace(".", "/")
    if module and not {f"{module}.py", f"{module}/__init__.py"} & tree.files.keys():
        raise PackagingError(
            f"the handler {order.handler} means {module}.py, which is not among the packed files: correct the name, "
            "or the source in [tool.lambda-ric]"
        )


def _check_binaries(order: Order, tree: Tree) -> None:
    wrong = problems(tree, order.platform)
    if wrong:
        raise PackagingError(
            f"these files do not run on {order.platform}:\n"
            + "".join(f"  {line}\n" for line in wrong)
            + "Take wheels or an interpreter that were built for it: those of uv run on glibc 2.17 and later. Files "
            "of your own code belong into [tool.lambda-ric] exclude"
        )


def _add_bytecode(package: Package, root: str, work: Path, say: Callable[[str], None]) -> None:
    order, packed = package.order, package.interpreter
    compiler = find_compiler(order.platform, packed.program if packed else None)
    if compiler is None:
        package.notes.append(
            f"there is no Python {order.platform.python} on this machine, so the package has no bytecode: it runs, "
            f"and starts about half as fast. `uv python install {order.platform.python}` brings one"
        )
        return
    say(f"bytecode by Python {compiler.version}")
    add_bytecode(package.tree, compiler, order.platform, root, work)
    package.compiler = compiler
    package.without_bytecode = fit(package.tree, MAX_UNZIPPED_BYTES)
    if package.without_bytecode:
        package.notes.append(
            f"without bytecode, to stay below {_mb(MAX_UNZIPPED_BYTES)}: {', '.join(package.without_bytecode)}"
        )


def _manifest(package: Package) -> bytes:
    order = package.order
    return manifest(
        order.target,
        order.platform,
        order.handler,
        package.distributions,
        package.interpreter.version if package.interpreter else None,
        package.compiler.version if package.compiler else None,
        package.without_bytecode,
    )


def _tell_of_shadows(package: Package) -> None:
    for path, owner, other in package.tree.shadowed:
        if not path.endswith(".pyc"):
            package.notes.append(f"{path} of {other} is left out: {owner} has a file of that name")


def _check_size(package: Package) -> None:
    size = package.tree.size
    if size > MAX_UNZIPPED_BYTES:
        largest = ", ".join(f"{owner} {_mb(share)}" for owner, share in sizes(package.tree)[:3])
        raise PackagingError(
            f"the package has {_mb(size)} unzipped, and Lambda takes {_mb(MAX_UNZIPPED_BYTES)}, layers included. "
            f"The largest: {largest}. Leave some out, or use --target image, which may have 10 GB"
        )


def sizes(tree: Tree) -> list[tuple[str, int]]:
    """Return the owners and their bytes, the largest first."""
    shares: dict[str, int] = {}
    for file in tree.files.values():
        shares[file.owner] = shares.get(file.owner, 0) + file.size
    return sorted(shares.items(), key=lambda share: (-share[1], share[0]))


def note_on_upload(size: int) -> str | None:
    """Return what to know about a zip of *size* bytes, if anything."""
    if size <= MAX_UPLOAD_BYTES:
        return None
    return f"the zip has {_mb(size)}: above {_mb(MAX_UPLOAD_BYTES)} Lambda takes it from an S3 bucket only"


def _mb(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MB"


__all__ = ["CODE", "Order", "Package", "assemble", "note_on_upload", "order", "sizes"]
