"""
Options that several commands have, and what they are turned into.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from lambda_ric.emulator.variables import read_env_file
from lambda_ric.errors import ConfigurationError


def add_function_options(parser: argparse.ArgumentParser) -> None:
    """Add what is configured on a function."""
    add = parser.add_argument
    add("--timeout", metavar="S", type=float, help="the timeout in seconds (default: 3)")
    add("--memory", metavar="MB", type=int, default=128, help="the memory size; more is not allowed (default: 128)")
    add("--env", metavar="K=V", action="append", default=[], help="an environment variable, over those of files")
    add("--env-file", metavar="F", action="append", default=[], help="a file of KEY=VALUE lines")
    add(
        "--freeze",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="stop the processes between invocations, as Lambda does (default: yes)",
    )


def variables(options: argparse.Namespace) -> dict[str, str]:
    """
    Return the environment variables that --env-file and --env give.

    Raises:
        ConfigurationError: A file cannot be read, or something is not K=V.
    """
    found: dict[str, str] = {}
    for name in options.env_file:
        found |= read_env_file(read(name), name)
    for argument in options.env:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigurationError(f"--env {argument}: expected K=V")
        found[key] = value
    return found


def read(name: str) -> str:
    """
    Return the text of a file, or of standard input when *name* is -.

    Raises:
        ConfigurationError: It cannot be read, or is not UTF-8.
    """
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"cannot read {name}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{name} is not UTF-8 text") from exc


def json_text(text: str, source: str) -> bytes:
    """
    Return *text* as it is, encoded.

    Raises:
        ConfigurationError: It is not JSON; the text names the *source*.
    """
    try:
        json.loads(text, parse_constant=refuse_constant)
        return text.encode()
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{source} is not JSON: {exc}") from exc


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's parser would take."""
    raise ValueError(f"{name} is not a number in JSON")
