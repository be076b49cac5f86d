"""
What `py.typed` promises: every type that the package shows is written down, whoever's type checker reads it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NEEDS_DJANGO_6 = "lambda_ric.django_tasks."
"""Its base class is one of Django 6, which an older Python cannot have."""


def test_every_public_type_is_written_down() -> None:
    """What one checker infers, another one infers differently."""
    verified: dict[str, Any] = json.loads(
        subprocess.run(
            [sys.executable, "-m", "pyright", "--verifytypes", "lambda_ric", "--ignoreexternal", "--outputjson"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    )
    symbols = verified["typeCompleteness"]["symbols"]
    unknown = {
        symbol["name"]: [finding["message"] for finding in symbol["diagnostics"]]
        for symbol in symbols
        if symbol["isExported"] and not symbol["isTypeKnown"] and not symbol["name"].startswith(NEEDS_DJANGO_6)
    }

    assert len(symbols) > 1000
    assert unknown == {}
