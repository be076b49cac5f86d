"""
The package with an interpreter, in a root file system like that of Lambda's OS-only runtime.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.packaging.conftest import Run
from tests.support.fakes import FakeRuntimeAPI
from tests.support.private_mounts import in_lambda_root, os_only_root
from tests.support.projects import unpack, write_project

APP = """
import os
import sys

from lambda_ric import wait_until


def handler(event, context):
    wait_until(print, "after the response")
    try:
        open("/var/task/new", "w")
    except OSError as error:
        refusal = type(error).__name__
    open("/tmp/new", "w").close()
    return {
        "refusal": refusal, "user": os.getuid(), "home": os.environ.get("HOME"), "python": sys.executable,
        "version": sys.version_info[:2], "compiled": handler.__code__.co_filename,
        "cached": sys.modules["json"].__cached__,
    }
"""

# As Lambda sets it on its OS-only runtime.
LIBRARIES = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"


def glibc() -> str:
    """Return the version of this machine's: the interpreter at hand is built for it, not for Lambda's."""
    return subprocess.run(["getconf", "GNU_LIBC_VERSION"], capture_output=True, text=True, check=True).stdout.split()[1]


def test_package_brings_all_that_the_os_only_runtime_has_not(run: Run, tmp_path: Path) -> None:
    """No Python outside of it, a read-only root, a user without rights or HOME: it starts, answers and goes on."""
    project = write_project(tmp_path / "shop", {"app.py": APP})
    built = run(
        "build", project, "--target", "provided", "--interpreter", sys.base_prefix, "--glibc", glibc(),
        "--handler", "app.handler",
    )  # fmt: skip
    assert built.exit_code == 0, built
    task = unpack(project / "dist" / "function.zip", tmp_path / "task")
    root = os_only_root(tmp_path / "root")

    with FakeRuntimeAPI({"id": "o-17"}) as api:
        function = subprocess.run(
            in_lambda_root(root, {"/var/task": task}, ["/var/task/bootstrap"]),
            env={
                "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin:/usr/sbin:/sbin",
                "LD_LIBRARY_PATH": LIBRARIES,
                "LANG": "en_US.UTF-8",
                "LAMBDA_TASK_ROOT": "/var/task",
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "_HANDLER": "app.handler",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert [(post.name, post.json()) for post in api.posts] == [
        (
            "response",
            {
                "refusal": "OSError",
                "user": 993,
                "home": None,
                "python": "/var/task/bin/python3",
                "version": list(sys.version_info[:2]),
                "compiled": "/var/task/app.py",
                "cached": f"/var/task/lib/python3.{sys.version_info[1]}/json/__pycache__/"
                f"__init__.{sys.implementation.cache_tag}.pyc",
            },
        )
    ], function
    assert "after the response" in function.stdout
