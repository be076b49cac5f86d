"""
Commands that see other files at absolute paths, such as Lambda's /var/task, on a machine that stays as it is.

Knows how to get a mount namespace; what happens inside it is in tools/private-mounts.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
SCRIPT = TOOLS / "private-mounts"

# Root has a mount namespace for the asking. Others get one inside a user namespace in which they are root.
AS_ROOT = ("unshare", "--mount")
AS_USER = ("unshare", "--mount", "--user", "--map-root-user")
AS_USER_WITH_OTHERS = (*AS_USER, "--map-auto")


def with_mounts(
    mounts: Mapping[str, Path], stage: Path, command: Sequence[str], *, other_users: bool = False
) -> list[str]:
    """
    Return *command* such that it sees each path of *mounts*, read-only, in the place that is its key.

    *stage* is an empty directory for its use; *other_users* says that the command will change to other users. The
    test fails where the machine allows no mount namespace.
    """
    places = [f"{place}={source}" for place, source in mounts.items()]
    way_in = _way_in(AS_ROOT, AS_USER_WITH_OTHERS if other_users else AS_USER)
    return [*way_in, str(SCRIPT), str(stage), *places, "--", *command]


def in_lambda_root(root: Path, mounts: Mapping[str, Path], command: Sequence[str]) -> list[str]:
    """Return *command* such that *root* is all that it sees, with *mounts* in it; see `tools/lambda-root`."""
    places = [f"{place}={source}" for place, source in mounts.items()]
    return [*_way_in(AS_ROOT, AS_USER_WITH_OTHERS), str(TOOLS / "lambda-root"), str(root), *places, "--", *command]


def in_stage_root(root: Path, user: str, workdir: str, command: Sequence[str]) -> list[str]:
    """Return *command* such that it runs in a stage of a Dockerfile; see `tools/stage-root`."""
    return [*_way_in(AS_ROOT, AS_USER_WITH_OTHERS), str(TOOLS / "stage-root"), str(root), user, workdir, *command]


def os_only_root(root: Path) -> Path:
    """Fill *root* with what provided.al2023 has that matters here: a shell and the C library, and no Python."""
    for folder in ("bin", "dev", "tmp", "opt", "var/task"):
        (root / folder).mkdir(parents=True)
    (root / "dev" / "null").touch()
    shutil.copy(os.path.realpath("/bin/sh"), root / "bin" / "sh")
    loaded = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(", loaded):
        beside = Path(library)
        libraries = {beside, *(beside.parent / name for name in OF_GLIBC if (beside.parent / name).exists())}
        for path in libraries if "libc." in beside.name else {beside}:
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(path), target)
    return root


OF_GLIBC = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libgcc_s.so.1")


@functools.cache
def _way_in(*ways: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of *ways* that works on this machine."""
    refusals = []
    for way in ways:
        attempt = subprocess.run([*way, "true"], capture_output=True, text=True, timeout=10)
        if attempt.returncode == 0:
            return way
        refusals.append(f"{' '.join(way)}: {attempt.stderr.strip()}")
    pytest.fail(
        "this test needs a private mount namespace, which this machine does not allow: run the tests as root (in a "
        "container with CAP_SYS_ADMIN), or allow user namespaces, with Debian's package uidmap and ranges in "
        "/etc/subuid and /etc/subgid\n" + "\n".join(refusals),
        pytrace=False,
    )
