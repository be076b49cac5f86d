"""
What stands around a function in a test: callers, a clock, environments that follow a script, a real SQS server.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import boto3
from anyio.from_thread import start_blocking_portal
from botocore.config import Config
from moto.server import ThreadedMotoServer

from lambda_ric.emulator import Emulator
from lambda_ric.emulator.callers.endpoint import Endpoint, serve
from lambda_ric.emulator.callers.event_queue import EventInvokeConfig
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import ThrottledError
from lambda_ric.emulator.http.messages import JSON

REGION = "us-east-1"
ARN = "arn:aws:lambda:us-east-1:012345678912:function:function"


def client(service: str, url: str) -> Any:
    """Return boto3's client of *service* at *url*, as users have it, but without retries."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, read_timeout=20),
    )


class Notes:
    """Takes notes, and keeps them."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.first = anyio.Event()
        """Set with the first one."""

    def __call__(self, kind: str, text: str, invocation: Invocation | None) -> None:
        self.taken.append((kind, text))
        self.first.set()

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.taken]

    def __str__(self) -> str:
        return "\n".join(text for _, text in self.taken)


class Time:
    """A clock that only sleepers move."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.slept.append(seconds)
        self.now += seconds


Step = Callable[[Invocation], None]


@dataclass
class Scripted:
    """Stands for the environments: brings each invocation to the end that the next step of *script* says."""

    script: list[Step]
    seen: list[Invocation] = field(default_factory=list)

    def __call__(self, invocation: Invocation) -> None:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        step(invocation)
        self.seen.append(invocation)


def succeeds(payload: Any = None) -> Step:
    """Answer with *payload*."""

    def step(invocation: Invocation) -> None:
        invocation.start(invocation.requested_at, 3)
        encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        invocation.delivery.respond(invocation.started_at, encoded, JSON)
        invocation.finish()

    return step


def fails(message: str = "no") -> Step:
    """Answer with an error."""

    def step(invocation: Invocation) -> None:
        invocation.start(invocation.requested_at, 3)
        document = json.dumps({"errorType": "ValueError", "errorMessage": message}).encode()
        invocation.delivery.respond(invocation.started_at, document, JSON, "ValueError")
        invocation.finish()

    return step


def times_out_after_the_response(invocation: Invocation) -> None:
    """Answer well, and go on for too long."""
    invocation.start(invocation.requested_at, 3)
    invocation.delivery.respond(invocation.started_at, b'"fine"', JSON)
    invocation.fail(invocation.started_at, Failure("Sandbox.Timedout", "Task timed out after 3.00 seconds"))
    invocation.finish()


def throttled(invocation: Invocation) -> None:
    """Have no environment."""
    raise ThrottledError("no environment")


@asynccontextmanager
async def _serving(emulator: Emulator, config: EventInvokeConfig | None, opened: bool) -> AsyncIterator[Endpoint]:
    async with AsyncExitStack() as stack:
        if opened:
            await stack.enter_async_context(emulator)
        yield await stack.enter_async_context(serve(emulator, events=config))


@contextmanager
def served(
    emulator: Emulator, config: EventInvokeConfig | None = None, *, opened: bool = True
) -> Iterator[tuple[Endpoint, Callable[..., Any]]]:
    """Serve *emulator* beside the test; yield where, and a function that runs async ones there."""
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(_serving(emulator, config, opened)) as endpoint:
            yield endpoint, portal.call


@contextmanager
def sqs_server() -> Iterator[str]:
    """Start moto's server; yield its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
