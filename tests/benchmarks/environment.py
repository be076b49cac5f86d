"""
One execution environment: a runtime's process, and the fake Runtime API that only this process talks to.

The API is one blocking socket and replies that are built before the clock starts, so that what is measured is
the runtime. What it sends is what AWS's own server sends, to the letter where it can matter to a client.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lambda_ric.protocol import EXTENSIONS_API

from .cases import Case
from .runtimes import FUNCTION, Runtime

PATIENCE = 60
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:orders"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 02:05:01 GMT\r\n"
    b'Content-Length: 16\r\n\r\n{"status":"OK"}\n'
)
REGISTERED = b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 7f3c0c4e\r\nContent-Length: 2\r\n\r\n{}"
# Go's net/http, which Lambda's server is built on, frames a body as chunks when it is longer than this.
LONGEST_UNCHUNKED = 2048

CORES = sorted(os.sched_getaffinity(0))
API_CORE, RUNTIME_CORE = {CORES[0]}, {CORES[-1]}


class RuntimeFailedError(Exception):
    """A runtime ended, fell silent or answered wrongly: there is nothing to measure."""


@dataclass(slots=True)
class Times:
    """Nanoseconds per invocation, and the processor time of all of them, in seconds."""

    answer_ns: list[int] = field(default_factory=list)
    next_ns: list[int] = field(default_factory=list)
    cpu: float = 0.0


class Environment:
    """
    Start *runtime* on the case's handler and bring it to its first `GET next`.

    The calling process is pinned to the API's core from then on. Bytecode is read from and written to
    *bytecode*: the first start with a new directory compiles everything, and is not the one to measure.
    """

    def __init__(self, runtime: Runtime, case: Case, bytecode: str) -> None:
        self.runtime = runtime
        self.case = case
        self.first_next_ns = 0
        self.first_rss = 0
        self._bytecode = bytecode
        self._count = 0
        self._event = _framed(json.dumps(case.event or {}, separators=(",", ":")).encode())
        self._deadline_ms = int(time.time() * 1000) + 900_000

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connection, self._extension = socket.socket(), socket.socket()
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        command = self.runtime.command(self.case.handler)
        environ = self.runtime.environment(address, self.case.handler, self._bytecode)
        os.sched_setaffinity(0, RUNTIME_CORE)  # the child inherits it
        started = time.perf_counter_ns()
        self._process = subprocess.Popen(
            command, cwd=FUNCTION, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        os.sched_setaffinity(0, API_CORE)
        os.close(output)
        self._exit = os.pidfd_open(self._process.pid)
        try:
            self._accept()
            request, received = self._request()
            if request.startswith(b"POST " + EXTENSIONS_API.encode()):
                self._register()
                _, received = self._request()
        except BaseException:
            self.close()
            raise
        self.first_next_ns = received - started
        self.first_rss = self.rss()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, as Lambda does: it is not asked."""
        signal.pidfd_send_signal(self._exit, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._extension.close()
        self._listener.close()
        os.close(self._output)
        os.close(self._exit)

    # Invoking...

    def invoke(self, count: int) -> Times:
        """
        Send *count* events, one after the other; return when the runtime has asked for the next one.

        The clock runs from the end of a send to the end of the recv that completes the request: the work of
        the API itself, the same for every runtime, is left out.
        """
        times = Times()
        now, request = time.perf_counter_ns, self._request
        cpu = self._cpu()
        for _ in range(count):
            event = self._next_reply(self._event)
            self._connection.sendall(event)
            sent = now()
            answer, answered = request()
            self._connection.sendall(ACCEPTED)
            accepted = now()
            _, asked = request()
            times.answer_ns.append(answered - sent)
            times.next_ns.append(asked - accepted)
            self._read_logs()
        times.cpu = self._cpu() - cpu
        if count:
            self._check(answer)
        return times

    def ask(self, event: Any) -> Any:
        """Invoke the function once with *event*, and return its answer."""
        self._connection.sendall(self._next_reply(_framed(json.dumps(event).encode())))
        answer, _ = self._request()
        self._connection.sendall(ACCEPTED)
        self._request()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def _next_reply(self, framed: bytes) -> bytes:
        self._count += 1
        number = self._count
        return (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {number:08x}-84d8-4ea3-a83c-605bb8d0ca5c\r\n"
            f"Lambda-Runtime-Deadline-Ms: {self._deadline_ms}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {ARN}\r\n"
            f"Lambda-Runtime-Trace-Id: Root=1-6740a1b2-{number:024x};Parent={number:016x};Sampled=0\r\n"
            f"Lambda-Runtime-Invocation-Id: {number:08x}-6a55-4c1d-9d3f-0c2b8e7f1a90\r\n"
            "Date: Sat, 21 Nov 2026 02:05:01 GMT\r\n"
        ).encode() + framed

    def _check(self, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        answer: Any = {} if self.case.streamed else json.loads(body)
        expected = f"{self._count:08x}-84d8-4ea3-a83c-605bb8d0ca5c/{self.case.endpoint}"
        contained = isinstance(answer, dict) and self.case.answer.items() <= answer.items()
        if not (contained and path.endswith(expected)):
            raise self._failure(f"posted {answer} to {path}, expected {self.case.answer} to …/{expected}")

    def _register(self) -> None:
        """Take the process as an extension, too, which gets no events, and accept its other connection."""
        self._connection.sendall(REGISTERED)
        self._request()
        self._extension, self._connection = self._connection, socket.socket()
        self._accept()

    # Reading requests...

    def _request(self) -> tuple[bytes, int]:
        """Return one whole request, and the moment when its last byte was here."""
        request = b""
        while True:
            try:
                received = self._connection.recv(65536)
            except BlockingIOError:
                raise self._failure(f"said nothing for {PATIENCE} s") from None
            moment = time.perf_counter_ns()
            if not received:
                self._accept()
                continue
            request += received
            if _is_whole(request):
                return request, moment

    def _accept(self) -> None:
        """Wait for a connection in place of the last one, as long as the runtime lives."""
        self._connection.close()
        ready, _, _ = select.select([self._listener.fileno(), self._exit], [], [], PATIENCE)
        if self._listener.fileno() not in ready:
            raise self._failure("ended" if ready else f"did not connect within {PATIENCE} s")
        self._connection, _ = self._listener.accept()
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Python's own timeout would poll() before every recv, and be part of what is measured.
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE, 0))

    def _failure(self, what: str) -> RuntimeFailedError:
        logs = self._read_logs().decode(errors="replace").replace("\r", "\n").strip()
        return RuntimeFailedError(f"{self.runtime.name}, {self.case.title}: {what}. Last output:\n{logs}")

    # Looking at the process from outside...

    def _cpu(self) -> float:
        # The clock of another process, to the nanosecond where /proc/<pid>/stat counts ticks of 10 ms: what
        # clock_getcpuclockid(3) returns on Linux, which Python does not offer.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def _read_logs(self) -> bytes:
        try:
            return os.read(self._output, 1 << 20)
        except BlockingIOError:
            return b""

    def rss(self) -> int:
        """Return the resident memory in bytes."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/task"))


def _framed(event: bytes) -> bytes:
    if len(event) > LONGEST_UNCHUNKED:
        return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(event), event)
    return b"Content-Length: %d\r\n\r\n%b" % (len(event), event)


def _is_whole(request: bytes) -> bool:
    head, blank_line, body = request.partition(b"\r\n\r\n")
    if not blank_line:
        return False
    if b"\r\nTransfer-Encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = CONTENT_LENGTH.search(head)
    return len(body) >= (int(length[1]) if length else 0)
