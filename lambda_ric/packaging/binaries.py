"""
Extension modules and programs: are they for the platform, and does its C library have what they ask for?
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from .platforms import Platform
from .tree import File, Tree

_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "arm64"}
_MAGIC = {
    b"\xcf\xfa\xed\xfe": "macOS", b"\xca\xfe\xba\xbe": "macOS", b"\xfe\xed\xfa\xcf": "macOS", b"MZ": "Windows",
}  # fmt: skip


def problems(tree: Tree, platform: Platform) -> list[str]:
    """Return what would not start, one line for each file, with whose it is and the reason."""
    found = []
    for path, file in tree.sorted():
        reason = _foreign_abi(path, tree, platform) or _reason(path, file, platform)
        if reason:
            found.append(f"{path} of {file.owner} {reason}")
    return found


def _foreign_abi(path: str, tree: Tree, platform: Platform) -> str:
    """Say for which other Python the name of an extension module is, unless the right one lies beside it."""
    name = PurePosixPath(path).name
    if not name.endswith(".so"):
        return ""
    match = re.search(r"\.cpython-(\d)(\d+)(t?)[\w-]*\.so$", name)
    if "musl" in name:
        return "is for musl; Lambda has glibc"
    if match is None:
        return ""
    version = f"{match[1]}.{match[2]}"
    stem = name.split(".")[0]
    beside = PurePosixPath(path).parent
    if version == platform.python or any(
        (beside / f"{stem}.{right}").as_posix() in tree.files
        for right in (f"{platform.cache_tag}-{platform.machine}-linux-gnu.so", "abi3.so")
    ):
        return ""
    return f"is for Python {version}; the package is for {platform.python}"


def _reason(path: str, file: File, platform: Platform) -> str:
    start = _start_of(file)
    if start == b"\x7fELF":
        try:
            return _elf_reason(ELFFile(io.BytesIO(file.read())), platform)
        except (ELFError, ValueError, KeyError):
            return "is a broken ELF file"
    if path.endswith((".so", ".dylib")):
        system = next((system for magic, system in _MAGIC.items() if start.startswith(magic)), None)
        return f"is for {system}; Lambda has Linux" if system else ""
    return ""


def _elf_reason(elf: Any, platform: Platform) -> str:
    machine = _MACHINES.get(elf["e_machine"], str(elf["e_machine"]))
    if machine != platform.arch:
        return f"is for {machine}; the package is for {platform.arch}"
    needed = elf.get_section_by_name(".gnu.version_r")
    if needed is None:
        return ""
    too_new = {
        auxiliary["vna_other"]: auxiliary.name
        for _, auxiliaries in needed.iter_versions()
        for auxiliary in auxiliaries
        if (version := _glibc(auxiliary.name)) and version > platform.glibc
    }
    if not too_new:
        return ""
    symbols = [f"{name}@{too_new[index]}" for name, index in _versioned(elf) if index in too_new]
    listed = ", ".join(symbols[:5] or too_new.values())
    return f"needs {listed}; the package is for glibc {platform.glibc[0]}.{platform.glibc[1]}"


def _glibc(name: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name)
    return (int(match[1]), int(match[2])) if match else None


def _versioned(elf: Any) -> Iterator[tuple[str, int]]:
    versions, symbols = elf.get_section_by_name(".gnu.version"), elf.get_section_by_name(".dynsym")
    if versions is None or symbols is None:
        return
    for index, symbol in enumerate(symbols.iter_symbols()):
        entry = versions.get_symbol(index)["ndx"]
        if isinstance(entry, int):
            yield symbol.name, entry


def needed_libraries(content: bytes) -> list[str]:
    """Return the libraries that an ELF file is linked with; none for anything else."""
    if content[:4] != b"\x7fELF":
        return []
    dynamic: Any = ELFFile(io.BytesIO(content)).get_section_by_name(".dynamic")
    return [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"] if dynamic else []


def has_debug_symbols(content: bytes) -> bool:
    """Say whether `strip` would make an ELF file smaller."""
    if content[:4] != b"\x7fELF":
        return False
    names = {section.name for section in ELFFile(io.BytesIO(content)).iter_sections()}
    return bool(names & {".symtab", ".debug_info"})


def architecture(content: bytes) -> str:
    """Return Lambda's name of an ELF file's architecture, or ELF's for another."""
    machine = str(ELFFile(io.BytesIO(content))["e_machine"])
    return _MACHINES.get(machine, machine)


def _start_of(file: File) -> bytes:
    if isinstance(file.source, bytes):
        return file.source[:4]
    with file.source.open("rb") as stream:
        return stream.read(4)
