"""
One function, unchanged, in every place where Lambda runs Python: the same answers, and the same log.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, in_thread
from tests.conftest import CLEAN_ENVIRONMENT
from tests.proofs.rie.conftest import INTERPRETER, Start, install_runtime
from tests.proofs.rie.emulator import PATIENCE, PAUSE
from tests.support.fakes import FakeRuntimeAPI
from tests.support.private_mounts import in_lambda_root, os_only_root

EVENTS = [{"order": "o-17"}, {"order": "o-13"}]
MESSAGES = {
    "o-17": {
        "took o-17", "thanks for o-17", "counted o-17: NoneType", "receipt for o-17", "indexed o-17",
        "background task audit failed", "BACKGROUND",
    },
    "o-13": {
        "took o-13", "looked for o-13", "no order o-13", "counted o-13: LookupError", "receipt for o-13",
        "indexed o-13", "background task audit failed", "BACKGROUND",
    },
}  # fmt: skip
"""What is written for each event; the order in which work that runs at once writes is its own."""

ONLY_STOCK = "taskName"
"""What AWS's runtime writes into the records of coroutines since Python 3.12, as an extra that nobody has given."""

VARIABLES = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "TZ": ":UTC"}
FUNCTION = Path(__file__).parent / "function"


@dataclass(frozen=True)
class Told:
    """What the callers got, and the lines that were written, the platform's among them perhaps."""

    answers: Sequence[bytes]
    log: str

    def by_event(self, task_root: str) -> list[tuple[Any, list[Any]]]:
        """Return the answer to each event and its records, without what is another one's each time."""
        lines = self.log.replace(task_root, "/var/task").splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        # Records that belong to no invocation are the platform's, or say that the Runtime API has gone.
        ids = list(dict.fromkeys(record["requestId"] for record in records if record.get("requestId")))
        assert len(ids) == len(self.answers)
        return [
            (
                json.loads(answer.decode().replace(task_root, "/var/task").replace(request_id, "<id>")),
                sorted((_lasting(one) for one in records if one.get("requestId") == request_id), key=json.dumps),
            )
            for request_id, answer in zip(ids, self.answers, strict=True)
        ]


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    record = {key: value for key, value in record.items() if key not in ("timestamp", "requestId", ONLY_STOCK)}
    if "background" in record:
        record["background"] = {key: value for key, value in record["background"].items() if key != "durationMs"}
    return record


@dataclass(frozen=True)
class Here:
    """What a place may use: the package, a directory for itself, and AWS's emulator."""

    task: Path
    directory: Path
    start_classic: Start
    start_managed: Start


# The places...


def stock(here: Here) -> Told:
    """AWS's own runtime, as it is managed, and our internal extension."""
    version = "{}.{}".format(*sys.version_info)
    command = [sys.executable, "-m", "awslambdaric", "orders.handler"]
    return emulated(here.task, command=command, environment={"AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}"})


def wrapper(here: Here) -> Told:
    """AWS's start script, which executes our bootstrap with the command that it would have executed itself."""
    runtime = here.directory / "bootstrap"
    runtime.write_text(START_SCRIPT.format(python=sys.executable))
    runtime.chmod(0o755)
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": str(here.task / "bootstrap")}
    return emulated(here.task, command=[str(runtime)], handler="orders.handler", environment=variables)


START_SCRIPT = """#!/bin/bash
set -- {python} /var/runtime/bootstrap.py
if [ -z "$AWS_LAMBDA_EXEC_WRAPPER" ]; then exec "$@"; fi
if [ ! -f "$AWS_LAMBDA_EXEC_WRAPPER" ]; then echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"; exit 127; fi
if [ ! -x "$AWS_LAMBDA_EXEC_WRAPPER" ]; then echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"; exit 126; fi
exec -- "$AWS_LAMBDA_EXEC_WRAPPER" "$@"
"""


def bare_root(here: Here) -> Told:
    """``./bootstrap`` where there is a shell, the C library and an interpreter, and no more."""
    root = os_only_root(here.directory / "root")
    mounts = {"/var/task": here.task, "/var/lang": Path(sys.base_prefix)}
    folders = ("lib", f"lib/{os.uname().machine}-linux-gnu")
    variables = {"PATH": "/bin:/usr/sbin:/sbin", "LAMBDA_RIC_PYTHON": INTERPRETER, "LAMBDA_TASK_ROOT": "/var/task"}
    if any((Path(sys.base_prefix, folder) / "libc.so.6").exists() for folder in folders):
        # One that brings a C library along names it by its path on this machine, and no other program may load that.
        mounts[sys.base_prefix] = Path(sys.base_prefix)
    else:
        variables["LD_LIBRARY_PATH"] = os.pathsep.join(f"/var/lang/{folder}" for folder in folders)
    return scripted(in_lambda_root(root, mounts, ["/var/task/bootstrap"]), variables, Path("/"))


def module(here: Here) -> Told:
    """``python -m lambda_ric``, as the entry point of an image."""
    variables = {**CLEAN_ENVIRONMENT, "LAMBDA_TASK_ROOT": str(here.task)}
    return scripted([sys.executable, "-m", "lambda_ric"], variables, here.task)


def rie_classic(here: Here) -> Told:
    """Under AWS's runtime interface emulator, as in AWS's base images."""
    emulator = here.start_classic("./bootstrap", "orders.handler", **VARIABLES)
    answers = [emulator.invoke(event).body for event in EVENTS]
    return Told(answers, log_of(lambda: emulator.log))


def rie_managed(here: Here) -> Told:
    """Under the half of it that is Lambda Managed Instances."""
    emulator = here.start_managed("orders.handler", **VARIABLES)
    answers = [emulator.invoke_when_idle(event).body for event in EVENTS]
    return Told(answers, log_of(lambda: emulator.log))


PLACES = [stock, wrapper, bare_root, module, rie_classic, rie_managed]


# ...and how they are asked.


def emulated(task: Path, *, environment: dict[str, str] | None = None, **options: Any) -> Told:
    lines: list[str] = []
    emulator = Emulator(
        task_root=task,
        environment={**VARIABLES, **(environment or {})},
        on_log=lambda line: None if line.platform else lines.append(line.text),
        timeout=20,
        **options,
    )
    answers = []
    with in_thread(emulator) as served:
        for event in EVENTS:
            answer = served.invoke(event)
            served.finished(answer)
            answers.append(answer.payload)
    return Told(answers, "\n".join(lines))


def scripted(command: list[str], variables: dict[str, str], directory: Path) -> Told:
    with FakeRuntimeAPI(*EVENTS) as api:
        environment = {**variables, **VARIABLES, "AWS_LAMBDA_RUNTIME_API": api.address, "_HANDLER": "orders.handler"}
        done = subprocess.run(
            command, env=environment, cwd=directory, capture_output=True, timeout=PATIENCE * 2, check=False
        )
    assert len(api.posts) == len(EVENTS), done
    # The last line says that this API has no more events.
    return Told([post.body for post in api.posts], done.stdout.decode())


def log_of(read: Callable[[], str]) -> str:
    until = time.monotonic() + PATIENCE
    while (log := read()).count('"BACKGROUND"') < len(EVENTS):
        assert time.monotonic() < until, log
        time.sleep(PAUSE)
    return log


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, list[Any]]]:
    """What is told in the emulator of this package."""
    task = shutil.copytree(FUNCTION, tmp_path_factory.mktemp("usual") / "task")
    install_runtime(task, bootstrap=task)
    told = emulated(task, handler="orders.handler")
    return told.by_event(str(task))


def test_callers_and_the_log_are_told_what_the_function_says(usual: list[tuple[Any, list[Any]]]) -> None:
    """So that the places are not the same in saying nothing."""
    (answer, _), (error, _) = usual

    assert answer == {"order": "o-17", "for": "Zoë", "request": "<id>"}
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == ("LookupError", "no order o-13", "<id>")
    for order, (_, records) in zip(MESSAGES, usual, strict=True):
        assert {record.get("message", record.get("errorMessage")) for record in records} == MESSAGES[order]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.__name__))
def test_answers_and_records_are_the_same_everywhere(
    place: Callable[[Here], Told],
    usual: list[tuple[Any, list[Any]]],
    task: Path,
    tmp_path: Path,
    start_classic: Start,
    start_managed: Start,
) -> None:
    """The answers, error documents and records, with their levels, loggers, stacks, extras and ids."""
    shutil.copytree(FUNCTION, task, dirs_exist_ok=True)
    directory = tmp_path / "place"
    directory.mkdir()

    told = place(Here(task, directory, start_classic, start_managed))

    assert told.by_event(str(task)) == usual
