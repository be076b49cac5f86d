"""The command line: `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from . import measurements, report
from .cases import CASES
from .environment import RuntimeFailedError
from .runtimes import RUNTIMES, earlier


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runtimes = [RUNTIMES[name] for name in options.runtime or RUNTIMES]
    if options.checkout:
        runtimes.append(earlier(options.checkout))
    cases = [CASES[name] for name in options.case or CASES]
    missing = {runtime.module for runtime in runtimes if find_spec(runtime.module) is None}
    if missing:
        print(f"{', '.join(missing)} not installed: install it, or choose with --runtime", file=sys.stderr)
        return 2

    with tempfile.TemporaryDirectory(prefix="lambda-ric-bytecode-") as bytecode:
        try:
            results = report.Results(
                starts=measurements.starts(runtimes, options.starts, bytecode) if options.starts else {},
                invocations=measurements.invocations(cases, runtimes, options.rounds, options.invocations, bytecode)
                if options.rounds
                else {},
                soak=measurements.soak(options.soak, bytecode) if options.soak else None,
            )
        except RuntimeFailedError as exc:
            print(exc, file=sys.stderr)
            return 1

    print(report.as_markdown(results), end="")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results), indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Compare lambda_ric with awslambdaric, both before the same fake Runtime API. Prints "
        "Markdown, and ends with 0 whether the targets are met or not. Linux only.",
    )
    add = parser.add_argument
    add("--rounds", type=_count, default=30, metavar="N", help="turns per runtime and case (30)")
    add("--invocations", type=_positive, default=200, metavar="N", help="measured in one turn (200)")
    add("--starts", type=_count, default=15, metavar="N", help="cold starts per runtime (15)")
    add("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    add("--runtime", action="append", choices=list(RUNTIMES), help="likewise")
    add(
        "--checkout",
        type=_checkout,
        metavar="DIR",
        help="compare with lambda_ric as it is in DIR as well, another checkout of the project",
    )
    add(
        "--soak",
        type=_count,
        default=0,
        metavar="N",
        help="also serve N invocations with background work of every kind, and look at what stays behind",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _checkout(text: str) -> Path:
    path = Path(text)
    if not (path / "lambda_ric" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout: it has no lambda_ric/__init__.py")
    return path


def _positive(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
