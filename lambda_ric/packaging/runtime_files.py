"""
What of this package goes along: the half that runs in Lambda, and `bootstrap`.
"""

from __future__ import annotations

from pathlib import Path

import lambda_ric
from lambda_ric.version import __version__

from .tree import RUNTIME, Tree, files_below

_PACKAGE = Path(lambda_ric.__file__).parent

# What only a developer's machine needs.
TOOLS = ("cli/", "emulator/", "packaging/", "testing.py")


def bootstrap() -> bytes:
    """Return the start script."""
    return Path(__file__).with_name("bootstrap").read_bytes()


def add_runtime(tree: Tree, folder: str = "") -> None:
    """Add the runtime half to *tree*, below *folder*."""
    for path, source in files_below(_PACKAGE):
        if not path.startswith(TOOLS) and "__pycache__" not in path and path.endswith((".py", ".typed")):
            tree.add(f"{folder}lambda_ric/{path}", source, RUNTIME, executable=False)
    metadata = f"Metadata-Version: 2.1\nName: lambda-ric\nVersion: {__version__}\n"
    tree.add(f"{folder}lambda_ric-{__version__}.dist-info/METADATA", metadata.encode(), RUNTIME)
