"""
`lambda-ric dev --debug`: a breakpoint stops in the terminal, or in the editor, for as long as somebody thinks.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.callers import client
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
WAIT = 30.0

APP = """
def handler(event, context):
    answer = event["n"] + 1
    breakpoint()
    return answer, context.get_remaining_time_in_millis() > 1_000_000
"""


class Debugged:
    """A running `lambda-ric dev --debug`, whose terminal, or what stands for one, is read as it comes."""

    def __init__(self, directory: Path, *, terminal: bool) -> None:
        self.port = free_port()
        self.text = ""
        if terminal:
            self.ours, theirs = os.openpty()
        else:
            self.ours, theirs = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lambda_ric.cli", "dev", "app.handler", "--port", "0"),
                *("--debug", "--debug-port", str(self.port)),
            ],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._url = self.until(r"Invoke API +(http://127.0.0.1:\d+)")[1]

    def until(self, pattern: str) -> re.Match[str]:
        """Read until *pattern* was written."""
        while (found := re.search(pattern, self.text)) is None:
            ready, _, _ = select.select([self.ours], [], [], WAIT)
            data = os.read(self.ours, 65536) if ready else b""
            assert data, f"{pattern!r} is not in {self.text}"
            self.text += data.decode().replace("\r\n", "\n")
        return found

    def type(self, line: str) -> None:
        os.write(self.ours, f"{line}\n".encode())

    def value(self, event: Any) -> Any:
        """Call the function as boto3 does."""
        with closing(client("lambda", self._url)) as boto:
            reply = boto.invoke(FunctionName="function", Payload=json.dumps(event).encode())
            return json.loads(reply["Payload"].read())

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT)
        os.close(self.ours)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def caller() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as caller:
        yield caller


class Editor:
    """Speaks the Debug Adapter Protocol, as far as it takes to stop and to go on."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), WAIT)
        self._file = self._connection.makefile("rwb")
        self._sent = 0

    def ask(self, command: str, **arguments: Any) -> None:
        self._sent += 1
        message = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        content = json.dumps(message).encode()
        self._file.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._file.flush()

    def until(self, kind: str) -> Any:
        """Read until the event, or the answer to the request, *kind*."""
        while True:
            length = 0
            while (line := self._file.readline()) not in (b"\r\n", b""):
                length = int(line.partition(b":")[2])
            message = json.loads(self._file.read(length))
            if kind in (message.get("event"), message.get("command")):
                return message.get("body") if message.get("success", True) else pytest.fail(str(message))

    def attach(self) -> None:
        self.ask("initialize", adapterID="test", clientID="test")
        self.until("initialize")
        self.ask("attach", justMyCode=False)
        self.until("initialized")
        self.ask("configurationDone")
        self.until("attach")

    def close(self) -> None:
        self._file.close()
        self._connection.close()


def test_breakpoint_stops_in_the_terminal(app: Path, caller: ThreadPoolExecutor) -> None:
    """
    The banner says so; what is typed there is read by the debugger, and the timeout strikes nobody.
    """
    with closing(Debugged(app, terminal=True)) as debugged:
        banner = debugged.until(r"debugger +(.*)\n")[1]
        value = caller.submit(debugged.value, {"n": 16})
        debugged.until(r"\(Pdb\) ")
        debugged.type("answer = answer * 2")
        debugged.type("p 'it is', answer")
        debugged.until(r"\('it is', 34\)\n")
        debugged.type("continue")

        assert value.result(WAIT) == [34, True]

    assert banner == (
        f"debugpy at 127.0.0.1:{debugged.port} and this terminal (breakpoint());"
        " no timeout, no freeze, one event at a time"
    )


def test_breakpoint_stops_in_the_editor(app: Path, caller: ThreadPoolExecutor) -> None:
    """
    Without a terminal it waits until one is; after a reload the editor finds the new process at the same place.
    """
    with closing(Debugged(app, terminal=False)) as debugged:
        for number, expected in enumerate((17, 18), 1):
            value = caller.submit(debugged.value, {"n": 16})
            debugged.until(r"a breakpoint waits for a debugger[\s\S]*" * number)
            with closing(Editor(debugged.port)) as editor:
                editor.attach()
                thread = editor.until("stopped")["threadId"]
                editor.ask("stackTrace", threadId=thread, levels=1)
                (frame,) = editor.until("stackTrace")["stackFrames"]
                editor.ask("evaluate", expression="answer", frameId=frame["id"])
                seen = editor.until("evaluate")["result"]
                editor.ask("continue", threadId=thread)

                assert (frame["name"], seen) == ("handler", str(expected))
                assert value.result(WAIT) == [expected, True]
            (app / "app.py").write_text(APP.replace("+ 1", "+ 2"))
