"""
What it costs a function that an emulator looks on: `python -m tests.benchmarks.side_channel`.

A thousand tasks that take no time, in two environments of the emulator, in turns: with the side channel on which the
runtime tells what runs, and without. The time is that from the first hand-over to the end of the last task.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from lambda_ric.emulator import Emulator, in_thread

WITHOUT = 'unset LAMBDA_RIC_SPANS_FD; exec "$@"'
WARM_UP = 2
APP = """
import threading, time
from lambda_ric import wait_until

lock = threading.Lock()

def handler(event, context):
    def task():
        nonlocal left
        with lock:
            left -= 1
            if left == 0:
                print("ELAPSED", time.perf_counter() - wall, time.process_time() - cpu, flush=True)

    left = event
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(event):
        wait_until(task)
"""


def measure(rounds: int, tasks: int) -> dict[str, tuple[float, float]]:
    """Return the seconds that *tasks* take, and those of the processor: medians over *rounds* in turns."""
    runtime = [sys.executable, "-m", "lambda_ric", "app.handler"]
    commands = {"without": ["sh", "-c", WITHOUT, "sh", *runtime], "with": runtime}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        (Path(directory) / "app.py").write_text(APP)
        emulators = {
            name: stack.enter_context(in_thread(Emulator(command=command, task_root=directory, timeout=60, memory=512)))
            for name, command in commands.items()
        }
        for number in range(WARM_UP + rounds):
            for name, emulator in emulators.items():
                ended = emulator.finished(emulator.invoke(tasks))
                (line,) = [line.text for line in ended.logs if line.text.startswith("ELAPSED")]
                if number >= WARM_UP:
                    wall, cpu = line.split()[1:]
                    taken[name].append((float(wall), float(cpu)))
    return {name: (median(wall for wall, _ in of), median(cpu for _, cpu in of)) for name, of in taken.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.side_channel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="turns of each (40)")
    parser.add_argument("--tasks", type=int, default=1000, metavar="N", help="in one turn (1000)")
    options = parser.parse_args(arguments)
    figures = measure(max(1, options.rounds), max(1, options.tasks))
    base = figures["without"]
    print(f"| {options.tasks} tasks | ms | ratio | ms of the processor | ratio |\n|---|--:|--:|--:|--:|")
    for name, (wall, cpu) in figures.items():
        print(
            f"| {name} side channel | {wall * 1e3:.1f} | {wall / base[0]:.2f} | {cpu * 1e3:.1f} | {cpu / base[1]:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
