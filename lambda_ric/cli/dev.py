"""
`lambda-ric dev`: a local Lambda that runs until it is stopped.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

from lambda_ric.emulator import (
    Cors,
    Destination,
    DynamoDBStream,
    Emulator,
    EventInvokeConfig,
    Filter,
    KinesisStream,
    SQSEventSource,
    StreamEventSource,
    destination,
    loopback_url,
    problem_of,
    serve,
)
from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_TIMEOUT

from .options import add_function_options, variables
from .output import Terminal, write
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
        "it is the runtime of this package with HANDLER. With both, COMMAND finds HANDLER in _HANDLER. "
        "Everything listens on the loopback interface only.",
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
    add(
        "--reload-include",
        metavar="GLOB",
        action="append",
        default=[],
        help="files that count beside the code, such as '*.html'; may be repeated",
    )
    add("--idle-timeout", metavar="S", type=float, default=math.inf, help="shut an idle environment down after S s")
    add("--init-timeout", metavar="S", type=float, default=10.0, help="the limit of the init phase (default: 10)")
    add("--only-api", action="store_true", help="start no runtime: attach one, in a debugger say")
    add("--runtime-api-port", metavar="P", type=int, default=9001, help="with --only-api: its address (default: 9001)")
    add(
        "--debug",
        action="store_true",
        help="breakpoint() and an editor stop it: no timeout, no freeze, one event at once",
    )
    add("--debug-port", metavar="P", type=int, default=5678, help="where an editor finds debugpy (default: 5678)")
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
    add("--private-network", action="store_true", help="its own ports, as on Lambda (needs network namespaces)")
    add(
        "--reach",
        metavar="PORT",
        type=int,
        action="append",
        default=[],
        help="with --private-network: a port of this machine that it reaches, a database's say; may be repeated",
    )
    add("--read-only", action="store_true", help="the task directory cannot be written to (needs mount namespaces)")
    group = dev.add_argument_group("callers")
    add = group.add_argument
    add(
        "--url-mode",
        choices=["auto", "buffered", "stream"],
        default="auto",
        help="the invoke mode of the function URL; auto: as the function answers (default: auto)",
    )
    add(
        "--cors",
        metavar="ORIGINS",
        type=_cors,
        help="the CORS configuration of the function URL: origins, * for all, or JSON such as the AWS CLI takes",
    )
    group = dev.add_argument_group("asynchronous invocations (invocation type Event)")
    add = group.add_argument
    add("--retries", metavar="N", type=int, default=2, help="attempts after the first, 0 to 2 (default: 2)")
    add("--max-event-age", metavar="S", type=float, default=21600, help="in seconds, 60 to 21600 (default: 21600)")
    add("--time-scale", metavar="F", type=float, default=1.0, help="0.01: the first retry after 0.6 s (default: 1)")
    add("--retry-after-response", action="store_true", help="retry what failed after a good response, too")
    target = "file:F, lambda:http://localhost:P/NAME, sqs:QUEUE, sns:TOPIC, events:BUS or s3:BUCKET"
    add("--on-success", metavar="D", help=f"where the record of a success goes: {target}")
    add("--on-failure", metavar="D", help="where the record of an event or of records that were given up goes")
    add("--dead-letter", metavar="D", help="where the event itself goes then")
    group = dev.add_argument_group("a local server of AWS services, such as moto or LocalStack")
    add = group.add_argument
    add(
        "--aws-endpoint-url",
        metavar="URL",
        help="where it is, also for the function: its AWS_ENDPOINT_URL (default: AWS_ENDPOINT_URL, if it is local)",
    )
    add("--sqs", metavar="QUEUE", help="an event source: a queue's URL, name or ARN")
    add("--sqs-endpoint", metavar="URL", help="another server for it (default: that of the queue's URL)")
    add("--kinesis", metavar="STREAM", help="an event source: a data stream's name or ARN")
    add("--dynamodb", metavar="TABLE", help="an event source: the stream of this table")
    add("--batch-size", metavar="N", type=int, help="records in one event (default: 10 of a queue, 100 of a stream)")
    add("--batch-window", metavar="S", type=float, default=0.0, help="seconds to gather them (default: 0)")
    add(
        "--filter",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only records that match this filter pattern, as JSON, or another one: may be repeated",
    )
    add(
        "--starting-position",
        choices=["LATEST", "TRIM_HORIZON"],
        default="LATEST",
        help="of a stream that is there already: what is new, or all of it (default: LATEST)",
    )
    add("--record-retries", metavar="N", type=int, default=-1, help="attempts after the first; -1: any (default: -1)")
    add("--record-age", metavar="S", type=float, default=-1, help="in seconds, 60 to 604800; -1: any (default: -1)")
    add("--bisect", action="store_true", help="send the halves of a failed batch of a stream separately")
    dev.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code."""
    alone = options.only_api or options.debug
    emulator = Emulator(
        options.handler,
        command=options.runtime,
        name=options.name,
        timeout=_timeout(options),
        memory=max(options.memory, _DEBUGGER_MEMORY) if options.debug else options.memory,
        environment=_environment(options),
        freeze=options.freeze and not options.debug,
        init_timeout=math.inf if options.debug else options.init_timeout,
        concurrency=1 if alone else options.concurrency,
        queue=options.queue or alone,
        idle_timeout=options.idle_timeout,
        reload=options.reload and not options.only_api,
        reload_include=options.reload_include,
        only_api=options.only_api,
        runtime_api_port=options.runtime_api_port if options.only_api else 0,
        debug_port=options.debug_port if options.debug else 0,
        profile=options.profile,
        terminal=sys.stdin.fileno() if options.debug and sys.stdin.isatty() else None,
        snapstart=options.snapstart,
        max_concurrency=options.max_concurrency,
        extensions_dir=options.extensions_dir,
        cpu_share=options.cpu_share,
        read_only=options.read_only,
        private_network=options.private_network,
        reachable_ports=_reachable_ports(options),
        observers=[Terminal()],
    )
    return anyio.run(_serve, emulator, options)


# Megabytes, which a debugger takes beside the function.
_DEBUGGER_MEMORY = 1024


def _timeout(options: argparse.Namespace) -> float:
    """Return the limit of an invocation: with a person in between it is the longest that Lambda has."""
    if options.debug:
        return float(MAX_TIMEOUT)
    default = float(MAX_TIMEOUT) if options.only_api else 3.0
    return default if options.timeout is None else float(options.timeout)


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """Return the function's variables; our own runtime is told of a URL that streams, as one would in the cloud."""
    found = variables(options)
    if options.url_mode == "stream" and not options.runtime:
        found.setdefault("LAMBDA_RIC_INVOKE_MODE", "response_stream")
    endpoint = _aws_endpoint(options)
    if endpoint is not None:
        found.setdefault("AWS_ENDPOINT_URL", endpoint)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            found.setdefault(name, "test")  # any will do, but the SDKs want some
    return found


def _reachable_ports(options: argparse.Namespace) -> list[int]:
    """Return the ports of this machine that a private network has: what is asked for, and that of AWS's services."""
    ports: list[int] = list(options.reach)
    if options.private_network and (endpoint := _aws_endpoint(options)) is not None:
        ports.append(loopback_url(endpoint, "the endpoint").port or 80)
    return list(dict.fromkeys(ports))


def _aws_endpoint(options: argparse.Namespace) -> str | None:
    """Return where the local server of AWS services is: what the option says, else what the developer's SDKs use."""
    if options.aws_endpoint_url is not None:
        return loopback_url(options.aws_endpoint_url, "--aws-endpoint-url").geturl()
    found = os.environ.get("AWS_ENDPOINT_URL")
    try:
        return loopback_url(found, "AWS_ENDPOINT_URL").geturl() if found else None
    except ConfigurationError:
        return None


async def _serve(emulator: Emulator, options: argparse.Namespace) -> int:
    events = EventInvokeConfig(
        maximum_retry_attempts=options.retries,
        maximum_event_age=options.max_event_age,
        time_scale=options.time_scale,
        retry_after_response=options.retry_after_response,
        on_success=_destination(options.on_success, emulator, options),
        on_failure=_destination(options.on_failure, emulator, options),
        dead_letter=_destination(options.dead_letter, emulator, options),
    )
    sources = _sources(emulator, options, events.on_failure)
    with until_signal() as stopped_by:
        async with (
            emulator,
            serve(
                emulator, options.port, events=events, url_mode=options.url_mode, cors=options.cors, sources=sources
            ) as endpoint,
        ):
            write(sys.stderr, _banner(emulator, endpoint.url))
            if problem := problem_of(emulator.function):
                emulator.observers.note("init", f"{problem}; every event will fail until that is mended")
            # What is loaded stays, and what an event leaves goes by itself: there is little for the collector to do.
            gc.freeze()
            gc.set_threshold(50_000)
            await anyio.sleep_forever()
    return exit_code(stopped_by[0], "everything has")


def _cors(text: str) -> Cors:
    try:
        return Cors.read(text)
    except ConfigurationError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _destination(text: str | None, emulator: Emulator, options: argparse.Namespace) -> Destination | None:
    return None if text is None else destination(text, emulator.function.region, _aws_endpoint(options))


def _sources(
    emulator: Emulator, options: argparse.Namespace, on_failure: Destination | None
) -> list[SQSEventSource | StreamEventSource]:
    filters = [Filter.read(pattern) for pattern in options.filter]
    given = [name for name in ("sqs", "kinesis", "dynamodb") if getattr(options, name) is not None]
    if options.sqs_endpoint is not None and options.sqs is None:
        raise ConfigurationError("--sqs-endpoint needs --sqs, a queue")
    if filters and len(given) != 1:
        raise ConfigurationError("--filter needs one of --sqs, --kinesis and --dynamodb: it is about its records")
    sources: list[SQSEventSource | StreamEventSource] = []
    batching = {"batching_window": options.batch_window, "filters": filters, "note": emulator.observers.note}
    if options.batch_size is not None:
        batching["batch_size"] = options.batch_size
    if options.sqs is not None:
        sources.append(
            SQSEventSource(
                options.sqs,
                _sqs_endpoint(options),
                emulator.function,
                emulator.submit,
                concurrency=emulator.concurrency,
                **batching,
            )
        )
    for make, name in ((KinesisStream, options.kinesis), (DynamoDBStream, options.dynamodb)):
        if name is not None:
            sources.append(
                StreamEventSource(
                    make(name, _needed_endpoint(options), emulator.function.region),
                    emulator.function,
                    emulator.submit,
                    starting_position=options.starting_position,
                    maximum_retry_attempts=options.record_retries,
                    maximum_record_age=options.record_age,
                    bisect=options.bisect,
                    on_failure=on_failure,
                    **batching,
                )
            )
    return sources


def _sqs_endpoint(options: argparse.Namespace) -> str:
    if options.sqs_endpoint is not None:
        given: str = options.sqs_endpoint
        return given
    if options.aws_endpoint_url is None and options.sqs.startswith("http:"):
        return "/".join(options.sqs.split("/")[:3])
    return _needed_endpoint(options)


def _needed_endpoint(options: argparse.Namespace) -> str:
    endpoint = _aws_endpoint(options)
    if endpoint is None:
        text = "the server of the event source is not known: --aws-endpoint-url http://localhost:PORT"
        raise ConfigurationError(f"{text}, or AWS_ENDPOINT_URL; it has to be on this machine")
    return endpoint


def _debugger(emulator: Emulator) -> str:
    """Return what the banner says of breakpoints."""
    function = emulator.function
    where = ["this terminal (breakpoint())"] if sys.stdin.isatty() else []
    if not function.command and find_spec("debugpy") is not None:
        where.insert(0, f"debugpy at 127.0.0.1:{function.debug_port}")
    hint = "" if find_spec("debugpy") else "; pip install debugpy for an editor"
    return f"  debugger      {' and '.join(where) or 'none'}{hint}; no timeout, no freeze, one event at a time\n"


def _banner(emulator: Emulator, url: str) -> str:
    function = emulator.function
    if function.only_api:
        api = f"127.0.0.1:{function.runtime_api_port}"
        first = f"  Runtime API   AWS_LAMBDA_RUNTIME_API={api}   start your runtime with it\n"
        what = "whatever attaches"
    else:
        first, what = "", " ".join(filter(None, (function.handler, *function.command)))
    return (
        f"lambda-ric dev: {what}, {function.timeout:g} s, {function.memory} MB, concurrency {emulator.concurrency}\n"
        f"{first}"
        f"{_debugger(emulator) if function.debug_port else ''}"
        f"  Invoke API    {url}   boto3: endpoint_url, function name {function.name!r}\n"
        f"  function URL  {url}/lambda-url/{function.name}/\n"
        f"  page          {url}/_/\n"
        "Ctrl-C ends it.\n"
    )
