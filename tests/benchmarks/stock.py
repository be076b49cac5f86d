"""
AWS's own runtime with this package, beside the same without it: `python -m tests.benchmarks.stock`.

Two questions. What does a caller wait for an answer, where the function imports the package, and where it hands work
over? awslambdaric alone is the peer in the same run, and takes its turns with the others; the caller of all is one.
Beside it is awslambdaric with an internal extension that does nothing: a part of the wait is the platform's, which
tells it. And is work ever lost, or waited for? Environments serve events whose handlers return, fail, hang, or leave a
forked child that returns as well, each with two seconds of work. Exits with 1 if an answer waited for its work, if work
was not done, done twice or done by a child, or if the task of a handler that hangs is not in its queue.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from lambda_ric.emulator import BlockingEmulator, Emulator, in_thread

from .runtimes import FUNCTION, MANAGED_PEER, PEER, ROOT

PEER_HANDLER = "bare.handler"
HANDLERS = (PEER_HANDLER, "extended.handler", "imported.ready", "imported.handing")
WARM_UP = 50
# So many environments at once; each hands over what takes so many seconds, and has so many for a handler that hangs.
ENVIRONMENTS = 16
WORK_SECONDS = 2.0
TIMEOUT = 6.0
KINDS = ("return", "return", "fail", "fork", "hang")


@dataclass
class Result:
    """*figures* are counts of invocations, by kind."""

    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def emulator(handler: str, environment: dict[str, str], **options: Any) -> Emulator:
    """Return one whose runtime is AWS's own."""
    return Emulator(
        command=[sys.executable, "-m", PEER.module, handler],
        task_root=FUNCTION,
        environment={"PYTHONPATH": str(ROOT), **environment},
        on_log=lambda line: None,
        **options,
    )


def waits(calls: int, environment: dict[str, str]) -> dict[str, float]:
    """Return the median seconds until the emulator has the answer of each handler, of so many *calls*."""
    seconds: dict[str, list[float]] = {handler: [] for handler in HANDLERS}
    with ExitStack() as opened:
        emulators = {
            handler: opened.enter_context(in_thread(emulator(handler, environment, timeout=60.0, freeze=False)))
            for handler in HANDLERS
        }
        turns = list(emulators.items())
        for _ in range(WARM_UP + calls):
            random.shuffle(turns)  # what one leaves behind must not always meet the same other one
            for handler, called in turns:
                invocation = called.finished(called.invoke({}))
                assert invocation.delivery.answered_at is not None
                seconds[handler].append(invocation.delivery.answered_at - invocation.requested_at)
    return {handler: median(taken[WARM_UP:]) for handler, taken in seconds.items()}


def play(runs: int, seed: int, work_seconds: float, timeout: float) -> Result:
    """Invoke so many handlers, of all kinds, with *work_seconds* of work, in environments of *timeout* seconds."""
    moments, result = random.Random(seed), Result()
    events: list[dict[str, Any]] = [
        {"number": number, "kind": moments.choice(KINDS), "seconds": work_seconds} for number in range(runs)
    ]
    with tempfile.TemporaryDirectory(prefix="lambda-ric-stock-") as name:
        record = Path(name) / "record"
        record.touch()
        answered: dict[int, float] = {}
        for share, polling in enumerate((PEER, MANAGED_PEER)):
            environment = {**polling.environ, "RECORD": str(record)}
            served = emulator("carried.handler", environment, timeout=timeout, concurrency=ENVIRONMENTS, queue=True)
            with in_thread(served) as called, ThreadPoolExecutor(ENVIRONMENTS) as callers:
                for event, at in callers.map(partial(_call, called, result), events[share::2]):
                    answered[event["number"]] = at
        _judge(events, answered, record.read_text().splitlines(), result)
    return result


def _call(called: BlockingEmulator, result: Result, event: dict[str, Any]) -> tuple[dict[str, Any], float]:
    answer = called.invoke(event)
    at = time.time()
    document = json.loads(answer.payload)
    expected = {"fail": "ValueError", "hang": "Function.Timeout"}.get(event["kind"])
    got = document.get("errorType") if isinstance(document, dict) else None
    if got != expected or (expected is None and document != event["number"]):
        result.violations.append(f"{event} was answered with {document}")
    called.finished(answer)
    return event, at


def _judge(events: Sequence[dict[str, Any]], answered: dict[int, float], record: list[str], result: Result) -> None:
    ends: dict[tuple[str, int], list[float]] = {}
    for line in record:
        what, number, at = line.split()
        ends.setdefault((what, int(number)), []).append(float(at))
    for event in events:
        number, kind = event["number"], event["kind"]
        result.figures[kind] += 1
        done, queued = ends.get(("done", number), []), ends.get(("queued", number), [])
        if len(done) != 1 or len(queued) != (kind == "hang"):
            result.violations.append(f"{event} was done {len(done)} times, and queued {len(queued)} times")
        elif kind != "hang" and answered[number] >= done[0]:
            result.violations.append(f"{event} was answered {answered[number] - done[0]:.3f} s after its work")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.stock", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1000, metavar="N", help="of each handler, for the times (1000)")
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="invocations with work (1000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the kinds")
    options = parser.parse_args(arguments)
    print("| until the answer | " + " | ".join(HANDLERS) + " |\n|---|" + "--:|" * len(HANDLERS))
    for name, polling in (("polls on the main thread", PEER), ("polls in a thread", MANAGED_PEER)):
        taken = waits(options.calls, polling.environ)
        cells = [f"{taken[handler] * 1000:.2f} ms ({taken[handler] / taken[PEER_HANDLER]:.2f})" for handler in HANDLERS]
        print(f"| {name} | {' | '.join(cells)} |")
    result = play(options.runs, options.seed, WORK_SECONDS, TIMEOUT)
    print(f"\n--seed {options.seed}\n\n| invocations | |\n|---|--:|")
    for kind, count in sorted(result.figures.items()):
        print(f"| {kind} | {count} |")
    print(f"| violations | {len(result.violations)} |")
    for violation in result.violations:
        print(violation, file=sys.stderr)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
