"""
Commands that see other files at absolute paths, such as Lambda's /var/task, on a machine that stays as it is.

Knows how to get a mount namespace; what happens inside it is in tools/private-mounts.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "tools" / "private-mounts"

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
