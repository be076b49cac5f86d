"""
`lambda-ric doctor`: what would go wrong in Lambda.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from .build import packing
from .output import write


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        usage="lambda-ric doctor [HANDLER | PACKAGE] [options]",
        help="say what would go wrong in Lambda",
        description="Looks at this machine and, with HANDLER, at the project in this folder: the interpreter, the C "
        "library, the settings, the handler, every compiled library, secrets. With PACKAGE, a zip or a folder, it "
        "looks at that: bootstrap, modes, bytecode, sizes, extensions as well.",
        epilog="Exit code: 0 nothing that would fail; 1 there is a PROBLEM; 2 the command line cannot be understood.",
    )
    add = parser.add_argument
    add("subject", metavar="HANDLER|PACKAGE", nargs="?", help="app.handler, function.zip, or a folder")
    add("--arch", choices=["x86_64", "arm64"], help="of a package that does not say it (default: x86_64)")
    add("--python", metavar="VERSION", help="of a package that does not say it (default: the one that runs this)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look; return the exit code."""
    return packing("doctor", _run, options)


def _run(options: argparse.Namespace) -> int:
    from lambda_ric.packaging.doctor import PROBLEM, examine_function, examine_machine, examine_package
    from lambda_ric.packaging.project import Project

    subject = options.subject
    if subject is not None and (subject.endswith(".zip") or "/" in subject or Path(subject).exists()):
        findings = list(examine_package(Path(subject), options.arch, options.python))
    else:
        project = Project(Path())
        findings = list(examine_machine(os.environ))
        findings += examine_function(project, subject or str(project.settings.get("handler", "")))
    for level, text in findings:
        write(sys.stdout, f"{level:8}{text}\n")
    return 1 if any(level == PROBLEM for level, _ in findings) else 0
