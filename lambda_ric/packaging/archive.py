"""
The zip: the same files make the same bytes, on any day.

The bytes of the compression are zlib's. Its versions and relatives may write others for the same content, so the
content has a digest of its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import PackagingError
from .tree import Tree, files_below

MANIFEST = "lambda-ric.json"
"""What every package has at its root: by it one is told from a folder of other things."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that zip can say


def write_zip(tree: Tree, output: Path) -> int:
    """
    Write *tree* to *output*, whole or not at all; return its size in bytes.

    Raises:
        PackagingError: There is a folder.
    """
    if output.is_dir():
        raise PackagingError(f"{output} is a folder: name a file that ends in .zip")
    with replacing(output) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, file in tree.sorted():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.create_system = 3  # Unix, so that the modes count
            info.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file.read(), compresslevel=6)
    return output.stat().st_size


def write_folder(tree: Tree, output: Path) -> int:
    """
    Write *tree* into the folder *output*, whole or not at all; return the number of bytes.

    Raises:
        PackagingError: The folder holds other things than a package, which would be lost; or it is a file.
    """
    if output.is_file():
        raise PackagingError(f"{output} is a file: name one that ends in .zip, or a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).exists():
        raise PackagingError(f"{output} is not empty and holds no package that was built before: name another folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        new, old = Path(work, "new"), Path(work, "old")
        new.mkdir(mode=0o755)
        for path, file in tree.sorted():
            target = new / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read())
            target.chmod(0o755 if file.executable else 0o644)
        if output.exists():
            output.rename(old)
        new.rename(output)
    return tree.size


@contextmanager
def replacing(output: Path) -> Iterator[IO[bytes]]:
    """Provide a file that becomes *output* when the body has ended well; else *output* stays what it was."""
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.chmod(name, 0o644)
        os.replace(name, output)
    except BaseException:
        os.unlink(name)
        raise


def digests(tree: Tree) -> dict[str, str]:
    """Return what says all of each file: its mode and the SHA-256 of its content."""
    return {
        path: f"{'755' if file.executable else '644'} {hashlib.sha256(file.read()).hexdigest()}"
        for path, file in tree.sorted()
    }


def digests_of(package: Path) -> dict[str, str]:
    """
    Return the same of a package that was written, a zip or a folder.

    Raises:
        OSError: It cannot be read.
        zipfile.BadZipFile: It is neither.
    """
    if package.is_dir():
        there = Tree()
        for path, source in files_below(package):
            there.add(path, source, "")
        return digests(there)
    with zipfile.ZipFile(package) as opened:
        return {
            info.filename: f"{info.external_attr >> 16 & 0o777:o} {hashlib.sha256(opened.read(info)).hexdigest()}"
            for info in opened.infolist()
            if not info.is_dir()
        }


def content_digest(contents: dict[str, str]) -> str:
    """Return one SHA-256 for all of *contents*: the same wherever the package is made."""
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(contents.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
