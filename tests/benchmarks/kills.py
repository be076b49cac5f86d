"""
What is left when an environment dies: `python -m tests.benchmarks.kills --runs 1000`.

In each run ten tasks are handed over, of which half do not fit and go to a queue on moto's server; SIGKILL comes
after a random share, which the seed decides, of the time that a run usually takes. Then the queue is consumed. Exits
with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from lambda_ric.background.work import ABANDONED, CANCELLED, ENDS, FAILED, OVERFLOWED, SUCCEEDED, UNCONFIRMED
from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from lambda_ric.emulator.callers.event_source import SQSEventSource
from lambda_ric.protocol import EXTENSIONS_API
from tests.proofs.durability.queues import CREDENTIALS, Queue, queue
from tests.support.fakes import Event, FakeRuntimeAPI, Request

from .environment import REGISTERED
from .runtimes import FUNCTION, ROOT

TASKS = 10
# Seconds that an invocation has; its background work ends a quarter before.
TIMEOUT = 0.2
PROBES = 5
NO_EVENT = b"HTTP/1.1 100 Continue\r\n\r\n"  # an interim reply, after which the client goes on waiting
# Of the usual length of a run, so that some come to their end.
LATEST_KILL = 1.3
# Runs before the queue is consumed: with thousands of messages, moto takes its time.
TOGETHER = 100


class Platform:
    """The Runtime API for one environment after the other, each of which gets one event."""

    def __init__(self) -> None:
        self.answered: set[int] = set()
        """The runs whose caller has an answer."""
        self._run = -1
        self._event: Event | None = None

    def give(self, run: int) -> None:
        """Have an event for whoever asks next."""
        self._run, self._event = run, Event({"run": run}, timeout=TIMEOUT)

    def __call__(self, request: Request) -> bytes | None:
        if request.path.startswith(EXTENSIONS_API):
            return NO_EVENT if request.name == "next" else REGISTERED
        if request.name == "response":
            self.answered.add(self._run)
        event, self._event = (self._event, None) if request.name == "next" else (None, self._event)
        return event.encode() if event is not None else None


class Environments:
    """Starts copies of a process that is ready for its first event."""

    def __init__(self, process: subprocess.Popen[str], logs: Path) -> None:
        self._process = process
        self._logs = logs

    def log(self, run: int) -> str:
        """Return what is left of the log."""
        path = self._logs / f"{run}.log"
        return path.read_text() if path.exists() else ""

    def start(self, run: int) -> int:
        """Start one, and return its process id, which stays its own until `end`."""
        return int(self._ask(str(self._logs / f"{run}.log")))

    def end(self) -> int:
        """Wait for the end of the one that was started, and return its exit code."""
        return int(self._ask(""))

    def live(self, run: int, kill_after: float | None) -> float:
        """Start one, kill it after so many seconds or let it end, and return how long it lived."""
        started = time.monotonic()
        pid = self.start(run)
        if kill_after is not None:
            time.sleep(max(0.0, started + kill_after - time.monotonic()))
            os.kill(pid, signal.SIGKILL)  # also if it has ended: nobody has waited for it yet
        code = self.end()
        if code not in (1, -signal.SIGKILL):
            raise RuntimeError(f"run {run} ended with {code}:\n{self.log(run)}")
        return time.monotonic() - started

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def environments(function: str, variables: Mapping[str, str], api: str, directory: Path) -> Iterator[Environments]:
    """Make ready to start the module *function* with these *variables*; the logs go into *directory*."""
    environ = {
        **variables,
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_RUNTIME_API": api,
    }
    command = [sys.executable, "-m", "tests.benchmarks.forking", function]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Environments(process, directory)
        finally:
            process.kill()


def _variables(tasks: Queue, ran: Path, role: str) -> dict[str, str]:
    return {
        **CREDENTIALS,
        "PYTHONPATH": str(ROOT),
        "TASKS_QUEUE_URL": tasks.url,
        "RAN": str(ran),
        "AS": role,
    }


class Deliveries(Observer):
    """Keeps the ids that came out of the queue, with the message of each."""

    def __init__(self) -> None:
        self.ids: dict[str, set[str]] = {}

    def changed(self, invocation: Invocation) -> None:
        if invocation.answer is None:
            for record in json.loads(invocation.event)["Records"]:
                self.ids.setdefault(json.loads(record["body"])["args"][0], set()).add(record["messageId"])


def consume(tasks: Queue, directory: Path) -> Deliveries:
    """Run everything that is in the queue, in an environment of its own."""
    deliveries = Deliveries()
    environment = _variables(tasks, directory / "consumed", "consumer")
    emulator = Emulator(
        "killed.handler", task_root=FUNCTION, timeout=10, environment=environment, observers=[deliveries]
    )
    source = SQSEventSource(tasks.url, tasks.server, emulator.function, emulator.submit, long_poll=1)
    with in_thread(emulator) as running, running.serve(sources=[source]):
        tasks.wait_until_empty()
    return deliveries


@dataclass
class Result:
    """*figures* are counts of tasks, but for those of runs; *violations* name a run each."""

    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def play(runs: int, seed: int) -> Result:
    """Kill so many environments, consume what they have left, and look at every task."""
    moments, result = random.Random(seed), Result()
    for first in range(0, runs, TOGETHER):
        _play(range(first, min(first + TOGETHER, runs)), moments, result)
        print(f"{min(first + TOGETHER, runs)} of {runs}", end="\r", file=sys.stderr, flush=True)
    return result


def _play(runs: range, moments: random.Random, result: Result) -> None:
    platform = Platform()
    probes = range(-PROBES, 0)
    with tempfile.TemporaryDirectory(prefix="lambda-ric-kills-") as name, queue() as tasks:
        directory = Path(name)
        with (
            FakeRuntimeAPI(intercept=platform) as api,
            environments(
                "killed", _variables(tasks, directory / "here", "producer"), api.address, directory
            ) as started,
        ):
            usual = median(_live(probe, None, platform, started) for probe in probes)
            for run in runs:
                _live(run, moments.uniform(0, LATEST_KILL * usual), platform, started)
            # So that nothing is on its way to the queue when its messages are counted.
            _live(runs.stop, None, platform, started)
            logs = {run: started.log(run) for run in (*probes, *runs, runs.stop)}
        messages, _ = tasks.counts()
        deliveries = consume(tasks, directory)
        here, consumed = _numbers(directory / "here"), _numbers(directory / "consumed")
    if messages != sum(len(of_one) for of_one in deliveries.ids.values()):
        result.violations.append(f"the queue had {messages} messages, and not all of them were delivered")
    for run, log in logs.items():
        judged = result if run in runs else Result(Counter(), result.violations)
        _judge(run, log, run in platform.answered, here, set(deliveries.ids), consumed, judged)


def _live(run: int, kill_after: float | None, platform: Platform, started: Environments) -> float:
    platform.give(run)
    return started.live(run, kill_after)


def _numbers(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


def _judge(
    run: int, log: str, answered: bool, here: Counter[str], queued: set[str], consumed: Counter[str], result: Result
) -> None:
    """Compare what is known of the tasks of *run* with what is promised."""
    numbers = [f"{run}:{number}" for number in range(TASKS)]
    ran_here = [number for number in numbers if here[number]]
    accepted = [number for number in numbers if number in queued]
    lost = [number for number in numbers if not here[number] and number not in queued]
    summaries = [line for line in log.split("\n")[:-1] if line.startswith("BACKGROUND")]
    figures = result.figures
    figures["runs"] += 1
    figures["ran twice"] += sum(here[number] + consumed[number] > 1 for number in numbers)

    def check(condition: bool, what: str) -> None:
        if not condition:
            result.violations.append(f"run {run}: {what}")

    check(all(consumed[number] for number in accepted), "a task that the queue had accepted has not run")
    check(not set(ran_here) & set(accepted), "a task ran here and was sent to the queue")
    if not answered:
        figures["killed before the answer"] += 1
        # What will not fit whatever comes is sent when it is handed over.
        figures["consumed of these"] += len(accepted)
        check(not ran_here, "work began before the answer")
        return
    figures["tasks"] += TASKS
    figures["ran here"] += len(ran_here)
    figures["consumed"] += len(accepted)
    if not summaries:
        figures["killed after the answer"] += 1
        figures["lost in the window"] += len(lost)
        return
    figures["came to their end"] += 1
    figures["lost and named"] += len(lost)
    counts = {end.lower(): int(count) for end, count in re.findall(r"(\w+): (\d+)", summaries[0])}
    ended = {end: counts.get(end, 0) for end in ENDS}
    check(len(summaries) == 1, "there are two summaries")
    check(counts["tasks"] == sum(ended.values()) == TASKS, f"the counters do not add up: {summaries[0]}")
    # What was stopped may have been done.
    at_least, at_most = ended[OVERFLOWED], ended[OVERFLOWED] + ended[UNCONFIRMED]
    check(at_least <= len(accepted) <= at_most, f"the queue has {len(accepted)}: {summaries[0]}")
    at_least = ended[SUCCEEDED] + ended[FAILED]
    at_most = at_least + ended[CANCELLED] + ended[ABANDONED]
    check(at_least <= len(ran_here) <= at_most, f"{len(ran_here)} ran here: {summaries[0]}")


ROWS = (
    "runs",
    "killed before the answer",
    "consumed of these",
    "killed after the answer",
    "came to their end",
    "tasks",
    "ran here",
    "consumed",
    "lost in the window",
    "lost and named",
    "ran twice",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kills", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="environments to kill (1000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the moments")
    options = parser.parse_args(arguments)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # moto's, which tells of every request
    started = time.monotonic()
    result = play(options.runs, options.seed)
    print(f"--seed {options.seed}, {time.monotonic() - started:.0f} s\n")
    print("| | |\n|---|--:|")
    for row in ROWS:
        print(f"| {row} | {result.figures[row]} |")
    print(f"| violations | {len(result.violations)} |")
    for violation in result.violations:
        print(violation, file=sys.stderr)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
