"""
One FastAPI function, packed in three ways, from its start to its first poll: `python -m tests.benchmarks.packages`.

By `lambda-ric build`; by the recipe of uv's guide for Lambda and of `sam build`, which make no bytecode; and by
`pip install --target`, whose bytecode is bound to times that `zip` keeps and other tools do not. They take turns, each
from its unzipped folder, into which nothing is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from uv import find_uv_bin

from lambda_ric.cli import main as lambda_ric
from tests.conftest import ROOT
from tests.support.fakes import FakeRuntimeAPI
from tests.support.projects import unpack, write_project

APP = """
from fastapi import FastAPI

from lambda_ric.asgi import ASGIHandler

app = FastAPI()


@app.get("/orders/{order_id}")
async def order(order_id: str) -> dict[str, str]:
    return {"order": order_id}


handler = ASGIHandler(app)
"""
ORDINARY = "uv's guide, sam build"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.packages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="starts of each (15)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lambda-ric-packages-") as folder:
        packages = packed(Path(folder))
        taken: dict[str, list[float]] = {name: [] for name in packages}
        for number in range(options.rounds + 1):
            for name, task in packages.items():
                took = start(task)
                if number:  # the first start reads the files from the disk
                    taken[name].append(took)
    print("| packed by | start → first poll, minimum | median | ratio |\n|---|--:|--:|--:|")
    for name, times in taken.items():
        ratio = min(times) / min(taken[ORDINARY])
        print(f"| {name} | {min(times) * 1e3:.0f} ms | {median(times) * 1e3:.0f} ms | {ratio:.2f} |")
    return 0


def packed(folder: Path) -> dict[str, Path]:
    """Return the function's folders, as Lambda would unzip them."""
    project = write_project(folder / "project", {"app.py": APP, "requirements.txt": "fastapi\nlambda-ric\n"})
    lambda_ric(["build", str(project), "--handler", "app.handler"])
    built = unpack(project / "dist" / "function.zip", folder / "built")
    python = ["--python", sys.executable]
    installers = {
        ORDINARY: [find_uv_bin(), "pip", "install", "--quiet", "--no-compile-bytecode", *python],
        "pip install --target": [sys.executable, "-m", "pip", "install", "--quiet"],
    }
    packages = {"**lambda-ric build**": built}
    for number, (name, installer) in enumerate(installers.items()):
        target = folder / f"ordinary-{number}"
        subprocess.run([*installer, "--target", str(target), "fastapi"], check=True)
        subprocess.run([*installer, "--target", str(target), "--no-deps", "--upgrade", str(ROOT)], check=True)
        shutil.copy(project / "app.py", target)
        shutil.make_archive(str(target), "zip", target)
        packages[name] = unpack(target.with_suffix(".zip"), folder / f"unzipped-{number}")
    return packages


def start(task: Path) -> float:
    """Return the seconds from the start of the function in *task* to its first poll."""
    with FakeRuntimeAPI() as api:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "LAMBDA_RIC_PYTHON": sys.executable,
            "LAMBDA_TASK_ROOT": str(task),
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",  # as where nothing can be written to
            "_HANDLER": "app.handler",
        }
        started = time.time()
        function = subprocess.Popen([str(task / "bootstrap")], env=environment, cwd=task, stdout=subprocess.DEVNULL)
        api.wait_for(lambda: bool(api.polls))
        took = api.polls[0].at - started
        function.wait(timeout=20)
        return took


if __name__ == "__main__":
    sys.exit(main())
