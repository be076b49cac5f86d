"""
Web applications on each runtime, behind Mangum and behind `ASGIHandler`: `python -m tests.benchmarks.web`.

The event is that of an HTTP API, of 2 KB or with a body of 100 kB, which the application sends back; the processes take
turns. Beside them stand the application itself, called by a loop with nothing around it, and that loop without an
application. With `--checkout DIRECTORY`, the runtime of another checkout takes turns as well, also where Mangum has
nothing to compare: background tasks, and a streamed response.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from .cases import HTTP_EVENT, Case
from .environment import Environment, Times
from .runtimes import FLOOR, OURS, PEER, Runtime, earlier

WARM_UP = 100
SMALL = {"statusCode": 200, "body": '{"order":"o-17","expand":"lines"}'}
BODY = "0123456789" * 10_000
LARGE = {"statusCode": 200, "body": BODY}
Row = tuple[Runtime, Case]


def event(path: str, **fields: Any) -> dict[str, Any]:
    """Return the event of a request to *path*; where nothing else is said, that of an HTTP API."""
    made = HTTP_EVENT | {"rawPath": path} | fields
    http = {"http": HTTP_EVENT["requestContext"]["http"] | {"path": path}}  # type: ignore[index]
    return made | {"requestContext": HTTP_EVENT["requestContext"] | http}  # type: ignore[operator]


def of_function_url(path: str) -> dict[str, Any]:
    """Return the event of a function URL, which can stream."""
    made = event(path)
    made["requestContext"] = made["requestContext"] | {
        "domainName": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws",
        "stage": "$default",
    }
    return made


def rows_of(framework: str, answer: dict[str, Any], sent: Any) -> dict[str, Row]:
    """Return the rows of a table, that of reference first."""

    def case(handler: str) -> Case:
        return Case(framework, framework, f"web.{handler}", answer, sent)

    return {
        "Mangum on awslambdaric, images": (PEER, case(f"{framework}_behind_mangum")),
        "Mangum on lambda_ric": (OURS, case(f"{framework}_behind_mangum")),
        "**`ASGIHandler` on lambda_ric**": (OURS, case(f"{framework}_behind_asgi_handler")),
        "raw loop and the bare application": (FLOOR, case(f"{framework}_bare")),
        "raw loop": (FLOOR, case("nothing")),
    }


def tables(checkout: Path | None) -> dict[str, dict[str, Row]]:
    """Return the rows of each table."""
    small, large = event("/prod/orders/o-17"), event("/prod/large/o-17", body=BODY)
    found = {
        "FastAPI": rows_of("fastapi", SMALL, small),
        "FastAPI, 100 kB": rows_of("fastapi", LARGE, large),
        "Starlette": rows_of("starlette", SMALL, small),
        "Starlette, 100 kB": rows_of("starlette", LARGE, large),
    }
    if checkout is not None:
        for title, path in {
            "FastAPI, nothing after the answer": "/prod/orders/o-17",
            "FastAPI, a background task": "/prod/background/o-17",
        }.items():
            case = Case("asgi", "ASGIHandler", "web.fastapi_behind_asgi_handler", {"statusCode": 200}, event(path))
            found[title] = {"earlier": (earlier(checkout), case), "now": (OURS, case)}
        sent = of_function_url("/stream/o-17")
        case = Case("stream", "streamed", "web.fastapi_streamed", {}, sent, streamed=True)
        found["FastAPI, a streamed response"] = {"earlier": (earlier(checkout), case), "now": (OURS, case)}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.web", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument("--invocations", type=int, default=200, help="measured in one turn (200)")
    parser.add_argument("--checkout", type=Path, metavar="DIRECTORY", help="another checkout, to compare with")
    parser.add_argument("--only", action="append", metavar="TEXT", help="measure the tables with this in their titles")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lambda-ric-bytecode-") as bytecode:
        for title, rows in tables(options.checkout).items():
            if any(text in title for text in options.only or [""]):
                print(f"\n{title}\n")
                _print(_measured(rows, options.rounds, options.invocations, bytecode))
    return 0


def _measured(rows: dict[str, Row], rounds: int, invocations: int, bytecode: str) -> dict[str, list[Times]]:
    taken: dict[str, list[Times]] = {title: [] for title in rows}
    with ExitStack() as running:
        environments = {title: running.enter_context(Environment(*row, bytecode)) for title, row in rows.items()}
        for environment in environments.values():
            environment.invoke(WARM_UP)
        for number in range(rounds):
            turn = list(environments.items())
            for title, environment in reversed(turn) if number % 2 else turn:
                taken[title].append(environment.invoke(invocations))
    return taken


def _print(taken: dict[str, list[Times]]) -> None:
    print("| | event → response | 202 → next | CPU of an invocation |\n|---|--:|--:|--:|")
    reference = _figures(next(iter(taken.values())))
    for title, times in taken.items():
        cells = [f"{figure:.0f} µs ({figure / of:.2f})" for figure, of in zip(_figures(times), reference, strict=True)]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def _figures(rounds: Sequence[Times]) -> list[float]:
    # The best of the rounds: whatever else the machine does can only add to it.
    return [
        min(median(times.answer_ns) for times in rounds) / 1e3,
        min(median(times.next_ns) for times in rounds) / 1e3,
        min(times.cpu / len(times.answer_ns) for times in rounds) * 1e6,
    ]


if __name__ == "__main__":
    sys.exit(main())
