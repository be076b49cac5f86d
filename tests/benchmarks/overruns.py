"""
What is said of tasks that overrun, held against what their queue has: `python -m tests.benchmarks.overruns --runs 200`.

In each run a random number of tasks, up to more than can be sent, is still at work when the time is up, and goes to a
sink that takes 30 ms for a request: an SQS queue, standard or FIFO, a function, or a sink of one's own, in turns. Exits
with 1 if something that was accepted is called lost, or something called accepted is not there.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_ric.background.work import DROPPED, ENDS, OVERFLOWED, UNCONFIRMED
from lambda_ric.tasks.envelope import Envelope
from tests.proofs.durability.queues import CREDENTIALS
from tests.support.fakes import Event, FakeRuntimeAPI
from tests.support.slow_queue import slow_queue

from .runtimes import FUNCTION, ROOT

SINKS = ("sqs", "fifo", "lambda", "own")
ANSWERS_AFTER = 0.03
MOST_TASKS = 400
# Seconds of an invocation, of which the queues have a tenth.
TIMEOUT = 1.0


@dataclass
class Result:
    """*figures* are counts of tasks, but for those of runs."""

    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def play(runs: int, seed: int) -> Result:
    """Let so many invocations overrun in one environment, and look at every task."""
    moments, result = random.Random(seed), Result()
    events = [
        Event({"run": run, "sink": SINKS[run % len(SINKS)], "tasks": moments.randint(1, MOST_TASKS)}, timeout=TIMEOUT)
        for run in range(runs)
    ]
    with tempfile.TemporaryDirectory(prefix="lambda-ric-overruns-") as name, slow_queue(ANSWERS_AFTER) as queue:
        own = Path(name) / "own"
        with FakeRuntimeAPI(*events) as api, open(Path(name) / "log", "w+") as log:
            subprocess.run(
                [sys.executable, "-m", "lambda_ric", "overrunning.handler"],
                cwd=FUNCTION,
                env={
                    **CREDENTIALS,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "AWS_REGION": "us-east-1",
                    "AWS_LAMBDA_RUNTIME_API": api.address,
                    "TASKS_QUEUE_URL": queue.url,
                    "RAN": str(own),
                    "LAMBDA_RIC_AFTER_TIMEOUT": "keep",  # on a busy machine the drain may be interrupted
                },
                stdout=log,
                stderr=log,
                timeout=60 + 5 * runs,
                check=False,
            )
            log.seek(0)
            lines = log.read()
        time.sleep(2 * ANSWERS_AFTER)  # what was sent by a process that is gone
        accepted = {envelope["args"][0] for envelope in queue.accepted} | set(
            own.read_text().split() if own.exists() else ()
        )
    _judge([event.payload for event in events], lines, accepted, result)
    return result


def _judge(events: Sequence[dict[str, Any]], log: str, accepted: set[str], result: Result) -> None:
    named = {
        state: {
            _number(text) for text in re.findall(rf"background task \w+ is {word}, [^\n]*?(\{{\"v\":[^\n]*\}})", log)
        }
        for state, word in ((DROPPED, "lost"), (UNCONFIRMED, "unconfirmed"))
    }
    summaries = re.findall(r"^BACKGROUND .*$", log, re.MULTILINE)
    if len(summaries) != len(events):
        result.violations.append(f"{len(summaries)} of {len(events)} invocations came to their end:\n{log[-3000:]}")
    for event, summary in zip(events, summaries, strict=False):
        counts = {end.lower(): int(count) for end, count in re.findall(r"(\w+): (\d+)", summary)}
        # On a busy machine the handler may be interrupted before it has handed all of them over.
        numbers = {f"{event['run']}:{number}" for number in range(counts["tasks"])}
        ended = {end: counts.get(end, 0) for end in ENDS}
        lost, open_ = numbers & named[DROPPED], numbers & named[UNCONFIRMED]
        there = numbers & accepted
        result.figures["runs"] += 1
        for end in (OVERFLOWED, UNCONFIRMED, DROPPED):
            result.figures[f"{event['sink']}: {end}"] += ended[end]
        result.figures[f"{event['sink']}: unconfirmed, and there"] += len(open_ & there)

        def check(condition: bool, what: str, run: int = event["run"], summary: str = summary) -> None:
            if not condition:
                result.violations.append(f"run {run}: {what}: {summary}")

        check(not lost & there, f"{len(lost & there)} accepted tasks are called lost")
        check(numbers - lost - open_ <= there, "tasks that are called accepted are not there")
        check(counts["tasks"] == sum(ended.values()) == len(numbers), "the counters do not add up")
        check((ended[DROPPED], ended[UNCONFIRMED]) == (len(lost), len(open_)), "the counters are not what was logged")


def _number(text: str) -> str:
    envelope = Envelope.decode(text)
    assert envelope is not None
    return str(envelope.args[0])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overruns", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="invocations that overrun (200)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the numbers of tasks"
    )
    options = parser.parse_args(arguments)
    result = play(options.runs, options.seed)
    print(f"--seed {options.seed}\n\n| | |\n|---|--:|")
    for row, count in result.figures.items():
        print(f"| {row} | {count} |")
    print(f"| violations | {len(result.violations)} |")
    for violation in result.violations:
        print(violation, file=sys.stderr)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
