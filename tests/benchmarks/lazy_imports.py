"""
What lazy imports of Python 3.15 mean for a function: the time of its init, of its first event, and of the next ones.

A function imports what a typical one does. It is started as it is, and with `PYTHON_LAZY_IMPORTS=all`, in turns; each
time in a fresh process, which gets three events: `.venv-3.15/bin/python -m tests.benchmarks.lazy_imports`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.fakes import FakeRuntimeAPI

ROOT = Path(__file__).parents[2]
RUNS = 15
FUNCTION = """
import time
began = time.process_time()
import asyncio, dataclasses, decimal, email.message, http.client, inspect, logging.config, pathlib, sqlite3, ssl, uuid
import xml.etree.ElementTree

init = time.process_time() - began

def handler(event, context):
    began = time.process_time()
    with ssl.create_default_context() and sqlite3.connect(":memory:") as database:
        database.execute("select 1")
    message = email.message.EmailMessage()
    message["id"] = str(uuid.uuid4())
    decimal.Decimal(1), pathlib.Path("x"), xml.etree.ElementTree.Element("x")
    return [init, time.process_time() - began]
"""
MODES: dict[str, dict[str, str]] = {"as it is": {}, "lazy": {"PYTHON_LAZY_IMPORTS": "all"}}


def play(environment: dict[str, str], folder: Path) -> list[float]:
    """Return CPU milliseconds: of the imports, of each of three events, and of the whole process."""
    with FakeRuntimeAPI(1, 2, 3) as api:
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "lambda_ric", "app.handler"],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "AWS_LAMBDA_RUNTIME_API": api.address, **environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        after = os.times()
        answers = [post.json() for post in api.posts]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return [1000 * seconds for seconds in (answers[0][0], *(answer[1] for answer in answers), cpu)]


def main() -> None:
    """Print a table."""
    if not hasattr(sys, "set_lazy_imports"):
        raise SystemExit("needs Python 3.15: .venv-3.15/bin/python -m tests.benchmarks.lazy_imports")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "app.py").write_text(FUNCTION)
        figures: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
        for _ in range(RUNS + 1):
            for mode, environment in MODES.items():
                figures[mode].append(play(environment, folder))
    medians = {mode: list(map(statistics.median, zip(*rows[1:], strict=True))) for mode, rows in figures.items()}
    print("| CPU, median | imports | first event | second | third | whole process |\n|---|--:|--:|--:|--:|--:|")
    for mode, row in medians.items():
        pairs = zip(row, medians["as it is"], strict=True)
        print(f"| {mode} | {' | '.join(f'{value:.1f} ms ({value / base:.2f})' for value, base in pairs)} |")


if __name__ == "__main__":
    main()
