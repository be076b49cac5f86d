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

from .blocking import BlockingEmulator, blocking
from .destinations import destination
from .emulator import Emulator
from .endpoint import Endpoint, serve
from .event_queue import EventInvokeConfig
from .event_source import SQSEventSource
from .function import Function
from .invocation import Answer, EmulatorError, Invocation, Span, ThrottledError
from .lines import LogLine
from .observer import Observer
from .timeline import timeline

__all__ = [
    "Answer",
    "BlockingEmulator",
    "Emulator",
    "EmulatorError",
    "Endpoint",
    "EventInvokeConfig",
    "Function",
    "Invocation",
    "LogLine",
    "Observer",
    "SQSEventSource",
    "Span",
    "ThrottledError",
    "blocking",
    "destination",
    "serve",
    "timeline",
]
