"""
`lambda-ric dev`: a local Lambda that runs until it is stopped.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from lambda_ric.emulator import (
    Emulator,
    EventInvokeConfig,
    Invocation,
    LogLine,
    Observer,
    SQSEventSource,
    destination,
    serve,
)
from lambda_ric.emulator.destinations import Destination
from lambda_ric.errors import ConfigurationError

from .options import add_function_options, variables
from .output import show_line, write
from .signals import exit_code, until_signal


def add_to(commands: Any) -> None:
    """Add the command."""
    dev = commands.add_parser(
        "dev",
        help="run a local Lambda with hot reload, until Ctrl-C",
        usage="lambda-ric dev [HANDLER] [options] [-- COMMAND ...]",
        description="Runs a function as Lambda would: boto3 and the AWS CLI invoke it, curl and a browser reach "
        "its function URL, and the page at /_/ shows what happens. Changed files take effect with the next event.",
        epilog="COMMAND is any other runtime, `python -m awslambdaric app.handler` or `./bootstrap` say; by default "
        "it is the runtime of this package with HANDLER. Everything listens on the loopback interface only.",
    )
    dev.add_argument("handler", metavar="HANDLER", nargs="?", default="", help="the function, such as app.handler")
    add = dev.add_argument
    add("--port", metavar="P", type=int, default=9000, help="where callers reach it; 0: any free one (default: 9000)")
    add("--name", metavar="N", default="function", help="the name of the function (default: function)")
    add("--concurrency", metavar="N", type=int, default=10, help="environments at most; beyond: 429 (default: 10)")
    add("--queue", action="store_true", help="let callers wait for an environment instead (default with --only-api)")
    add_function_options(dev)
    group = dev.add_argument_group("the environment")
    add = group.add_argument
    add("--reload", action=argparse.BooleanOptionalAction, default=True, help="serve changed files (default: yes)")
    add("--idle-timeout", metavar="S", type=float, default=math.inf, help="shut an idle environment down after S s")
    add("--init-timeout", metavar="S", type=float, default=10.0, help="the limit of the init phase (default: 10)")
    add("--only-api", action="store_true", help="start no runtime: attach one, in a debugger say")
    add("--runtime-api-port", metavar="P", type=int, default=9001, help="with --only-api: its address (default: 9001)")
    add("--extensions-dir", metavar="D", type=Path, help="external extensions: the executables in D")
    add("--snapstart", action="store_true", help="take a snapshot after the init, and restore it")
    add(
        "--max-concurrency",
        metavar="N",
        type=int,
        default=0,
        help="events that one environment serves at once, as on Lambda Managed Instances (default: off)",
    )
    add("--cpu-share", action="store_true", help="only the CPU time that comes with --memory (needs control groups)")
    add("--read-only", action="store_true", help="the task directory cannot be written to (needs mount namespaces)")
    group = dev.add_argument_group("callers")
    add = group.add_argument
    add(
        "--url-mode",
        choices=["auto", "buffered", "stream"],
        default="auto",
        help="the invoke mode of the function URL; auto: as the function answers (default: auto)",
    )
    group = dev.add_argument_group("asynchronous invocations (invocation type Event)")
    add = group.add_argument
    add("--retries", metavar="N", type=int, default=2, help="attempts after the first, 0 to 2 (default: 2)")
    add("--max-event-age", metavar="S", type=float, default=21600, help="in seconds, 60 to 21600 (default: 21600)")
    add("--time-scale", metavar="F", type=float, default=1.0, help="0.01: the first retry after 0.6 s (default: 1)")
    add("--retry-after-response", action="store_true", help="retry what failed after a good response, too")
    target = "file:F, lambda:http://localhost:P/NAME or sqs:QUEUE_URL"
    add("--on-success", metavar="D", help=f"where the record of a success goes: {target}")
    add("--on-failure", metavar="D", help="where the record of an event that was given up goes")
    add("--dead-letter", metavar="D", help="where the event itself goes then")
    group = dev.add_argument_group("an SQS queue as event source")
    add = group.add_argument
    add("--sqs", metavar="QUEUE_URL", help="poll this queue of a local server")
    add("--sqs-endpoint", metavar="URL", help="the server (default: that of the queue's URL)")
    add("--batch-size", metavar="N", type=int, default=10, help="messages in one event (default: 10)")
    add("--batch-window", metavar="S", type=float, default=0.0, help="seconds to gather them (default: 0)")
    dev.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code."""
    emulator = Emulator(
        options.handler,
        command=options.runtime,
        name=options.name,
        timeout=options.timeout if options.timeout is not None else 900.0 if options.only_api else 3.0,
        memory=options.memory,
        environment=variables(options),
        freeze=options.freeze,
        init_timeout=options.init_timeout,
        concurrency=1 if options.only_api else options.concurrency,
        queue=options.queue or options.only_api,
        idle_timeout=options.idle_timeout,
        reload=options.reload and not options.only_api,
        only_api=options.only_api,
        runtime_api_port=options.runtime_api_port if options.only_api else 0,
        snapstart=options.snapstart,
        max_concurrency=options.max_concurrency,
        extensions_dir=options.extensions_dir,
        cpu_share=options.cpu_share,
        read_only=options.read_only,
        on_log=show_line,
        observers=[_Notes()],
    )
    return anyio.run(_serve, emulator, options)


async def _serve(emulator: Emulator, options: argparse.Namespace) -> int:
    events = EventInvokeConfig(
        maximum_retry_attempts=options.retries,
        maximum_event_age=options.max_event_age,
        time_scale=options.time_scale,
        retry_after_response=options.retry_after_response,
        on_success=_destination(options.on_success),
        on_failure=_destination(options.on_failure),
        dead_letter=_destination(options.dead_letter),
    )
    sources = []
    if options.sqs is not None:
        endpoint = options.sqs_endpoint or "/".join(options.sqs.split("/")[:3])
        sources.append(
            SQSEventSource(
                options.sqs,
                endpoint,
                emulator.function,
                emulator.submit,
                batch_size=options.batch_size,
                batching_window=options.batch_window,
                concurrency=emulator.concurrency,
                note=emulator.observers.note,
            )
        )
    elif options.sqs_endpoint is not None:
        raise ConfigurationError("--sqs-endpoint needs --sqs, the URL of a queue")
    with until_signal() as stopped_by:
        async with (
            emulator,
            serve(emulator, options.port, events=events, url_mode=options.url_mode, sources=sources) as endpoint,
        ):
            write(sys.stderr, _banner(emulator, endpoint.url))
            # What is loaded stays, and what an event leaves goes by itself: there is little for the collector to do.
            gc.freeze()
            gc.set_threshold(50_000)
            await anyio.sleep_forever()
    return exit_code(stopped_by[0], "everything has")


def _destination(text: str | None) -> Destination | None:
    return None if text is None else destination(text)


def _banner(emulator: Emulator, url: str) -> str:
    function = emulator.function
    if function.only_api:
        api = f"127.0.0.1:{function.runtime_api_port}"
        first = f"  Runtime API   AWS_LAMBDA_RUNTIME_API={api}   start your runtime with it\n"
        what = "whatever attaches"
    else:
        first, what = "", " ".join(function.command) or function.handler
    return (
        f"lambda-ric dev: {what}, {function.timeout:g} s, {function.memory} MB, concurrency {emulator.concurrency}\n"
        f"{first}"
        f"  Invoke API    {url}   boto3: endpoint_url, function name {function.name!r}\n"
        f"  function URL  {url}/lambda-url/{function.name}/\n"
        f"  page          {url}/_/\n"
        "Ctrl-C ends it.\n"
    )


class _Notes(Observer):
    """Writes what the platform does beside the log."""

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        """Write it like a line of the platform."""
        show_line(LogLine(time.time(), f"{kind.upper()} {text}", platform=True))
