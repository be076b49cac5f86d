"""
What ``python -m tests.proofs.packaging.first_contact`` does: the first screen of the README, word for word, as somebody
does it who has Python and nothing else.

A clone of what is committed, no virtual environment, one shell for all commands. What they install comes from an index,
so this is no part of the tests, which stand in for that (`test_readme`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.proofs.packaging.test_readme import commands


def main() -> int:
    ours = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with tempfile.TemporaryDirectory(prefix="lambda-ric-first-") as folder:
        clone = Path(folder, "lambda_ric")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        path = os.pathsep.join([str(Path(sys.base_prefix, "bin")), "/usr/local/bin", "/usr/bin", "/bin"])
        started = time.monotonic()
        script = "set -ex\n" + "\n".join(commands())
        environment["PATH"] = path
        done = subprocess.run(["/bin/bash", "-c", script], cwd=clone, env=environment, check=False)
        built = clone / "shop" / "dist" / "function.zip"
        print(f"exit code {done.returncode}, {time.monotonic() - started:.0f} s, {built.name}: {built.exists()}")
        return done.returncode or not built.exists()


if __name__ == "__main__":
    sys.exit(main())
