"""
The faults of the Runtime API: what it can do instead of its reply, once, to one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from tests.support.fakes import ACCEPTED, Event, Request, reply

from .observing import LONG, Observed, Platform, observe

Reply = Callable[[Platform, Request], "bytes | None"]


class Call(NamedTuple):
    """One call: what its path ends with, and where it comes from."""

    title: str
    path: str
    place: str
    event: str | None = None


CALLS = {
    "next": Call("the poll that is to bring the event", "/invocation/next", "handler"),
    "response": Call("the post of a response", "/response", "handler"),
    "streamed": Call("the post of a streamed response", "/response", "stream"),
    "error": Call("the post of an error", "/error", "handler", "exception"),
    "init_error": Call("the post of an init error", "/init/error", "importing"),
}
WAIT = 3.0


class ReplyFault(NamedTuple):
    """One way to reply."""

    title: str
    reply: Reply


REPLIES: dict[str, ReplyFault] = {}


def fault(title: str) -> Callable[[Reply], None]:
    """Add a function to the faults; it returns what is sent, or None for the reply as it should be."""

    def add(answer: Reply) -> None:
        REPLIES[answer.__name__] = ReplyFault(title, answer)

    return add


@fault("the Runtime API is gone: connections are refused from now on")
def refused(platform: Platform, request: Request) -> bytes:
    platform.refuse()
    return b""


@fault("the connection is closed without a reply")
def closed(platform: Platform, request: Request) -> bytes:
    return b""


@fault("the reply is slow")
def slow(platform: Platform, request: Request) -> None:
    time.sleep(0.2)


@fault("the reply ends within its head")
def truncated_head(platform: Platform, request: Request) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Le"


@fault("the reply ends within its body")
def truncated_body(platform: Platform, request: Request) -> bytes:
    # Lambda hands an event out again to whoever asks before it was answered.
    whole = platform.usual(request, counts=False)
    return whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)[:-2]


@fault("the reply comes twice")
def duplicated(platform: Platform, request: Request) -> bytes:
    return platform.usual(request) * 2


@fault("the reply is that to another call")
def out_of_order(platform: Platform, request: Request) -> bytes:
    return ACCEPTED if request.method == "GET" else Event("another").encode()


@fault("the reply is none of HTTP")
def garbage(platform: Platform, request: Request) -> bytes:
    return b"\x00\xff\r\n\r\n\x15\x03\x01 connection: close"


@fault("the reply has the status 403")
def forbidden(platform: Platform, request: Request) -> bytes:
    return reply(403, b'{"errorType": "InvalidStateTransition"}', Content_Type="application/json")


@fault("the reply has the status 413")
def too_large(platform: Platform, request: Request) -> bytes:
    return reply(413, b'{"errorType": "RequestEntityTooLarge"}', Content_Type="application/json")


@fault("the reply has the status 500")
def broken(platform: Platform, request: Request) -> bytes:
    return reply(500, b'{"errorType": "Internal"}', Content_Type="application/json")


def observe_reply(runtime: str, name: str, fault: str) -> Observed:
    """Reply to the first call *name* with *fault*; say what came of the event that it was about."""
    call = CALLS[name]
    struck: list[Request] = []

    def answer(platform: Platform, request: Request) -> bytes | None:
        if struck or not request.path.endswith(call.path):
            return None
        struck.append(request)
        return REPLIES[fault].reply(platform, request)

    events = [Event(call.event, timeout=WAIT), Event(None, timeout=WAIT)]
    handler = f"{call.place}.handler"
    (observed,) = observe(runtime, handler, events, init=LONG, intercept=answer, env={"FAULT": "exception"})
    return observed
