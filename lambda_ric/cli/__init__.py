"""
The command line, `lambda-ric`.

The answer of a function goes to stdout, everything about it to stderr, and
the exit code says how it went: 0 success, 1 the invocation failed, 2 the
command line cannot be understood.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from lambda_ric.errors import ConfigurationError
from lambda_ric.version import __version__

from . import bootstrap, build, deploy, dev, doctor, invoke, new
from .output import LogHandler, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments*, or those of the process, name; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    parser = _parser()
    options = parser.parse_args(words[:at])
    options.runtime = words[at + 1 :]
    handler = LogHandler()
    logging.getLogger("lambda_ric.emulator").addHandler(handler)
    try:
        return int(options.run(options))
    except ConfigurationError as exc:
        write(sys.stderr, f"lambda-ric {options.command}: {exc}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        logging.getLogger("lambda_ric.emulator").removeHandler(handler)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lambda-ric", description="Runs, looks into and packs Lambda functions.")
    parser.add_argument("--version", action="version", version=f"lambda-ric {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for command in (new, invoke, dev, build, deploy, bootstrap, doctor):
        command.add_to(commands)
    return parser
