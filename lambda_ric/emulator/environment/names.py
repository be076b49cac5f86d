"""
The name that the inside of an environment has on Lambda, and may not have here.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lambda_ric.emulator.function.function import Function

# https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html
INSIDE = "sandbox.localdomain"
MISSING_NAME = (
    f"an extension knows the name {INSIDE}, at which AWS's samples listen, and it does not resolve on this machine:"
    f" add the line '127.0.0.1 {INSIDE}' to /etc/hosts"
)


def needs_name(function: Function, hosts: Path = Path("/etc/hosts")) -> bool:
    """Return whether an extension of *function* has the name in it, and this machine has not in its *hosts*."""
    with suppress(OSError):
        if any(INSIDE in line.partition("#")[0].split() for line in hosts.read_text().splitlines()):
            return False
    for path in function.extensions:
        with suppress(OSError):
            if INSIDE.encode() in path.read_bytes():
                return True
    return False
