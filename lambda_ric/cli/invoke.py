"""
`lambda-ric invoke`: one event, and what becomes of it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import anyio

from lambda_ric.emulator import GLYPHS, Emulator, Invocation, Span, example, example_names, timeline
from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_EVENT

from .options import add_function_options, json_text, read, variables
from .output import Notes, can_show, decode, print_json, print_response, show_line, write
from .remote import invoke_remotely
from .signals import exit_code, until_signal


def add_to(commands: Any) -> None:
    """Add the command."""
    invoke = commands.add_parser(
        "invoke",
        usage="lambda-ric invoke [HANDLER] [options] [-- COMMAND ...]",
        help="send one event to a function, and show what happens",
        description="Starts a function's runtime as Lambda would, sends it one event, waits for the work "
        "after the response, freezes and ends it. The response goes to stdout; the logs and a timeline go to "
        "stderr. With --endpoint the event goes to a function that runs already. COMMAND is any other runtime.",
        epilog="Exit code: 0 success; 1 the invocation failed, with an error, at its deadline or by the end "
        "of its process, be it after the response, or work after the response was lost: it failed, was cut off or "
        "dropped, or is unconfirmed; 2 the command line cannot be understood. Of this "
        "environment the function gets PATH, LANG, PYTHONPATH and the AWS region. Everything else, "
        "credentials above all, reaches it by --env and --env-file only.",
    )
    add = invoke.add_argument
    add(
        "handler",
        metavar="HANDLER",
        nargs="?",
        help="the function as module.function, such as app.handler; with --endpoint its name (default: function)",
    )
    event = invoke.add_mutually_exclusive_group()
    event.add_argument("--data", metavar="JSON", help="the event (default: {})")
    event.add_argument("--data-file", metavar="F", help="a file that holds the event; - reads standard input")
    event.add_argument(
        "--example", metavar="NAME", help=f"a realistic event that is shipped: {', '.join(example_names())}"
    )
    add("--stream", action="store_true", help="take the response as it comes, and write it so")
    add("--endpoint", metavar="URL", help="send the event there, to `lambda-ric dev` say; nothing is started")
    add_function_options(invoke)
    add(
        "--output",
        choices=["text", "json"],
        default="text",
        help="what goes to stdout: the response as it was posted, or one JSON object with the response, its "
        "function error, timings and spans (default: text)",
    )
    invoke.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send the event; return the exit code."""
    event = _event(options)
    if options.stream and options.output == "json":
        raise ConfigurationError("--stream writes the response as it comes, and --output json at its end: choose one")
    if options.endpoint is not None:
        return invoke_remotely(options.endpoint, options.handler or "function", event, options)
    emulator = Emulator(
        options.handler or "",
        command=options.runtime,
        timeout=3.0 if options.timeout is None else options.timeout,
        memory=options.memory,
        environment=variables(options),
        freeze=options.freeze,
        on_log=show_line,
        profile=options.profile,
        observers=[Notes("debug", "profile")],
    )
    return anyio.run(_invoke_once, emulator, event, options)


async def _invoke_once(emulator: Emulator, event: bytes, options: argparse.Namespace) -> int:
    invocation = emulator.invocation(event, streaming=options.stream)
    with until_signal() as stopped_by:
        async with emulator:
            emulator.submit(invocation)
            if options.stream:
                chunk = b"\n"
                async for chunk in invocation.chunks():
                    write(sys.stdout, chunk)
                if sys.stdout.isatty() and not chunk.endswith(b"\n"):
                    write(sys.stdout, b"\n")
            answer = await invocation.answered()
            if not options.stream and options.output == "text":
                print_response(answer.payload)
            elif invocation.response_streamed and answer.error_body:
                write(sys.stderr, b"the stream broke off: " + answer.error_body + b"\n")
            await invocation.finished()
    if stopped_by:
        return exit_code(stopped_by[0], "the runtime has")
    if options.output == "json":
        print_json(report(invocation))
    write(sys.stderr, timeline(invocation, ascii_only=not can_show(sys.stderr, GLYPHS)) + "\n")
    return 0 if invocation.status == "success" and not any(_was_lost(span) for span in invocation.spans) else 1


def _was_lost(span: Span) -> bool:
    # Who cancels work by itself wants that, and gives no reason.
    if span.state == "cancelled":
        return span.reason != ""
    return span.kind != "handler" and span.state in ("failed", "abandoned", "dropped", "unconfirmed")


def _event(options: argparse.Namespace) -> bytes:
    if options.example is not None:
        return example(options.example)
    source, text = "--data", options.data if options.data is not None else "{}"
    if options.data_file is not None:
        source, text = f"--data-file {options.data_file}", read(options.data_file)
    event = json_text(text, source)
    if len(event) > MAX_EVENT:
        raise ConfigurationError(f"{source} has {len(event)} bytes; Lambda takes {MAX_EVENT} at most")
    return event


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
    response, encoding = decode(answer.payload)
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
