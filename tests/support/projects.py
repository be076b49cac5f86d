"""
Projects to pack, the wheels that they need, and what becomes of them: nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str | bytes], tag: str = "py3-none-any", needs: str = ""
) -> Path:
    """Write a wheel into *folder*; paths in *files* are those of the wheel."""
    folder.mkdir(exist_ok=True)
    stem = f"{name}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        **files,
        f"{stem}.dist-info/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = ""
    wheel = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            archive.writestr(path, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
        archive.writestr(f"{stem}.dist-info/RECORD", record + f"{stem}.dist-info/RECORD,,\n")
    return wheel


def write_project(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write *files* below *folder*."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def names_in(archive: Path) -> set[str]:
    """Return the paths in a zip."""
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def unpack(archive: Path, folder: Path) -> Path:
    """Extract a zip with the modes that it records, as Lambda does."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = opened.extract(member, folder)
            os.chmod(path, member.external_attr >> 16)
    return folder


def make_library(folder: Path, name: str, needs: str = "") -> bytes:
    """Compile an empty shared library, which may need a symbol in the form ``name@VERSION`` of a C library."""
    folder.mkdir(parents=True, exist_ok=True)
    symbol, _, version = needs.partition("@")
    source, library = folder / "library.c", folder / name
    arguments: list[str | Path] = []
    if needs:
        (folder / "libc.c").write_text(f"void {symbol}(void) {{}}\n")
        (folder / "versions").write_text(f"{version} {{ global: {symbol}; }};\n")
        cc(
            "-o", folder / "libfake.so", folder / "libc.c",
            f"-Wl,--version-script={folder}/versions", "-Wl,-soname,libc.so.6",
        )  # fmt: skip
        arguments = [folder / "libfake.so"]
    source.write_text(f"void {symbol}(void); void start(void) {{ {symbol}(); }}\n" if needs else "int nothing;\n")
    cc("-o", library, source, *arguments)
    return library.read_bytes()


def for_arm64(library: bytes) -> bytes:
    """Return *library* with the mark of the other architecture: e_machine is EM_AARCH64."""
    return library[:18] + b"\xb7\x00" + library[20:]


def cc(*arguments: str | Path) -> None:
    """Compile a shared library."""
    subprocess.run(["cc", "-shared", "-fPIC", "-nostdlib", *arguments], check=True, timeout=30)
