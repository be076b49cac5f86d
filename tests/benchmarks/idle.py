"""
What idle environments cost the emulator: `python -m tests.benchmarks.idle --environments 200`.

The memory of the emulator itself, and of the keepers, of which each environment has one: the proportional share (PSS),
in which what several processes have in common is counted once. The function's own processes are not counted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from lambda_ric.emulator import Emulator
from lambda_ric.emulator.environment import keeper


def share_of(pid: int) -> float:
    """Return the MB that the process *pid* has, with its part of what it shares."""
    found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def keepers() -> list[int]:
    """Return the processes that keep this one's environments, the one that makes them included."""
    (first,) = [pid for pid in keeper.descendants(os.getpid()) if _is_keeper(pid) and _parent(pid) == os.getpid()]
    return [first, *(pid for pid in keeper.descendants(first) if _parent(pid) == first)]


def _is_keeper(pid: int) -> bool:
    return keeper.__file__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def measure(environments: int) -> tuple[float, float]:
    """Return the MB of the emulator, and of all keepers, with so many idle *environments*."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "app.py").write_text("def handler(event, context): pass\n")
        emulator = Emulator("app.handler", task_root=directory, concurrency=environments, init_timeout=300, timeout=300)
        async with emulator:
            all_at_once = [emulator.invocation(b"{}") for _ in range(environments)]
            for invocation in all_at_once:
                emulator.submit(invocation)
            for invocation in all_at_once:
                await invocation.finished()
            return share_of(os.getpid()), sum(map(share_of, keepers()))
    raise AssertionError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.idle", description=__doc__)
    parser.add_argument("--environments", type=int, default=200, metavar="N", help="idle ones (200)")
    options = parser.parse_args(arguments)
    emulator, all_keepers = anyio.run(measure, options.environments)
    print("| idle environments | the emulator, MB | their keepers, MB |\n|--:|--:|--:|")
    print(f"| {options.environments} | {emulator:.0f} | {all_keepers:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
