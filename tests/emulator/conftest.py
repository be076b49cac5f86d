"""
Stand-in runtimes: small scripts, run as real processes, that speak to the Runtime API by http.client.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any, Protocol

import pytest

from lambda_ric.emulator import Emulator

PRELUDE = """
import http.client, os, subprocess, sys, threading, time

connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None, headers={}, **options):
    connection.request(method, "/2018-06-01/runtime" + path, body, headers, **options)
    reply = connection.getresponse()
    reply.content = reply.read()
    return reply

def next_event():
    reply = call("GET", "/invocation/next")
    return reply.headers["Lambda-Runtime-Aws-Request-Id"], reply

def respond(request_id, body=b"null", headers={}, kind="response", **options):
    return call("POST", f"/invocation/{request_id}/{kind}", body, headers, **options)

def say(*words):
    print(*words, flush=True)

def tell(reply):
    say(reply.status, reply.content.decode().rstrip())

"""


class StandIn(Protocol):
    def __call__(self, script: str, **options: Any) -> Emulator: ...


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """Return an emulator whose runtime is a script; it may use the functions of the prelude."""

    def emulator(script: str, **options: Any) -> Emulator:
        (tmp_path / "runtime.py").write_text(PRELUDE + textwrap.dedent(script))
        command = [sys.executable, "-S", "runtime.py"]
        return Emulator(command=command, task_root=tmp_path, **{"timeout": 10.0, **options})

    return emulator
