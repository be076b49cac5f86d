"""
AWS's runtime interface emulator (RIE) as a running process, and the requests that a caller makes to it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

PATIENCE = 20.0  # seconds after which what should happen has failed to
PAUSE = 0.01  # seconds between two looks at something that sends no event


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller of a function gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running RIE."""

    port: int
    log_file: Path

    def invoke(self, event: object) -> Answer:
        """Invoke the function and return when its caller is answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def invoke_when_idle(self, event: object) -> Answer:
        """Invoke the function as soon as managed instances, which refuse until then, can take an event."""
        until = time.monotonic() + PATIENCE
        while (answer := self.invoke(event)).headers.get("Error-Type") == "Runtime.Unavailable":
            if time.monotonic() > until:
                break
            time.sleep(PAUSE)
        return answer

    def wait_for(self, text: str) -> None:
        """Wait until *text* is in the log, which the emulator writes beside the answer."""
        until = time.monotonic() + PATIENCE
        while text not in self.log:
            assert time.monotonic() < until, self.log
            time.sleep(PAUSE)

    @property
    def log(self) -> str:
        """All that the emulator and the runtime have written so far."""
        return self.log_file.read_text()


def flags(port: int) -> list[str]:
    """Return the options that make the RIE listen for callers on *port*, and for its runtime on another."""
    return [
        f"--runtime-interface-emulator-address=127.0.0.1:{port}",
        f"--runtime-api-address=127.0.0.1:{free_port()}",
    ]


@contextmanager
def running(
    command: Sequence[str], *, port: int, environ: Mapping[str, str], directory: Path, log_file: Path
) -> Iterator[Emulator]:
    """
    Start an emulator with *command*, which makes it listen on *port*, and end it with all its processes.
    """
    mark = f"RIE_TEST={uuid.uuid4()}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**environ, **dict([mark.split("=")])},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_listens(process, port, log_file)
        yield Emulator(port, log_file)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            survivors = _end_all_with(mark.encode())
    assert not survivors, f"the emulator left processes behind: {survivors}"


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the emulator did not start:\n{log_file.read_text()}") from None
            time.sleep(PAUSE)
        else:
            return


def _end_all_with(mark: bytes) -> list[str]:
    """Kill the processes that have *mark* in their environment, and return their command lines."""
    killed = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (directory / "environ").read_bytes().split(b"\0"):
                killed.append((directory / "cmdline").read_text().replace("\0", " "))
                os.kill(int(directory.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or not ours
    return killed
