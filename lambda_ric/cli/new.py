"""
`lambda-ric new`: a project that runs, is tested and builds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lambda_ric.packaging.new_project import KINDS, create

from .build import packing
from .output import write


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "new",
        help="begin a project",
        description="Writes a project with a function, its test and its settings into a new folder.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", type=Path, help="the folder, whose last part is the project's name")
    add("--template", choices=KINDS, default="function", help="what it is (default: function)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit code."""
    return packing("new", _run, options)


def _run(options: argparse.Namespace) -> int:
    for file in create(options.name, options.template):
        write(sys.stdout, f"{file}\n")
    write(sys.stderr, f"next: cd {options.name}, and see README.md\n")
    return 0
