"""
The RIE and the packages that it runs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proofs.rie import binary
from tests.proofs.rie.emulator import Emulator, flags, running
from tests.support.ports import free_port
from tests.support.private_mounts import with_mounts

REPOSITORY = Path(__file__).parents[3]
FUNCTION = Path(__file__).parent / "function"

# Where Lambda has its interpreter, and where the one that runs the tests appears in private mounts.
INTERPRETER = f"/var/lang/bin/python{sys.version_info.major}.{sys.version_info.minor}"

PATH = "/usr/local/bin:/usr/bin:/bin"

Start = Callable[..., Emulator]


@pytest.fixture(scope="session")
def rie() -> Path:
    """The binary."""
    return binary.path()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The function's package as a zip holds it: bootstrap, lambda_ric and the function's own modules."""
    task = tmp_path / "task"
    shutil.copytree(FUNCTION, task, ignore=shutil.ignore_patterns("__pycache__"))
    install_runtime(task, bootstrap=task)
    return task


def install_runtime(packages: Path, *, bootstrap: Path) -> None:
    """Put lambda_ric into *packages* and its start script into *bootstrap*."""
    shutil.copytree(REPOSITORY / "lambda_ric", packages / "lambda_ric", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "bootstrap", bootstrap)


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


@pytest.fixture
def start_classic(rie: Path, task: Path, tmp_path: Path, exits: ExitStack) -> Start:
    """Run a command as the function, as container images with the RIE do."""

    def start(*command: str, **environ: str) -> Emulator:
        port = free_port()
        return exits.enter_context(
            running(
                [str(rie), *flags(port), *command],
                port=port,
                environ={"PATH": PATH, "LAMBDA_RIC_PYTHON": sys.executable, **environ},
                directory=task,
                log_file=tmp_path / "log",
            )
        )

    return start


@pytest.fixture
def start_managed(rie: Path, task: Path, tmp_path: Path, exits: ExitStack) -> Start:
    """
    Run the package as an environment of Lambda Managed Instances.

    This half of the RIE wants its function in /var/task or /opt and runs it as a user who may not look into
    other people's home directories; so the interpreter appears in /var/lang, where Lambda has it too.
    """

    def start(handler: str, places: dict[str, Path] | None = None, **environ: str) -> Emulator:
        stage = tmp_path / "stage"
        stage.mkdir()
        port = free_port()
        return exits.enter_context(
            running(
                with_mounts(
                    {"/var/task": task, "/var/lang": Path(sys.base_prefix), **(places or {})},
                    stage,
                    [str(rie), *flags(port)],
                    other_users=True,
                ),
                port=port,
                environ={
                    "PATH": PATH,
                    "LD_LIBRARY_PATH": "/var/lang/lib",
                    "LAMBDA_RIC_PYTHON": INTERPRETER,
                    "AWS_LAMBDA_MAX_CONCURRENCY": "1",
                    "_HANDLER": handler,
                    **environ,
                },
                directory=tmp_path,
                log_file=tmp_path / "log",
            )
        )

    return start
