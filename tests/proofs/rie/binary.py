"""
Where AWS's runtime interface emulator comes from: the newest public build is part of a package on PyPI.

`python -m tests.proofs.rie.binary` fetches it once into .cache and prints its path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-sam-cli"
VERSION = "1.170.0"
CACHE = Path(__file__).parents[3] / ".cache" / "rie"

SHA256 = {
    "arm64": "ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21",
    "x86_64": "6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5",
}


def path() -> Path:
    """
    Return the path of the binary for this machine, after fetching it if it is not there yet.

    Raises:
        RuntimeError: There is none for this machine, or it cannot be fetched.
    """
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if machine not in SHA256:
        raise RuntimeError(f"AWS publishes no emulator for {machine}, only for {' and '.join(SHA256)}")
    binary = CACHE / f"aws-lambda-rie-{VERSION}-{machine}"
    if not binary.exists():
        _fetch(machine, binary)
    return binary


def _fetch(machine: str, binary: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        wheel = _download(Path(directory))
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(f"samcli/local/rapid/aws-lambda-rie-{machine}")
        if (digest := hashlib.sha256(content).hexdigest()) != SHA256[machine]:
            raise RuntimeError(f"the emulator in {wheel.name} is not the known one: its SHA-256 is {digest}")
        part = Path(directory) / "aws-lambda-rie"
        part.write_bytes(content)
        part.chmod(0o755)
        # In one step, so that another process never sees half a file.
        os.replace(part, binary)


def _download(directory: Path) -> Path:
    requirement = f"{PACKAGE}=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip = subprocess.run([*command, f"--dest={directory}", requirement], capture_output=True, text=True, timeout=300)
    wheels = list(directory.glob("*.whl"))
    if pip.returncode != 0 or not wheels:
        raise RuntimeError(f"pip could not download {requirement}:\n{pip.stdout}{pip.stderr}")
    return wheels[0]


if __name__ == "__main__":
    print(path())
