"""
The emulator beside AWS's own, RIE, with the same function, runtime and caller: `python -m tests.benchmarks.emulators`.

One caller on one connection, one environment, an empty handler on lambda_ric. A call is counted when its answer is
there; so the next one has to wait until the runtime has polled, in both.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.proofs.rie import binary
from tests.proofs.rie.emulator import PATIENCE, PAUSE, flags
from tests.support.ports import free_port

FUNCTION = Path(__file__).parent / "function"
ROOT = Path(__file__).parents[2]
REQUEST = (
    b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
RUNTIME = [sys.executable, "-m", "lambda_ric", "app.empty"]
PEER = "RIE"
WARM_UP = 200


def emulators() -> dict[str, tuple[list[str], int]]:
    """Return each emulator's command line, and the port where it is called."""
    ports = [free_port() for _ in range(3)]
    dev = [sys.executable, "-m", "lambda_ric.cli", "dev", "app.empty", "--concurrency=1", "--queue"]
    return {
        PEER: ([str(binary.path()), *flags(ports[0]), *RUNTIME], ports[0]),
        "lambda-ric dev": ([*dev, f"--port={ports[1]}"], ports[1]),
        "lambda-ric dev --no-freeze": ([*dev, f"--port={ports[2]}", "--no-freeze"], ports[2]),
    }


class Caller:
    """One connection to an emulator."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def call(self, times: int) -> float:
        """Invoke the function so many times; return the seconds of one."""
        start = time.perf_counter()
        for _ in range(times):
            self._connection.sendall(REQUEST)
            self._read()
        return (time.perf_counter() - start) / times

    def _read(self) -> None:
        answer = self._connection.recv(65536)
        while not answer.endswith(b"}"):
            more = self._connection.recv(65536)
            if not more:
                raise RuntimeError(f"the emulator hung up after {answer!r}")
            answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not an answer: {answer!r}")


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[Caller]:
    process = subprocess.Popen(
        command,
        cwd=FUNCTION,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with _connected(process, port) as connection:
            yield Caller(connection)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _connected(process: subprocess.Popen[bytes], port: int) -> socket.socket:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start: {process.args!r}") from None
            time.sleep(PAUSE)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def measure(rounds: int, calls: int) -> dict[str, float]:
    """Return the seconds of a call on each emulator: medians over rounds in which they take turns."""
    taken: dict[str, list[float]] = {}
    with ExitStack() as stack:
        callers = {name: stack.enter_context(running(*how)) for name, how in emulators().items()}
        for caller in callers.values():
            caller.call(WARM_UP)
        for number in range(rounds):
            for name in reversed(callers) if number % 2 else callers:
                taken.setdefault(name, []).append(callers[name].call(calls))
    return {name: median(values) for name, values in taken.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.emulators", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="turns of each emulator (20)")
    parser.add_argument("--calls", type=int, default=300, metavar="N", help="measured in one turn (300)")
    options = parser.parse_args(arguments)
    figures = measure(max(1, options.rounds), max(1, options.calls))
    print("| emulator | a call, µs | calls a second | ratio to RIE |\n|---|--:|--:|--:|")
    for name, seconds in figures.items():
        ratio = figures[PEER] / seconds
        print(f"| {name} | {seconds * 1e6:.0f} | {1 / seconds:.0f} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
