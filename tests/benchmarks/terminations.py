"""
What becomes of pending tasks when an environment is told to end: `python -m tests.benchmarks.terminations --runs 500`.

In each run a handler hands forty tasks over, of which a few come to an end and the others never would; SIGTERM comes at
a random moment, which the seed decides, of any stage of the invocation, and SIGKILL 300 ms later, as Lambda has it. The
client of the queue has not been used before in any of them, and the queue takes 5 ms for a request. Exits with 1 if a
task is neither in the queue nor has run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_ric.background.work import ENDS, OVERFLOWED, SUCCEEDED, UNCONFIRMED
from lambda_ric.protocol import EXTENSIONS_API
from tests.proofs.durability.queues import CREDENTIALS
from tests.support.fakes import Event, FakeRuntimeAPI, Request
from tests.support.slow_queue import slow_queue

from .environment import REGISTERED
from .kills import NO_EVENT, Environments, environments
from .runtimes import ROOT

TASKS = 40
ANSWERS_AFTER = 0.005
# Seconds after the event: three stages of 50 ms, and as long in the drain.
LATEST_SIGNAL = 0.3
# Of Lambda: between SIGTERM and SIGKILL.
GRACE = 0.3


@dataclass
class Result:
    """*seconds* are those from SIGTERM to the end of each process; *violations* name a run each."""

    seconds: list[float] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Platform:
    """The Runtime API, which has one event for each environment."""

    def __init__(self) -> None:
        self.answered: set[int] = set()
        self.taken = threading.Event()
        """Set when the event has been asked for."""
        self._run = -1
        self._event: Event | None = None

    def give(self, run: int) -> None:
        """Have an event for whoever asks next."""
        self.taken.clear()
        self._run, self._event = run, Event({"run": run}, timeout=30.0)

    def __call__(self, request: Request) -> bytes | None:
        if request.path.startswith(EXTENSIONS_API):
            return NO_EVENT if request.name == "next" else REGISTERED
        if request.name == "response":
            self.answered.add(self._run)
        if request.name != "next":
            return None
        event, self._event = self._event, None
        self.taken.set()
        return event.encode() if event is not None else None


def play(runs: int, seed: int, *, grace: float | None = GRACE) -> Result:
    """
    Tell so many environments to end, and look at every task.

    They are killed *grace* seconds later; None leaves them all the time that they take.
    """
    moments, result, platform = random.Random(seed), Result(), Platform()
    with (
        tempfile.TemporaryDirectory(prefix="lambda-ric-terminations-") as name,
        slow_queue(ANSWERS_AFTER) as queue,
        FakeRuntimeAPI(intercept=platform) as api,
    ):
        directory = Path(name)
        variables = {
            **CREDENTIALS,
            "PYTHONPATH": str(ROOT),
            "TASKS_QUEUE_URL": queue.url,
            "RAN": str(directory / "ran"),
        }
        with environments("terminated", variables, api.address, directory) as started:
            for run in range(runs):
                platform.give(run)
                result.seconds.append(_live(run, moments.uniform(0, LATEST_SIGNAL), grace, platform, started))
            time.sleep(2 * ANSWERS_AFTER)  # what was sent by a process that is gone
            ran = (directory / "ran").read_text().split()
            result.figures["goodbyes"] = ran.count("goodbye")
            for run in range(runs):
                _judge(run, run in platform.answered, started.log(run), ran, queue.accepted, result)
    return result


def _live(run: int, signal_after: float, grace: float | None, platform: Platform, started: Environments) -> float:
    pid = started.start(run)
    if not platform.taken.wait(30):
        raise RuntimeError(f"run {run} did not ask for its event:\n{started.log(run)}")
    time.sleep(signal_after)
    os.kill(pid, signal.SIGTERM)
    told = time.monotonic()
    killer = threading.Timer(grace if grace is not None else 30, os.kill, (pid, signal.SIGKILL))
    killer.start()  # the process id stays its own until it is waited for, which is after this
    code = started.end()
    seconds = time.monotonic() - told
    killer.cancel()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"run {run} ended with {code}:\n{started.log(run)}")
    return seconds


def _judge(
    run: int, answered: bool, log: str, ran: Collection[str], accepted: Sequence[dict[str, Any]], result: Result
) -> None:
    numbers = {f"{run}:{number}" for number in range(TASKS)}
    here = numbers & set(ran)
    queued = {envelope["args"][0] for envelope in accepted} & numbers
    result.figures["runs"] += 1
    if f"{run}:began" not in ran:
        # The signal was there before the event was: nothing is pending.
        result.figures["ended before the handler began"] += 1
        return
    result.figures["answered"] += answered
    result.figures["ran"] += len(here)
    result.figures["in the queue"] += len(queued)
    lost = numbers - here - queued
    if lost:
        result.violations.append(f"run {run}: {len(lost)} tasks are lost:\n{log}")
    for summary in re.findall(r"^BACKGROUND .*$", log, re.MULTILINE):
        counts = {end.lower(): int(count) for end, count in re.findall(r"(\w+): (\d+)", summary)}
        ended = {end: counts.get(end, 0) for end in ENDS}
        hooks = counts["tasks"] - TASKS
        at_least, at_most = ended[OVERFLOWED], ended[OVERFLOWED] + ended[UNCONFIRMED]
        if not at_least <= len(queued) <= at_most or ended[SUCCEEDED] > len(here) + hooks:
            result.violations.append(f"run {run}: the queue has {len(queued)}, {len(here)} ran: {summary}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.terminations", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, metavar="N", help="environments to end (500)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the moments")
    options = parser.parse_args(arguments)
    result = play(options.runs, options.seed)
    seconds = sorted(result.seconds)
    print(f"--seed {options.seed}\n\n| | |\n|---|--:|")
    for row, count in result.figures.items():
        print(f"| {row} | {count} |")
    for share in (0.5, 0.99, 1.0):
        at = seconds[min(int(share * len(seconds)), len(seconds) - 1)]
        print(f"| SIGTERM to the end, {share:.0%} of the runs within | {at * 1000:.0f} ms |")
    print(f"| violations | {len(result.violations)} |")
    for violation in result.violations:
        print(violation, file=sys.stderr)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
