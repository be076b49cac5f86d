"""
What the probe is told to do: steps as values, and the place where it finds them and leaves what it heard.
"""

from __future__ import annotations

import json
import os
import select
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.proofs.rie import probe
from tests.proofs.rie.emulator import PATIENCE

LIMIT = 6 * 1024 * 1024 + 100  # bytes of a response
RUNTIME = probe.RUNTIME
EXTENSION = "/2020-01-01/extension"

Step = Mapping[str, Any]


def call(method: str, path: str, **details: Any) -> Step:
    """Send a request; a body that is a number is so many bytes, *on* names the connection."""
    return {"call": [method, path], **details}


def poll(**details: Any) -> Step:
    """Ask for the next event; *name* is what its id is called in the steps that follow."""
    return call("GET", f"{RUNTIME}/invocation/next", **details)


def respond(body: str | int = '"done"', *, to: str = "<id>", **details: Any) -> Step:
    """Respond to an event, the latest one unless it is named."""
    return call("POST", f"{RUNTIME}/invocation/{to}/response", body=body, **details)


def fail(body: str | int = '{"errorMessage":"no"}', *, to: str = "<id>", **details: Any) -> Step:
    """Answer an event with an error."""
    return call("POST", f"{RUNTIME}/invocation/{to}/error", body=body, **details)


def give_up(body: str = '{"errorMessage":"no database","errorType":"Sad"}', **details: Any) -> Step:
    """Post an init error."""
    return call("POST", f"{RUNTIME}/init/error", body=body, **details)


def register(*events: str, extension: str = "one", **details: Any) -> Step:
    """Register an extension; its id is in the header of the steps that follow."""
    body = json.dumps({"events": events})
    headers = {"Lambda-Extension-Name": extension} if extension else {}
    return call("POST", f"{EXTENSION}/register", **{"body": body, "headers": headers, **details})


def extend(method: str, path: str, identifier: str = "<extension>", **details: Any) -> Step:
    """Make another request of an extension; an error type is there for those that want one."""
    headers = {"Lambda-Extension-Function-Error-Type": "Extension.Sad"}
    if identifier:
        headers["Lambda-Extension-Identifier"] = identifier
    return call(method, f"{EXTENSION}/{path}", **{"headers": headers, **details})


def cut_short(post: Step, head_and_body: str) -> Step:
    """Send the beginning of *post* on a connection of its own, and then no more."""
    return {**post, "cut": head_and_body}


def read(connection: str, **details: Any) -> Step:
    """Read the reply to a request that was sent with ``wait=False``."""
    return {"read": connection, **details}


def end(code: int) -> Step:
    """Exit with *code*, or by a signal where it is negative."""
    return {"end": code}


def hang() -> Step:
    """Do nothing more."""
    return {"hang": True}


class Probe:
    """The probe in its directory."""

    def __init__(self, path: Path, steps: int, transcript: int) -> None:
        self.path = path
        self._steps = steps
        self._transcript = transcript
        self._read = b""

    def wait(self) -> None:
        """Wait until all steps were taken."""
        while self._read.count(b"\n") < self._steps:
            ready, _, _ = select.select([self._transcript], [], [], PATIENCE)
            assert ready, f"of {self._steps} steps only these were taken:\n{self._read.decode()}"
            self._read += os.read(self._transcript, 65536)

    def replies(self) -> list[Any]:
        """Return what came of each step: a reply, or None where there was none to come."""
        self.wait()
        return [json.loads(line) for line in self._read.splitlines()[: self._steps]]


@contextmanager
def told_to(steps: Sequence[Step], directory: Path) -> Iterator[Probe]:
    """Provide a probe in *directory* that takes *steps*."""
    directory.mkdir(exist_ok=True)
    path = directory / "probe.py"
    shutil.copy(probe.__file__, path)
    (directory / "steps.json").write_text(json.dumps(steps))
    transcript = directory / "transcript"
    os.mkfifo(transcript)
    transcript.chmod(0o666)  # by whoever runs it
    # For writing as well, so that there is always a reader, and never an end.
    descriptor = os.open(transcript, os.O_RDWR)
    try:
        yield Probe(path, len(steps), descriptor)
    finally:
        os.close(descriptor)
