"""
`lambda-ric build`: a package that starts fast, from any machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from lambda_ric.errors import ConfigurationError
from lambda_ric.packaging.errors import PackagingError

from .output import write
from .signals import stopped_in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambda_ric.packaging.package import Order, Package


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "build",
        usage="lambda-ric build [PROJECT] [options]",
        help="make a deployment package",
        description="Makes what Lambda takes of a project with pyproject.toml (and uv.lock) or requirements.txt: "
        "its code, the runtime, what it needs as wheels for the platform, bytecode, and an interpreter where there is "
        "none. The same inputs make the same bytes. [tool.lambda-ric] in pyproject.toml holds the options, and "
        "source, include, exclude, allow-secrets and build-from-source.",
        epilog="Exit code: 0 made, or --check found the same; 1 it cannot be made, or --check found another; "
        "2 the command line cannot be understood.",
    )
    add = parser.add_argument
    add("project", metavar="PROJECT", nargs="?", default=".", type=Path, help="the project's folder (default: .)")
    add_build_options(parser)
    add("--output", metavar="F", type=Path, help="a file that ends in .zip, or a folder (default: dist/function.zip)")
    add("--report", action="store_true", help="show the size and the time at the start of every package")
    add("--sbom", metavar="F", type=Path, help="write what is in it, as CycloneDX")
    add("--check", action="store_true", help="write nothing: say whether what lies at --output is this build")
    parser.set_defaults(run=run)


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add what says for which place the package is."""
    add = parser.add_argument
    add(
        "--target",
        choices=["managed", "provided", "layer", "image", "runtime"],
        help="managed: a zip for python3.12 and later; provided: one with an interpreter, for provided.al2023; layer; "
        "image: a Dockerfile and what it takes; runtime: an organisation's own runtime (default: managed)",
    )
    add("--handler", metavar="HANDLER", help="the function as module.function, such as app.handler")
    add("--python", metavar="VERSION", help="the version of Python, such as 3.13 (default: the one that runs this)")
    add("--arch", choices=["x86_64", "arm64"], help="the architecture (default: x86_64)")
    add("--interpreter", metavar="F", type=Path, help="an archive or a folder to take the interpreter from")
    add("--base", choices=["slim", "aws"], help="the image to start from: Debian's, or AWS's (default: slim)")
    add("--glibc", metavar="VERSION", help="of the system that it is for (default: 2.34, Amazon Linux 2023)")


def run(options: argparse.Namespace) -> int:
    """Make it, or check it; return the exit code."""
    return packing("build", _run, options)


def packing(command: str, body: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """
    Return what *body* does, or say why there is no package, and return 1.

    Raises:
        ConfigurationError: The libraries of the extra are not installed.
    """
    try:
        with stopped_in_order():
            return body(options)
    except PackagingError as error:
        write(sys.stderr, f"lambda-ric {command}: {error}\n")
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        write(sys.stderr, f"lambda-ric {command}: {error.filename2 or error.filename}: {error.strerror}\n")
        return 1
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is missing: pip install 'lambda-ric[build]'") from error


def order_of(options: argparse.Namespace) -> Order:
    """Return what *options* ask for."""
    from lambda_ric.packaging.package import order
    from lambda_ric.packaging.project import Project

    return order(
        Project(options.project),
        getattr(options, "output", None),
        target=options.target,
        python=options.python,
        arch=options.arch,
        handler=options.handler,
        interpreter=options.interpreter,
        glibc=options.glibc,
        base=options.base,
        default_python=f"{sys.version_info.major}.{sys.version_info.minor}",
    )


def _run(options: argparse.Namespace) -> int:
    return make(order_of(options), check_only=options.check, bill=options.sbom, with_report=options.report)


def make(asked: Order, *, check_only: bool = False, bill: Path | None = None, with_report: bool = False) -> int:
    """
    Make what is *asked* for, or only check what lies there; return the exit code.

    Raises:
        PackagingError: There is no such package.
    """
    from lambda_ric.packaging.archive import content_digest, digests, write_folder, write_zip
    from lambda_ric.packaging.package import assemble, note_on_upload

    with tempfile.TemporaryDirectory(prefix="lambda-ric-") as work, Steps() as steps:
        package = assemble(asked, Path(work), steps)
        contents = digests(package.tree)
        if check_only:
            return check(asked.output, contents)
        steps(f"{len(contents)} files into {asked.output}")
        size = (write_zip if zipped(asked.output) else write_folder)(package.tree, asked.output)
        if bill is not None:
            _write_bill(package, contents, bill)
        if with_report:
            steps("the start, in the emulator")
            _write_report(package, asked.output.with_suffix(".html"), steps)
        steps.end()
        for note in [*package.notes, note_on_upload(size) if zipped(asked.output) else None]:
            if note:
                write(sys.stderr, f"note: {note}\n")
        write(
            sys.stdout,
            f"{asked.output}: {size / 1024 / 1024:.1f} MB, {package.tree.size / 1024 / 1024:.1f} MB unzipped, "
            f"content sha256:{content_digest(contents)}\n",
        )
        return 0


def _write_bill(package: Package, contents: dict[str, str], file: Path) -> None:
    from lambda_ric.packaging.archive import content_digest, replacing
    from lambda_ric.packaging.sbom import bill_of

    with replacing(file.absolute()) as stream:
        stream.write(bill_of(package, content_digest(contents)).encode())


def _write_report(package: Package, page: Path, steps: Steps) -> None:
    from lambda_ric.packaging.archive import replacing
    from lambda_ric.packaging.report import report

    found = report(package)
    with replacing(page) as stream:
        stream.write(found.page().encode())
    steps.end()
    write(sys.stdout, f"{found.table()}\n{page}: the same as a picture\n")


def zipped(output: Path) -> bool:
    """Say whether *output* is to be a zip, and not a folder."""
    return output.suffix == ".zip"


def check(output: Path, contents: dict[str, str]) -> int:
    """Compare what lies at *output* with *contents*, file by file; say what differs; return the exit code."""
    from lambda_ric.packaging.archive import digests_of

    try:
        there = digests_of(output)
    except FileNotFoundError:
        write(sys.stderr, f"lambda-ric build: there is no {output} to check: build it first\n")
        return 1
    except (OSError, zipfile.BadZipFile) as error:
        write(sys.stderr, f"lambda-ric build: {output} cannot be read: {error}\n")
        return 1
    lines = [f"  only in the build: {path}" for path in sorted(contents.keys() - there.keys())]
    lines += [f"  only in {output.name}: {path}" for path in sorted(there.keys() - contents.keys())]
    lines += [f"  differs: {path}" for path in sorted(contents) if path in there and there[path] != contents[path]]
    if lines:
        shown = "\n".join(lines[:20] + ([f"  and {len(lines) - 20} more"] if len(lines) > 20 else []))
        write(sys.stderr, f"lambda-ric build: {output} is not what a build makes now:\n{shown}\n")
        return 1
    write(sys.stdout, f"{output} is what a build makes now\n")
    return 0


class Steps:
    """Says on stderr what is being done, and how long it took."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, text: str) -> None:
        """Begin the step that *text* tells."""
        self.end()
        self._since = time.monotonic()
        write(sys.stderr, f"{text} ...")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end()
        elif self._since is not None:
            write(sys.stderr, "\n")

    def end(self) -> None:
        """Tell how long the last step took."""
        if self._since is not None:
            write(sys.stderr, f" {time.monotonic() - self._since:.1f} s\n")
        self._since = None
