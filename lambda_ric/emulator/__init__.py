"""
A Lambda environment on this machine: the second opinion on the runtime.

A function's runtime runs as a child process against a real Runtime API. The
caller has the response when it is posted, the invocation goes on until the
runtime asks for the next event, and then the process is frozen, as on Lambda:

    async with Emulator("app.handler", timeout=3) as emulator:
        answer = await emulator.invoke({"n": 1})       # the response was posted
        invocation = await answer.finished()           # the next event was asked for

The package imports `lambda_ric.protocol` and `lambda_ric.errors`, never the
client or the loop: it must not share their mistakes.
"""

from __future__ import annotations

from .emulator import BlockingEmulator, Emulator, blocking
from .function import Function
from .invocation import Answer, EmulatorError, Invocation, Span
from .lines import LogLine
from .timeline import timeline

__all__ = [
    "Answer",
    "BlockingEmulator",
    "Emulator",
    "EmulatorError",
    "Function",
    "Invocation",
    "LogLine",
    "Span",
    "blocking",
    "timeline",
]
