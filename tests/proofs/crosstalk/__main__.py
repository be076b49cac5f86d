"""`python -m tests.proofs.crosstalk --moments 50`: the figures, of this runtime and of AWS's own beside it."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .interruptions import CLIENTS, COMMANDS, Result, play_all
from .servers import servers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.crosstalk", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)} (all)")
    parser.add_argument("--moments", type=int, default=50, metavar="N", help="interruptions for each client (50)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the moments")
    parser.add_argument("--together", type=int, default=4, metavar="N", help="clients at the same time (4)")
    parser.add_argument("--runtime", action="append", choices=[*COMMANDS], help="which one (both)")
    options = parser.parse_args(arguments)
    clients = options.clients or [*CLIENTS]
    runtimes = options.runtime or [*COMMANDS]
    started = time.monotonic()
    results: dict[tuple[str, str], Result] = {}
    with tempfile.TemporaryDirectory(prefix="lambda-ric-crosstalk-") as name, servers(Path(name)) as running:
        for runtime in runtimes:
            plays = play_all(clients, runtime, options.moments, options.seed, running, options.together)
            for client, play in plays.items():
                results[runtime, client] = play.result()
                print(f"{runtime}: {client:20}", end="\r", file=sys.stderr, flush=True)
    print(f"--moments {options.moments} --seed {options.seed}, {time.monotonic() - started:.0f} s\n")
    print("| client | runtime | interrupted | mixed up | failed | kept | replaced |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for client in clients:
        for runtime in runtimes:
            _show(runtime, results[runtime, client])
    for runtime in runtimes:
        _show(runtime, _total([results[runtime, client] for client in clients]))
    for result in results.values():
        for case in [*result.mixed_up, *result.failed]:
            print(f"{result.client}: {case}", file=sys.stderr)
    return 1 if any(result.mixed_up for (runtime, _), result in results.items() if runtime == "lambda_ric") else 0


def _show(runtime: str, result: Result) -> None:
    counts = (result.interrupted, len(result.mixed_up), len(result.failed), result.kept, result.replaced)
    print(f"| {result.client} | {runtime} | {' | '.join(map(str, counts))} |")


def _total(results: Sequence[Result]) -> Result:
    return Result(
        "all",
        interrupted=sum(result.interrupted for result in results),
        mixed_up=[case for result in results for case in result.mixed_up],
        failed=[case for result in results for case in result.failed],
        kept=sum(result.kept for result in results),
        replaced=sum(result.replaced for result in results),
    )


if __name__ == "__main__":
    sys.exit(main())
