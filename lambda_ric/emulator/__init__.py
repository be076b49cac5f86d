"""
A Lambda environment on this machine: the second opinion on the runtime.

A function's runtime runs as a child process against a real Runtime API. The
caller has the response when it is posted, the invocation goes on until the
runtime asks for the next event, and then the process is frozen, as on Lambda:

    async with Emulator("app.handler", timeout=3) as emulator:
        answer = await emulator.invoke({"n": 1})       # the response was posted
        invocation = await answer.finished()           # the next event was asked for

With `serve`, boto3, the AWS CLI, curl and a browser are callers as well.

The package imports `lambda_ric.protocol` and `lambda_ric.errors`, never the
client or the loop: it must not share their mistakes.
"""

from __future__ import annotations

from .callers.cors import Cors
from .callers.destinations import Destination, destination
from .callers.endpoint import Endpoint, serve
from .callers.event_queue import EventInvokeConfig
from .callers.event_source import SQSEventSource
from .callers.event_stream import Decoder, EventStreamError
from .callers.filters import Filter
from .callers.loopback import loopback_url
from .callers.stream_source import StreamEventSource
from .callers.streams import DynamoDBStream, KinesisStream
from .emulator import Emulator
from .event.invocation import Answer, Invocation
from .event.log_line import LogLine
from .event.observer import Observer
from .event.refusals import EmulatorError, ThrottledError
from .event.span import Span
from .event.timeline import GLYPHS, timeline
from .function.examples import example, example_names
from .function.function import Function
from .function.lookup import problem_of
from .function.variables import RESERVED, read_env_file
from .http.json_text import read_json
from .in_thread import BlockingEmulator, in_thread

blocking = in_thread
"""The name that `in_thread` had, before `lambda_ric.blocking` was another thing."""

__all__ = [
    "GLYPHS",
    "RESERVED",
    "Answer",
    "BlockingEmulator",
    "Cors",
    "Decoder",
    "Destination",
    "DynamoDBStream",
    "Emulator",
    "EmulatorError",
    "Endpoint",
    "EventInvokeConfig",
    "EventStreamError",
    "Filter",
    "Function",
    "Invocation",
    "KinesisStream",
    "LogLine",
    "Observer",
    "SQSEventSource",
    "Span",
    "StreamEventSource",
    "ThrottledError",
    "blocking",
    "destination",
    "example",
    "example_names",
    "in_thread",
    "loopback_url",
    "problem_of",
    "read_env_file",
    "read_json",
    "serve",
    "timeline",
]
