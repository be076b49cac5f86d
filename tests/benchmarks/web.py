"""
One FastAPI application on each runtime, behind Mangum and behind `ASGIHandler`: `python -m tests.benchmarks.web`.

The event is that of an HTTP API, of 2 KB; the processes take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from .cases import HTTP_EVENT, Case
from .environment import Environment, Times
from .runtimes import OURS, PEER, Runtime

WARM_UP = 100
ANSWER = {"statusCode": 200, "body": '{"order":"o-17","expand":"lines"}'}
COLUMNS: dict[str, tuple[Runtime, Case]] = {
    "Mangum on awslambdaric": (PEER, Case("mangum", "Mangum", "web.behind_mangum", ANSWER, HTTP_EVENT)),
    "Mangum on lambda_ric": (OURS, Case("mangum", "Mangum", "web.behind_mangum", ANSWER, HTTP_EVENT)),
    "**`ASGIHandler` on lambda_ric**": (
        OURS,
        Case("asgi", "ASGIHandler", "web.behind_asgi_handler", ANSWER, HTTP_EVENT),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.web", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (20)")
    parser.add_argument("--invocations", type=int, default=100, help="measured in one turn (100)")
    options = parser.parse_args(arguments)
    taken: dict[str, list[Times]] = {title: [] for title in COLUMNS}
    with tempfile.TemporaryDirectory(prefix="lambda-ric-bytecode-") as bytecode, ExitStack() as running:
        environments = {
            title: running.enter_context(Environment(runtime, case, bytecode))
            for title, (runtime, case) in COLUMNS.items()
        }
        for environment in environments.values():
            environment.invoke(WARM_UP)
        for number in range(options.rounds):
            turn = list(environments.items())
            for title, environment in reversed(turn) if number % 2 else turn:
                taken[title].append(environment.invoke(options.invocations))

    print("| | event → response | 202 → next | CPU of an invocation |\n|---|--:|--:|--:|")
    reference = _figures(taken["Mangum on awslambdaric"])
    for title, times in taken.items():
        cells = [f"{figure:.0f} µs ({figure / of:.2f})" for figure, of in zip(_figures(times), reference, strict=True)]
        print(f"| {title} | {' | '.join(cells)} |")
    return 0


def _figures(rounds: Sequence[Times]) -> list[float]:
    return [
        median(median(times.answer_ns) for times in rounds) / 1e3,
        median(median(times.next_ns) for times in rounds) / 1e3,
        median(times.cpu / len(times.answer_ns) for times in rounds) * 1e6,
    ]


if __name__ == "__main__":
    sys.exit(main())
