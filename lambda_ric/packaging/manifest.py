"""
What a package says of itself: `lambda-ric.json` at its root, without times and places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lambda_ric.version import __version__

from .platforms import Platform
from .wheels import Distribution


def manifest(
    target: str,
    platform: Platform,
    handler: str,
    distributions: Sequence[Distribution],
    interpreter: str | None,
    bytecode: str | None,
    without_bytecode: Sequence[str],
) -> bytes:
    """Return the text: what was packed, for what, and by which interpreter its bytecode was made."""
    content: Mapping[str, Any] = {
        "lambda-ric": __version__,
        "target": target,
        "arch": platform.arch,
        "python": platform.python,
        "glibc": ".".join(map(str, platform.glibc)),
        "handler": handler or None,
        "interpreter": interpreter,
        "bytecode": bytecode,
        "without bytecode": sorted(without_bytecode),
        "packages": {distribution.name: distribution.version for distribution in distributions},
    }
    return (json.dumps(content, indent=2) + "\n").encode()
