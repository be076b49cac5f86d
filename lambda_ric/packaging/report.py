"""
Where the size and the time of a start go, package by package: a table, a picture, and the three largest savings.

The times are those of this machine, from one start of the package in the emulator: compare them with each other, not
with Lambda's. The handler is not called: the event that ends the start is none that it could read.
"""

from __future__ import annotations

import html
import platform
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lambda_ric.emulator import Emulator, LogLine, in_thread

from .archive import write_folder
from .errors import PackagingError
from .package import Package, sizes
from .platforms import ARCHITECTURES
from .tree import CODE, PYTHON, RUNTIME, Tree

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
_OWN = (CODE, PYTHON, RUNTIME)

# The runtime imports the handler's module by its name, and Python times statements only: this module makes one of it.
_IMPORTING = "__import__({module!r})\n\n\ndef handler(event, context): ...\n"
_IMPORTING_NAME = "_lambda_ric_report"


class Row(NamedTuple):
    """One package: its bytes, and the milliseconds that its modules take at a start; None where nobody measured."""

    owner: str
    size: int
    import_ms: float | None


class Report(NamedTuple):
    """All rows, the largest first, and the duration of the init in milliseconds."""

    title: str
    rows: Sequence[Row]
    init_ms: float | None

    def savings(self) -> list[str]:
        """Name the three packages that would spare most of the size and of the start, and how."""
        total = sum(row.size for row in self.rows) or 1
        time = sum(row.import_ms or 0 for row in self.rows) or 1
        others = [row for row in self.rows if row.owner not in _OWN]
        ranked = sorted(others, key=lambda row: -(row.size / total + (row.import_ms or 0) / time))
        return [_saving(row, total, time) for row in ranked[:3]]

    def table(self) -> str:
        """Return the report as text."""
        lines = [f"{'package':30} {'size':>10} {'at the start':>14}"]
        for row in self.rows:
            took = "" if row.import_ms is None else f"{row.import_ms:.1f} ms"
            lines.append(f"{row.owner:30} {_mb(row.size):>10} {took:>14}")
        total = f"{self.init_ms:.0f} ms init" if self.init_ms is not None else "not measured"
        lines.append(f"{'together':30} {_mb(sum(row.size for row in self.rows)):>10} {total:>14}")
        savings = [f"{number}. {text}" for number, text in enumerate(self.savings(), 1)]
        return "\n".join([*lines, "", "the largest savings:", *(savings or ["none: nothing but your own code"]), ""])

    def page(self) -> str:
        """Return the report as a page with a picture, which needs nothing else."""
        savings = "".join(f"<li>{html.escape(text)}</li>" for text in self.savings())
        return _PAGE.format(title=html.escape(self.title), picture=self._picture(), savings=savings)

    def _picture(self) -> str:
        height = 26
        most = max((row.size for row in self.rows), default=1)
        longest = max((row.import_ms or 0 for row in self.rows), default=0) or 1
        parts = []
        for number, row in enumerate(self.rows, 1):
            y = number * height
            took = "" if row.import_ms is None else f"{row.import_ms:.1f} ms"
            parts += [
                f'<text x="190" y="{y + 14}" class="name">{html.escape(row.owner)}</text>',
                f'<rect x="200" y="{y}" width="{row.size / most * 200:.1f}" height="18" class="size"/>',
                f'<text x="{204 + row.size / most * 200:.1f}" y="{y + 14}">{_mb(row.size)}</text>',
                f'<rect x="500" y="{y}" width="{(row.import_ms or 0) / longest * 200:.1f}" height="18" class="time"/>',
                f'<text x="{504 + (row.import_ms or 0) / longest * 200:.1f}" y="{y + 14}">{took}</text>',
            ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {(len(self.rows) + 1) * height}" role="img">'
            '<title>Size and time at the start by package</title><text x="200" y="14">size</text>'
            f'<text x="500" y="14">at the start</text>{"".join(parts)}</svg>'
        )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #1b1f24 }}
svg {{ width: 100%; font-size: 12px }}
.name {{ text-anchor: end }} .size {{ fill: #5b8def }} .time {{ fill: #f08c3a }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14171a; color: #e6e6e6 }} text {{ fill: #e6e6e6 }} }}
</style>
<h1>{title}</h1>
{picture}
<h2>The largest savings</h2>
<ol>{savings}</ol>
"""


def report(package: Package) -> Report:
    """
    Return what *package* costs: its sizes, and the times where it can be started on this machine.

    Raises:
        PackagingError: It does not start; the last lines of its log are in the text.
    """
    owners = dict(sizes(package.tree))
    times: dict[str, float] | None = None
    init_ms = None
    if _runs_here(package):
        with tempfile.TemporaryDirectory(prefix="lambda-ric-report-") as work:
            write_folder(package.tree, Path(work, "task"))
            init_ms = min(_start(package, Path(work, "task"), profile=False)[1] for _ in range(3)) * 1000
            times = _times(package, Path(work, "task"))
    everybody = {**owners, **(times or {})}
    rows = [Row(owner, owners.get(owner, 0), None if times is None else times.get(owner, 0.0)) for owner in everybody]
    return Report(f"{package.order.project.name} for {package.order.platform}", _ordered(rows), init_ms)


def _runs_here(package: Package) -> bool:
    """Say whether there is a handler to import, and an interpreter that runs on this machine."""
    here = ARCHITECTURES[package.order.platform.arch] == platform.machine() and platform.system() == "Linux"
    return bool(here and package.compiler and package.order.handler and package.order.target != "layer")


def _times(package: Package, folder: Path) -> dict[str, float]:
    """Return the milliseconds that the modules of each package take at a start."""
    times: dict[str, float] = {}
    module = package.order.handler.rpartition(".")[0].replace("/", ".")
    (folder / f"{_IMPORTING_NAME}.py").write_text(_IMPORTING.format(module=module), encoding="utf-8")
    for line in _start(package, folder, profile=True)[0]:
        match = _LINE.match(line)
        if match:
            owner = _owner_of(match[2], package.tree)
            times[owner] = times.get(owner, 0) + int(match[1]) / 1000
    return times


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.size, -(row.import_ms or 0), row.owner))


def _start(package: Package, folder: Path, *, profile: bool) -> tuple[list[str], float]:
    """Start the package in *folder*; return the lines of its log and the seconds of its init."""
    lines: list[LogLine] = []
    program = folder / "bin" / "python3"
    environment = {"PYTHONPATH": "", "LD_LIBRARY_PATH": str(folder / "lib")}
    if package.compiler is not None and not program.exists():
        environment["LAMBDA_RIC_PYTHON"] = package.compiler.program
    if profile:
        environment["PYTHONPROFILEIMPORTTIME"] = "1"
    emulator = Emulator(
        f"{_IMPORTING_NAME}.handler" if profile else package.order.handler,
        command=[str(folder / "bootstrap")],
        task_root=folder,
        memory=10240,
        timeout=60,
        init_timeout=60,
        environment=environment,
        on_log=lines.append,
    )
    with in_thread(emulator) as function:
        answer = function.invoke(b"{")
        invocation = function.finished(answer)
    if invocation.init_duration is None or b"Runtime.UnmarshalError" not in answer.payload:
        last = "\n".join(f"  {line.text}" for line in lines[-15:])
        raise PackagingError(f"the package does not start, so there is nothing to measure. Its log:\n{last}")
    return [line.text for line in lines], invocation.init_duration


def _owner_of(module: str, tree: Tree) -> str:
    """Return whose *module* is: what the package does not hold is the interpreter's."""
    path = module.replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        if candidate in tree.files:
            return tree.files[candidate].owner
    modules = (file.owner for name, file in tree.files.items() if name.startswith(f"{path}.") and name.endswith(".so"))
    return next(modules, PYTHON)


def _saving(row: Row, total: int, time: float) -> str:
    size = f"{row.owner}: {_mb(row.size)}, {row.size / total:.0%} of the package"
    if row.import_ms is None:
        return f"{size}. Leave it out if nothing needs it"
    if row.import_ms == 0:
        return f"{size}, and not imported at the start. Leave it out if nothing needs it"
    share = f"{row.import_ms:.0f} ms, {row.import_ms / time:.0%} of the start"
    return f"{size}; {share}. Import it where it is used, or do without"


def _mb(size: int) -> str:
    return f"{size / 1024 / 1024:.2f} MB"
