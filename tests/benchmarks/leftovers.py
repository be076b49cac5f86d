"""
What is left when the emulator itself is killed: `python -m tests.benchmarks.leftovers --runs 200`.

In each run `lambda-ric dev` is called over and over by several callers, with a function that starts children in its
group, in sessions of their own, and without a parent. SIGKILL comes after a random time, which the seed decides: during
the start, an init, invocations, a freeze or a reload. Then every process of the run has to be gone. Exits with 1 if one
was not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CALLERS = 3
# Seconds: the latest moment of a kill, and until everything has to be gone.
LATEST_KILL = 2.5
PATIENCE = 20.0
APP = """
import subprocess

def handler(event, context):
    for apart in (False, True):
        subprocess.Popen(["sleep", "600"], start_new_session=apart)
    subprocess.run(["sh", "-c", "setsid sleep 600 & exit"])
"""


def marked(mark: str) -> list[str]:
    """Return the processes whose environment has *mark*, each with its command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (process / "environ").read_bytes():
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{process.name} {command}")
    return found


def left_behind(directory: Path, moment: float, options: Sequence[str]) -> list[str]:
    """Kill an emulator after *moment* seconds; return what lives on, which is killed then."""
    mark, port = f"MARK={uuid.uuid4()}", free_port()
    name, value = mark.split("=")
    emulator = subprocess.Popen(
        [sys.executable, "-m", "lambda_ric.cli", "dev", "app.handler", f"--port={port}", f"--env={mark}", *options],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), name: value},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    callers = [threading.Thread(target=_call, args=[emulator, port]) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(moment / 2)
    (directory / "app.py").touch()
    time.sleep(moment / 2)
    emulator.kill()
    emulator.wait()
    for caller in callers:
        caller.join()
    until = time.monotonic() + PATIENCE
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(0.01)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(int(process.split()[0]), signal.SIGKILL)
    return left


def _call(emulator: subprocess.Popen[bytes], port: int) -> None:
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    with httpx.Client(trust_env=False) as client:
        while emulator.poll() is None:
            try:
                client.post(url, json={})
            except httpx.HTTPError:  # not there yet, or no longer
                time.sleep(0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.leftovers", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="emulators to kill (200)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), metavar="N", help="of the moments")
    parser.add_argument("options", nargs="*", help="of lambda-ric dev, after --")
    given = parser.parse_args(arguments)
    moments = random.Random(given.seed)
    runs_with_leftovers = 0
    with tempfile.TemporaryDirectory(prefix="lambda-ric-leftovers-") as name:
        directory = Path(name)
        (directory / "app.py").write_text(APP)
        for run in range(given.runs):
            moment = moments.uniform(0, LATEST_KILL)
            if left := left_behind(directory, moment, given.options):
                runs_with_leftovers += 1
                print(f"run {run}, killed after {moment:.3f} s: {'; '.join(left)}", file=sys.stderr)
    print(f"--seed {given.seed}\n\n| emulators killed | with something left |\n|--:|--:|")
    print(f"| {given.runs} | {runs_with_leftovers} |")
    return 1 if runs_with_leftovers else 0


if __name__ == "__main__":
    sys.exit(main())
