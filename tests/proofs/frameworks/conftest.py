"""One application, served by a server and as a function: each in a process of its own, reached over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lambda_ric.emulator import Emulator, LogLine, in_thread
from lambda_ric.emulator.function.examples import example
from tests.conftest import CLEAN_ENVIRONMENT, ROOT

# Headers such as Allow are made of sets.
SAME_ORDER = {"PYTHONHASHSEED": "0"}

UVICORN = """
import importlib, socket, sys, uvicorn

module, name, listening = sys.argv[1:]
app = getattr(importlib.import_module(f"tests.proofs.frameworks.apps.{module}"), name)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([socket.socket(fileno=int(listening))])
"""

WSGIREF = """
import importlib, socket, sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

module, name, listening = sys.argv[1:]
server = WSGIServer(("127.0.0.1", 0), WSGIRequestHandler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=int(listening))
server.server_name, server.server_port = server.socket.getsockname()
server.setup_environ()
server.set_app(getattr(importlib.import_module(f"tests.proofs.frameworks.apps.{module}"), name))
server.serve_forever()
"""

FUNCTION = """
from {package} import {wrapper}
from tests.proofs.frameworks.apps.{module} import {name}

handler = {wrapper}({name})
"""


@dataclass(frozen=True)
class App:
    """An application of the directory `apps`, what serves it in Lambda, and the Python with its framework."""

    module: str
    name: str = "app"
    wrapper: str = "ASGIHandler"
    python: str = sys.executable

    @property
    def function(self) -> str:
        """The source of the function; its handler is `handler`."""
        package = {"ASGIHandler": "lambda_ric.asgi", "WSGIHandler": "lambda_ric.wsgi", "Mangum": "mangum"}[self.wrapper]
        return FUNCTION.format(package=package, **vars(self))

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Job:
    """The two named pipes by which `apps/job.py` waits for the test, and the test for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        os.mkfifo(directory / "go-on")
        os.mkfifo(directory / "done")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait until the job runs; it waits until the end of the block."""
        with (self.directory / "go-on").open("w"):
            yield

    def said(self) -> str:
        """Return what the job says at its end."""
        return (self.directory / "done").read_text()


@dataclass(frozen=True)
class Server:
    """Where an application is served, and its job."""

    client: httpx.Client
    job: Job


@contextmanager
def under_server(app: App, directory: Path) -> Iterator[Server]:
    """Serve *app* with the server of reference: uvicorn, or wsgiref."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = WSGIREF if app.wrapper == "WSGIHandler" else UVICORN
        command = [app.python, "-c", server, app.module, app.name, str(listening.fileno())]
        process = subprocess.Popen(
            command,
            env={**CLEAN_ENVIRONMENT, **SAME_ORDER, "JOB_DIRECTORY": str(directory)},
            stderr=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
        )
        try:
            # Connections wait in the backlog until it accepts.
            with _client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                yield Server(client, Job(directory))
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def as_function(app: App, directory: Path, mode: str) -> Iterator[Server]:
    """Serve *app* as a function behind its URL, whose invoke mode is *mode*."""
    url_mode = "stream" if mode == "response_stream" else "buffered"
    emulator = emulator_of(app.function, directory, python=app.python, LAMBDA_RIC_INVOKE_MODE=mode)
    with in_thread(emulator) as running, running.serve(url_mode=url_mode) as endpoint:
        with _client(endpoint.url) as client:
            yield Server(client, Job(directory))


def emulator_of(
    source: str,
    directory: Path,
    runtime: str = "lambda_ric",
    python: str = sys.executable,
    on_log: Callable[[LogLine], None] | None = None,
    **environment: str,
) -> Emulator:
    """Return an emulator of the function with *source*, whose applications find their named pipes in *directory*."""
    (directory / "on_lambda.py").write_text(source)
    return Emulator(
        "on_lambda.handler",
        command=[python, "-m", runtime, "on_lambda.handler"],
        task_root=directory,
        timeout=120,
        memory=512,  # TiTiler, with GDAL, takes more than the default of 128 MB
        environment={"PYTHONPATH": str(ROOT), "JOB_DIRECTORY": str(directory), **SAME_ORDER, **environment},
        queue=True,
        on_log=on_log,
    )


def event(line: str) -> dict[str, Any]:
    """Return the event of a function URL for the request *line*, which has no body."""
    method, target = line.split(" ", 1)
    path, _, query = target.partition("?")
    event: dict[str, Any] = json.loads(example("function-url"))
    event |= {"rawPath": path, "rawQueryString": query, "body": ""}
    event["headers"]["content-length"] = "0"
    event["requestContext"]["http"] |= {"method": method, "path": path}
    return event


def _client(url: str) -> httpx.Client:
    # Links that an application builds have the host, and so are the same. A connection serves one request: uvicorn
    # closes it, some time later, when an application fails behind its response.
    return httpx.Client(
        base_url=url,
        headers={"host": "app.example.org", "accept-encoding": "gzip"},
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=120,
        trust_env=False,
    )


Serve = Callable[[App], dict[str, Server]]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return what serves an application, by a server and as a function of both invoke modes; all go on to the end."""
    running: dict[App, dict[str, Server]] = {}
    with ExitStack() as stack:

        def serve(app: App) -> dict[str, Server]:
            if app not in running:
                running[app] = {"server": stack.enter_context(under_server(app, tmp_path_factory.mktemp("server")))}
                for mode in ("buffered", "response_stream"):
                    directory = tmp_path_factory.mktemp(mode)
                    running[app][mode] = stack.enter_context(as_function(app, directory, mode))
            return running[app]

        yield serve
