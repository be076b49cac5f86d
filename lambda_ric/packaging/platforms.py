"""
Where a package will run: Lambda's machines, their C library, and what they take.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html and gettingstarted-limits.html, 2026-11-21.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import PackagingError

MAX_UPLOAD_BYTES = 50 * 1024 * 1024
"""A zip that is sent with the call itself; larger ones go by S3."""

MAX_UNZIPPED_BYTES = 250 * 1024 * 1024
"""A function's zip and its layers together, unzipped."""

MANAGED_PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
"""Versions for which Lambda has a runtime and this package a loop."""

AMAZON_LINUX_2023 = (2, 34)
AMAZON_LINUX_2 = (2, 26)

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's names, and those of wheels, ELF files and uv."""

# The C libraries for which uv can choose wheels, newest first.
_MANYLINUX = ((2, 40), (2, 39), (2, 38), (2, 37), (2, 36), (2, 35), (2, 34), (2, 31), (2, 28), (2, 17))


class Platform(NamedTuple):
    """A kind of machine: Lambda's name of its architecture, a version of Python, a version of glibc."""

    arch: str
    python: str
    glibc: tuple[int, int]

    @property
    def machine(self) -> str:
        """The architecture as wheels spell it."""
        return ARCHITECTURES[self.arch]

    @property
    def uv_name(self) -> str:
        """What ``uv pip install --python-platform`` calls it."""
        major, minor = next(version for version in _MANYLINUX if version <= self.glibc)
        return f"{self.machine}-manylinux_{major}_{minor}"

    @property
    def cache_tag(self) -> str:
        """The middle part of the names of bytecode files and extension modules."""
        return f"cpython-{self.python.replace('.', '')}"

    def __str__(self) -> str:
        return f"{self.arch}, Python {self.python}, glibc {self.glibc[0]}.{self.glibc[1]}"


def platform(arch: str, python: str, *, managed: bool = False, glibc: str | None = None) -> Platform:
    """
    Return the platform; *managed* says that the interpreter is AWS's, *glibc* is for systems other than Lambda's.

    Raises:
        PackagingError: There is no such platform.
    """
    if arch not in ARCHITECTURES:
        raise PackagingError(f"there is no architecture {arch!r} on Lambda: choose {' or '.join(ARCHITECTURES)}")
    parts = python.split(".")
    if not (2 <= len(parts) <= 3 and all(part.isdigit() for part in parts)):
        raise PackagingError(f"{python!r} is no version of Python: write it like 3.13")
    version = int(parts[0]), int(parts[1])
    short = f"{version[0]}.{version[1]}"
    if version < (3, 11):
        raise PackagingError(f"Python {short} is too old: this runtime needs 3.11 or later")
    if managed and short not in MANAGED_PYTHONS:
        raise PackagingError(
            f"Python {short} is too new: Lambda has managed runtimes for {MANAGED_PYTHONS[0]} to "
            f"{MANAGED_PYTHONS[-1]}. Choose one of them with --python, or bring an interpreter: --target provided"
        )
    libc = AMAZON_LINUX_2 if managed and short == "3.11" else AMAZON_LINUX_2023
    if glibc is not None:
        numbers = glibc.split(".")
        good = len(numbers) == 2 and all(number.isdigit() for number in numbers)
        libc = (int(numbers[0]), int(numbers[1])) if good else (0, 0)
        if libc < _MANYLINUX[-1]:
            raise PackagingError(f"{glibc!r} is no version of glibc from 2.17 on: write it like 2.34")
    return Platform(arch, short, libc)
