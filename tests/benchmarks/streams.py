"""
Streamed responses beside the floor, a loop of `sendall`: `python -m tests.benchmarks.streams`.

The other end is a socket that reads as fast as it can, on a core of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from .environment import ACCEPTED, API_CORE, ARN, PATIENCE, RUNTIME_CORE
from .runtimes import FUNCTION, OURS, Runtime

FLOOR = Runtime("raw sendall", "tests.benchmarks.raw_stream")
EVENT = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 1\r\n"
    f"Lambda-Runtime-Deadline-Ms: %d\r\nLambda-Runtime-Invoked-Function-Arn: {ARN}\r\nContent-Length: 2\r\n\r\n{{}}"
)
END = b"0\r\n\r\n"


class Stream:
    """A runtime's process and the connection that it has made."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._request()

    def invoke(self, arrived: Callable[[bytes, int], None]) -> None:
        """Send an event; call *arrived* with all that comes of the response, and when."""
        self._connection.sendall((EVENT % int((time.time() + 900) * 1000)).encode())
        tail = b""
        while not tail.endswith(END):
            data = self._connection.recv(1 << 20)
            if not data:
                raise RuntimeError("the runtime hung up")
            arrived(data, time.perf_counter_ns())
            tail = tail[-8:] + data[-8:]
        self._connection.sendall(ACCEPTED)
        self._request()

    def _request(self) -> None:
        while not self._connection.recv(65536).endswith(b"\r\n\r\n"):
            pass

    def peak(self) -> int:
        """Return the most memory that the process has ever held, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextmanager
def running(runtime: Runtime, handler: str, bytecode: str) -> Iterator[Stream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        os.sched_setaffinity(0, RUNTIME_CORE)  # the child inherits it
        process = subprocess.Popen(
            runtime.command(handler),
            cwd=FUNCTION,
            env=runtime.environment(address, handler, bytecode),
            stdout=subprocess.DEVNULL,
        )
        os.sched_setaffinity(0, API_CORE)
        try:
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection:
                yield Stream(process, connection)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def latencies(stream: Stream) -> list[float]:
    """Return the microseconds from each `yield` to the arrival of what it gave; the first is the first byte's."""
    took: list[float] = []

    def arrived(data: bytes, at: int) -> None:
        took.extend((at - int(said)) / 1e3 for said in re.findall(rb"^(\d{10,})$", data, re.MULTILINE))

    stream.invoke(arrived)
    return took


def seconds(stream: Stream) -> tuple[float, int]:
    """Return how long all of the response took, and its bytes on the wire."""
    size = 0

    def arrived(data: bytes, at: int) -> None:
        nonlocal size
        size += len(data)

    started = time.perf_counter()
    stream.invoke(arrived)
    return time.perf_counter() - started, size


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.streams", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (10)")
    rounds = parser.parse_args(arguments).rounds
    print("| | lambda_ric | lambda_ric, `async` | raw `sendall` |\n|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="lambda-ric-bytecode-") as bytecode:
        ticks = [
            _ticks(runtime, handler, rounds, bytecode)
            for runtime, handler in ((OURS, "ticking"), (OURS, "ticking_async"), (FLOOR, "ticking"))
        ]
        for title, index in (("first byte, from its `yield` to the other end", 0), ("every later piece", 1)):
            _row(title, [f"{each[index]:.0f} µs" for each in ticks])
        blocks = [
            _blocks(runtime, handler, rounds, bytecode)
            for runtime, handler in ((OURS, "blocks"), (OURS, "blocks_async"), (FLOOR, "blocks"))
        ]
        _row("200 MB in pieces of 64 KB", [f"{200 / took:.0f} MB/s" for took, _ in blocks])
        _row("the process grows by", [f"{grown / 1e6:.1f} MB" for _, grown in blocks])
        rows = [_blocks(runtime, "rows", rounds, bytecode) for runtime in (OURS, FLOOR)]
        _row("300,000 rows of 20 bytes", [f"{rows[0][0]:.2f} s", "", f"{rows[1][0]:.2f} s"])
    return 0


def _ticks(runtime: Runtime, handler: str, rounds: int, bytecode: str) -> tuple[float, float]:
    with running(runtime, f"streams.{handler}", bytecode) as stream:
        latencies(stream)
        taken = [latencies(stream) for _ in range(rounds)]
    return median(took[0] for took in taken), median(later for took in taken for later in took[1:])


def _blocks(runtime: Runtime, handler: str, rounds: int, bytecode: str) -> tuple[float, int]:
    with running(runtime, f"streams.{handler}", bytecode) as stream:
        before = stream.peak()
        taken = [seconds(stream)[0] for _ in range(rounds)]
        return median(taken), stream.peak() - before


def _row(title: str, cells: Sequence[str]) -> None:
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
