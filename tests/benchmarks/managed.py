"""
Many events at once in one environment, as on Lambda Managed Instances: this package's modes beside AWS's processes.

A Runtime API that answers every poll at once holds all slots busy with a handler that waits 50 ms. The runtimes take
turns; the figures are medians over the rounds, and of the throughput the best round: what else runs on the machine only
takes away from that. CPU time and memory (the proportional set size, in which pages that are
shared count once) are those of all processes of a runtime together. Then every mode writes many log lines, and each is
looked at: does it name the invocation that has written it?

    python -m tests.benchmarks.managed [--slots N] [--rounds N] [--seconds S] [--lines N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.runtimes import OURS, PEER

_WARM_UP = 1.0
"""Seconds from the moment at which all slots are busy until the clock starts."""
_A_LOOK = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to serve many events at once."""

    name: str
    module: str
    handler: str
    chatty: str
    word: str = ""


AWS = Mode("awslambdaric", PEER.module, "waiting.handler", "waiting.chatty")
MODES = [
    Mode("process", OURS.module, "waiting.handler", "waiting.chatty", "process"),
    Mode("thread", OURS.module, "waiting.handler", "waiting.chatty", "thread"),
    Mode("async", OURS.module, "waiting.async_handler", "waiting.async_chatty"),
]
TARGETS = {
    "async": {"throughput": (1.0, "at least"), "memory": (0.2, "at most"), "cpu": (0.5, "at most")},
    "thread": {"memory": (0.3, "at most")},
}


class _RuntimeAPI:
    """The far side: it has an event for every poll, as long as *wanted* says so."""

    def __init__(self, event: bytes, wanted: int | None = None) -> None:
        self.event = event
        self.left = wanted
        self.taken = 0
        self.answered = 0

    def reply_to_poll(self) -> bytes | None:
        if self.left is not None:
            if not self.left:
                return None
            self.left -= 1
        self.taken += 1
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {uuid.uuid4()}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 60_000}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:orders\r\n"
            f"Content-Length: {len(self.event)}\r\n\r\n"
        )
        return head.encode() + self.event


class _Connection(asyncio.Protocol):
    """One connection of a runtime's, which sends one whole request at a time."""

    def __init__(self, api: _RuntimeAPI, open_ones: set[asyncio.Transport]) -> None:
        self._api = api
        self._open = open_ones
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0].strip()
        if len(rest) < int(length or 0):
            return
        self._data = b""
        if b"/extension/register" in head:
            body = b'{"functionName":"orders"}'
            told = f"Lambda-Extension-Identifier: {uuid.uuid4()}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + told + body)
        elif b"/extension/event/next" in head:
            pass  # there is none
        elif head.startswith(b"GET"):
            reply = self._api.reply_to_poll()
            if reply is not None:
                self._transport.write(reply)
        else:
            self._api.answered += 1
            self._transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def _running(mode: Mode, handler: str, api: _RuntimeAPI, slots: int, log: Path) -> AsyncIterator[int]:
    """Run *mode* against *api*, and give the process id of its main process."""
    transports: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(api, transports), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environ = {
        **OURS.environment(f"127.0.0.1:{port}", handler, tempfile.gettempdir()),
        "AWS_LAMBDA_MAX_CONCURRENCY": str(slots),
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "PYTHONPATH": os.pathsep.join((str(OURS.checkout), str(OURS.checkout / "tests" / "benchmarks" / "function"))),
    }
    if mode.word:
        environ["AWS_LAMBDA_CONCURRENCY_MODE"] = mode.word
    del environ["PYTHONPYCACHEPREFIX"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", mode.module, handler, env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        server.close()
        for transport in list(transports):
            transport.abort()


async def _measure(mode: Mode, slots: int, seconds: float, directory: Path) -> dict[str, float]:
    api = _RuntimeAPI(b'{"orderId": "o-17"}')
    async with _running(mode, mode.handler, api, slots, directory / "log") as pid:
        while api.taken - api.answered < slots:  # noqa: ASYNC110  # what other processes do is no event here
            await asyncio.sleep(_A_LOOK)
        await asyncio.sleep(_WARM_UP)
        processes = _tree(pid)
        answered, began, cpu = api.answered, time.monotonic(), _cpu_seconds(processes)
        await asyncio.sleep(seconds)
        count = api.answered - answered
        took = time.monotonic() - began
        return {
            "throughput": count / took,
            "cpu": (_cpu_seconds(processes) - cpu) / count * 1e6,
            "memory": sum(map(_proportional_mb, processes)),
            "processes": len(processes),
        }


async def count_mistakes(mode: Mode, slots: int, lines: int, directory: Path) -> dict[str, int]:
    """Have *mode* write so many lines, and return how many there are, and how many name another invocation."""
    each = 50
    api = _RuntimeAPI(json.dumps({"lines": each}).encode(), wanted=lines // each)
    log = directory / "log"
    async with _running(mode, mode.chatty, api, slots, log):
        while api.answered < lines // each:  # noqa: ASYNC110
            await asyncio.sleep(_A_LOOK)
        await asyncio.sleep(_A_LOOK)
        written, mistaken = 0, 0
        for line in log.read_text().splitlines():
            event = json.loads(line)
            words = str(event.get("message", "")).split()
            if words[:1] == ["own"]:
                written += 1
                mistaken += len(words) != 3 or event.get("requestId") != words[1]
    return {"lines": written, "mistakes": mistaken + abs(written - lines // each * each)}


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
    return found


def _cpu_seconds(processes: Sequence[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes]
    return sum(int(times[11]) + int(times[12]) for times in fields) / _TICKS


def _proportional_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) / 1024


async def measure(slots: int, rounds: int, seconds: float, lines: int) -> dict[str, Any]:
    """Return the medians of every mode, their ratios to AWS's, and what became of the log lines."""
    samples: dict[str, list[dict[str, float]]] = {mode.name: [] for mode in (AWS, *MODES)}
    logs = {}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(rounds):
            for mode in (AWS, *MODES):
                samples[mode.name].append(await _measure(mode, slots, seconds, Path(directory)))
        for mode in MODES:
            logs[mode.name] = await count_mistakes(mode, slots, lines, Path(directory))
    figures = {
        name: {kind: (max if kind == "throughput" else median)(s[kind] for s in of_mode) for kind in of_mode[0]}
        for name, of_mode in samples.items()
    }
    ratios = {
        mode.name: {kind: figures[mode.name][kind] / value for kind, value in figures[AWS.name].items()}
        for mode in MODES
    }
    return {"figures": figures, "ratios": ratios, "logs": logs}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=64, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--lines", type=int, default=100_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    report = asyncio.run(measure(options.slots, options.rounds, options.seconds, options.lines))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2))
    print(f"{options.slots} at once, a handler that waits 50 ms\n")
    print("| | invocations a second | CPU time each | memory | processes |\n|---|--:|--:|--:|--:|")
    for name, found in report["figures"].items():
        of_aws = report["ratios"].get(name, dict.fromkeys(found, 1.0))
        print(
            f"| {name} | {found['throughput']:.0f} ({of_aws['throughput']:.2f}) | {found['cpu']:.0f} µs "
            f"({of_aws['cpu']:.2f}) | {found['memory']:.0f} MB ({of_aws['memory']:.2f}) | {found['processes']:.0f} |"
        )
    print()
    for name, found in report["logs"].items():
        print(f"* {name}: {found['lines']} log lines, {found['mistakes']} mistakes")
    for name, targets in TARGETS.items():
        for kind, (target, how) in targets.items():
            ratio = report["ratios"][name][kind]
            met = ratio >= target if how == "at least" else ratio <= target
            print(f"* {name}, {kind}: {ratio:.2f}, {how} {target}: {'met' if met else 'MISSED'}")
    return report


if __name__ == "__main__":
    main()
