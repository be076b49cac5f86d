"""
`lambda-ric bootstrap`: the start script, for tools that drop a wheel's data files.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lambda_ric.packaging.runtime_files import bootstrap

from .output import write


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bootstrap",
        help="write the start script to stdout",
        description="Writes `bootstrap`, which starts the runtime in Lambda, to stdout. SAM's pip workflow drops "
        "it from the package: keep it beside your code instead, with lambda-ric bootstrap > bootstrap and "
        "chmod +x bootstrap.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit code."""
    write(sys.stdout, bootstrap())
    return 0
