"""
Options that several commands have, and what they are turned into.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lambda_ric.emulator import RESERVED, read_env_file, read_json
from lambda_ric.errors import ConfigurationError

from .output import write


def add_function_options(parser: argparse.ArgumentParser) -> None:
    """Add what is configured on a function."""
    add = parser.add_argument
    add("--timeout", metavar="S", type=float, help="the timeout in seconds (default: 3)")
    add("--memory", metavar="MB", type=int, default=128, help="the memory size; more is not allowed (default: 128)")
    add("--env", metavar="K=V", action="append", default=[], help="an environment variable, over those of files")
    add("--env-file", metavar="F", action="append", default=[], help="a file of KEY=VALUE lines")
    add("--profile", metavar="F", help="write a flame graph of the invocation, or of each, to this .svg (needs py-spy)")
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
        given = read_env_file(read(name), name, os.environ)
        if reserved := sorted(given.keys() & RESERVED):
            text = f"{name}: {', '.join(reserved)} passed over: Lambda, and so the emulator, sets it itself"
            write(sys.stderr, f"lambda-ric {options.command}: {text}\n")
        found |= {key: value for key, value in given.items() if key not in RESERVED}
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
        read_json(text)
        return text.encode()
    except ValueError as exc:
        raise ConfigurationError(f"{source} is not JSON: {exc}") from exc
