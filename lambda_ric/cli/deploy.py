"""
`lambda-ric deploy`: from a project folder to a function.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lambda_ric.emulator import RESERVED
from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_MEMORY, MAX_TIMEOUT, MIN_MEMORY

from .build import add_build_options, make, order_of, packing
from .options import json_text, variables
from .output import write

CREDENTIALS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "deploy",
        usage="lambda-ric deploy [NAME] [options]",
        help="build, and create or update the function",
        description="Builds the project in this folder and creates the function NAME, or updates it: its code, its "
        "runtime, its variables (AWS_LAMBDA_EXEC_WRAPPER among them) and its URL. Without --role a new function gets a "
        "role of its own, which may write its log. Credentials and the region are those of boto3.",
        epilog="Exit code: 0 the function is there; 1 it is not, or --invoke has had an error: what was done until "
        "then is said; 2 the command line cannot be understood.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="the function (default: the project's name)")
    add_build_options(parser)
    timeouts, memories = f"1 to {MAX_TIMEOUT}", f"{MIN_MEMORY} to {MAX_MEMORY}"
    add("--timeout", metavar="S", type=int, help=f"its timeout in seconds, {timeouts} (default: 30 for a new function)")
    add("--memory", metavar="MB", type=int, help=f"its memory, {memories} (default: 512 for a new function)")
    add("--env", metavar="K=V", action="append", default=[], help="a variable, over those of files and of before")
    add("--env-file", metavar="F", action="append", default=[], help="a file of KEY=VALUE lines")
    add("--role", metavar="ARN", help="the role that it runs as (default: one of its own, which is made)")
    add("--layer", metavar="ARN", action="append", default=[], help="a layer; may be repeated")
    add("--url", choices=["iam", "public", "none"], help="its URL: for signed requests, for everybody, or none")
    add("--invoke-mode", choices=["buffered", "response_stream"], help="how its URL answers")
    add("--region", metavar="R", help="the region (default: AWS_REGION, else that of boto3)")
    add("--s3-bucket", metavar="B", help="where a zip above 50 MB goes")
    add("--invoke", metavar="JSON", help="invoke it once with this event, and show the answer")
    add("--dry-run", action="store_true", help="show the calls, and change nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it; return the exit code."""
    return packing("deploy", _run, options)


def _run(options: argparse.Namespace) -> int:
    try:
        from lambda_ric.packaging.deployment import Calls, Wanted, deploy, invoke, is_function_name
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is missing: pip install 'lambda-ric[deploy]'") from error

    if options.timeout is not None and not 1 <= options.timeout <= MAX_TIMEOUT:
        raise ConfigurationError(f"--timeout {options.timeout}: Lambda takes 1 to {MAX_TIMEOUT} seconds")
    if options.memory is not None and not MIN_MEMORY <= options.memory <= MAX_MEMORY:
        raise ConfigurationError(f"--memory {options.memory}: Lambda takes {MIN_MEMORY} to {MAX_MEMORY} MB")
    environment = variables(options)
    if reserved := sorted(environment.keys() & (RESERVED | CREDENTIALS)):
        raise ConfigurationError(f"--env {reserved[0]}: Lambda sets it itself, and takes it from nobody")
    event = json_text(options.invoke, "--invoke").decode() if options.invoke is not None else None
    options.project = Path()
    asked = order_of(options)
    if asked.target not in ("managed", "provided"):
        raise ConfigurationError(f"deploy makes a function of a zip, and --target {asked.target} is none")
    if not asked.handler:
        raise ConfigurationError("no handler is named: give --handler app.handler, or handler in [tool.lambda-ric]")
    name = options.name or asked.project.name
    if not is_function_name(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a function, which has up to 64 letters, digits, - and _: "
            "lambda-ric deploy NAME gives it another"
        )
    make(asked)
    wanted = Wanted(
        name,
        asked.output,
        f"python{asked.platform.python}" if asked.target == "managed" else "provided.al2023",
        asked.handler,
        asked.platform.arch,
        timeout=options.timeout,
        memory=options.memory,
        environment=environment,
        role=options.role,
        layers=tuple(options.layer),
        url=options.url,
        invoke_mode=options.invoke_mode and options.invoke_mode.upper(),
        bucket=options.s3_bucket,
    )
    calls = Calls(lambda text: write(sys.stdout, f"{text}\n"), dry=options.dry_run)
    url = deploy(wanted, calls, region=options.region)
    if url:
        write(sys.stdout, f"{url}\n")
    if options.dry_run or event is None:
        return 0
    answer, failed = invoke(name, event, region=options.region)
    write(sys.stdout, f"{answer}\n")
    return 1 if failed else 0
