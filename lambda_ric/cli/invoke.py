"""
The command line, `lambda-ric`.

The answer of a function goes to stdout, everything about it to stderr, and
the exit code says how it went: 0 success, 1 the invocation failed, 2 the
command line cannot be understood.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import anyio
from anyio.abc import TaskStatus

from .emulator import Answer, Emulator, Invocation, LogLine, timeline
from .emulator.emulator import MAX_EVENT_BYTES
from .emulator.timeline import GLYPHS
from .emulator.variables import read_env_file
from .errors import ConfigurationError
from .version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments*, or those of the process, name; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigurationError as exc:
        _write(sys.stderr, f"lambda-ric {options.command}: {exc}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lambda-ric", description="Runs and looks into Lambda functions on this machine.")
    parser.add_argument("--version", action="version", version=f"lambda-ric {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_invoke(commands)
    return parser


def _add_invoke(commands: Any) -> None:
    invoke = commands.add_parser(
        "invoke",
        help="send one event to a function, and show what happens",
        description="Starts a function's runtime as Lambda would, sends it one event, waits for the work "
        "after the response, freezes and ends it. The response goes to stdout; the logs and a timeline go to "
        "stderr.",
        epilog="Exit code: 0 success; 1 the invocation failed, with an error, at its deadline or by the end "
        "of its process, be it after the response; 2 the command line cannot be understood. Of this "
        "environment the function gets PATH, LANG, PYTHONPATH and the AWS region. Everything else, "
        "credentials above all, reaches it by --env and --env-file only.",
    )
    add = invoke.add_argument
    add("handler", metavar="HANDLER", help="the function as module.function, such as app.handler")
    event = invoke.add_mutually_exclusive_group()
    event.add_argument("--data", metavar="JSON", help="the event (default: {})")
    event.add_argument("--data-file", metavar="F", help="a file that holds the event; - reads standard input")
    add("--timeout", metavar="S", type=float, default=3.0, help="the timeout in seconds (default: 3)")
    add("--memory", metavar="MB", type=int, default=128, help="the memory size it is told (default: 128)")
    add(
        "--env",
        metavar="K=V",
        action="append",
        default=[],
        help="an environment variable, over those of files",
    )
    add("--env-file", metavar="F", action="append", default=[], help="a file of KEY=VALUE lines")
    add(
        "--freeze",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="stop the process between invocations, as Lambda does (default: yes)",
    )
    add(
        "--output",
        choices=["text", "json"],
        default="text",
        help="what goes to stdout: the response as it was posted, or one JSON object with the response, its "
        "function error, timings and spans (default: text)",
    )
    invoke.set_defaults(run=_invoke)


def _invoke(options: argparse.Namespace) -> int:
    emulator = Emulator(
        options.handler,
        timeout=options.timeout,
        memory=options.memory,
        environment=_variables(options),
        freeze=options.freeze,
        on_log=_show,
    )
    return anyio.run(_invoke_once, emulator, _event(options), options.output)


async def _invoke_once(emulator: Emulator, event: bytes, output: str) -> int:
    stopped_by: list[int] = []
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_signal, tasks.cancel_scope, stopped_by)
        async with emulator:
            answer = await emulator.invoke(event)
            if output == "text":
                _print_response(answer)
            invocation = await answer.finished()
        tasks.cancel_scope.cancel()
    if stopped_by:
        _write(sys.stderr, f"stopped by {signal.Signals(stopped_by[0]).name}; the runtime has been ended\n")
        return 128 + stopped_by[0]
    if output == "json":
        _print_json(report(invocation))
    _write(sys.stderr, timeline(invocation, ascii_only=not _can_show(sys.stderr, GLYPHS)) + "\n")
    return 0 if invocation.status == "success" else 1


async def _cancel_on_signal(scope: anyio.CancelScope, stopped_by: list[int], *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            stopped_by.append(number)
            scope.cancel()


# What goes in...


def _event(options: argparse.Namespace) -> bytes:
    source, text = "--data", options.data if options.data is not None else "{}"
    if options.data_file is not None:
        source, text = f"--data-file {options.data_file}", _read(options.data_file)
    try:
        json.loads(text, parse_constant=_refuse_constant)
        event: bytes = text.encode()
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{source} is not JSON: {exc}") from exc
    if len(event) > MAX_EVENT_BYTES:
        raise ConfigurationError(f"{source} has {len(event)} bytes; Lambda takes {MAX_EVENT_BYTES} at most")
    return event


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _variables(options: argparse.Namespace) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name in options.env_file:
        variables |= read_env_file(_read(name), name)
    for argument in options.env:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigurationError(f"--env {argument}: expected K=V")
        variables[key] = value
    return variables


def _read(name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"cannot read {name}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{name} is not UTF-8 text") from exc


# ...and what comes out.


def report(invocation: Invocation) -> dict[str, Any]:
    """
    Return what ``--output json`` prints: one object with

    * ``request_id``, ``status`` (success, error, timeout), ``function_error`` (null or an error type),
    * ``response``, ``content_type``, and ``response_encoding``: ``json`` when the response is the decoded
      value, ``text`` when it is a string as posted, ``base64`` when it is neither,
    * ``timings`` in milliseconds: ``init_ms`` (null without an init), ``response_ms`` (event to response),
      ``background_ms`` (response to next poll), ``duration_ms`` (event to next poll), ``billed_ms``,
    * ``max_memory_mb``, null where the system does not tell,
    * ``spans``: the handler and each piece of work after it, with ``kind``, ``name``, ``state``, ``start_ms``
      (since the event) and ``duration_ms``.
    """
    answer = invocation.answer
    assert answer is not None  # an invocation does not end without one
    response, encoding = _decode(answer.payload)
    return {
        "request_id": invocation.request_id,
        "status": invocation.status,
        "function_error": answer.function_error,
        "response": response,
        "response_encoding": encoding,
        "content_type": answer.content_type,
        "timings": {
            "init_ms": _ms(invocation.init_duration),
            "response_ms": _ms(invocation.response_duration),
            "background_ms": _ms(invocation.background_duration),
            "duration_ms": _ms(invocation.duration),
            "billed_ms": invocation.billed_ms,
        },
        "max_memory_mb": invocation.max_memory,
        "spans": [
            {
                "kind": span.kind,
                "name": span.name,
                "state": span.state,
                "start_ms": _ms(span.start - invocation.started_at),
                "duration_ms": _ms(span.end - span.start),
            }
            for span in invocation.spans
        ],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _decode(payload: bytes) -> tuple[Any, str]:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
    try:
        return json.loads(text, parse_constant=_refuse_constant), "json"
    except (ValueError, RecursionError):
        return text, "text"


def _print_response(answer: Answer) -> None:
    response, encoding = _decode(answer.payload)
    if encoding == "json" and sys.stdout.isatty():
        _print_json(response)
    elif encoding == "base64" or answer.payload.endswith(b"\n"):
        _write(sys.stdout, answer.payload)
    else:
        _write(sys.stdout, answer.payload + b"\n")


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)
    # A lone surrogate becomes the escape that it was in the function's JSON.
    _write(sys.stdout, text.encode(errors="backslashreplace") + b"\n")


def _show(line: LogLine) -> None:
    clock = f"{time.strftime('%H:%M:%S', time.localtime(line.time))}.{int(line.time % 1 * 1000):03}"
    # Lambda keeps lines that are joined by a carriage return together as one event.
    first, *others = line.text.rstrip("\r").replace("\r", "\n").split("\n")
    _write(sys.stderr, "\n".join([f"{clock}  {first}", *(" " * 14 + other for other in others)]) + "\n")


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _write(stream: TextIO, content: str | bytes) -> None:
    try:
        if isinstance(content, bytes):
            stream.buffer.write(content)
        else:
            stream.write(content)
        stream.flush()
    except BrokenPipeError:
        # Nobody reads any longer (`| head`): let what follows, and Python's own flush at the end, go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
