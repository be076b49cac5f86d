"""
What a small function has less of than this machine: CPU time, and a directory to write to.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lambda_ric.emulator.function.function import Function
from lambda_ric.errors import ConfigurationError

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: so much memory comes with one whole CPU.
MEMORY_OF_ONE_CPU = 1769
# Microseconds: the kernel's default for how often a share is given out.
PERIOD = 100_000
# How often it is tried to remove a group before it is left to the system.
REMOVALS = 200

_numbers = itertools.count(1)

# The process joins its group before it becomes the runtime, so that nothing of it is outside.
_JOIN = 'for procs do case $procs in --) shift; break;; esac; echo $$ >"$procs" || exit; shift; done; exec "$@"'
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'


class Confinement:
    """
    Confines the processes of one environment as *function* wants it.

    Raises:
        ConfigurationError: This machine does not allow it; the text says what it would take.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._groups = [_cpu_group(function.memory)] if function.cpu_share else []

    @staticmethod
    def check(function: Function) -> None:
        """
        Try once whether *function* can be confined, so that no environment has to.

        Raises:
            ConfigurationError: This machine does not allow it; the text says what it would take.
        """
        Confinement(function).close()
        if function.read_only:
            _check_mounts(function.task_root)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that starts *arguments* in confinement."""
        command = list(arguments)
        if self._function.read_only:
            command = [*_UNSHARE, "sh", "-c", _READ_ONLY, "sh", str(self._function.task_root.resolve()), *command]
        if self._groups:
            procs = [str(group / "cgroup.procs") for group in self._groups]
            command = ["/bin/sh", "-c", _JOIN, "sh", *procs, "--", *command]
        return command

    def close(self) -> None:
        """Give the share back; the processes must have ended, and what they have left behind is ended here."""
        for group in self._groups:
            for _ in range(REMOVALS):
                with suppress(OSError):
                    group.rmdir()
                    break
                _kill(group)
                time.sleep(0.005)  # a process that was killed is in its group until somebody has waited for it


def _kill(group: Path) -> None:
    for pid in _words(group / "cgroup.procs"):
        with suppress(OSError):
            os.kill(int(pid), signal.SIGKILL)


def _cpu_group(memory: int) -> Path:
    """Make a control group whose processes have the CPU time that comes with *memory* MB."""
    quota = max(1000, PERIOD * memory // MEMORY_OF_ONE_CPU)
    name = f"lambda-ric-{os.getpid()}-{next(_numbers)}"
    reasons = []
    for parent, file, value in _places(quota):
        group = parent / name
        try:
            group.mkdir()
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
            continue
        try:
            (group / file).write_text(value)
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
            group.rmdir()
        else:
            return group
    raise ConfigurationError(
        "the CPU share needs a control group, and none can be made here"
        f" ({'; '.join(reasons[:3]) or 'no cpu controller found'}). With systemd, this gives one:"
        " systemd-run --user --scope -p Delegate=yes lambda-ric dev ..."
    )


def _places(quota: int) -> Iterator[tuple[Path, str, str]]:
    """Yield where a group with a CPU share could be made, from our own upwards: version 2 first, then version 1."""
    root = Path("/sys/fs/cgroup")
    with suppress(OSError):
        own = Path("/proc/self/cgroup").read_text()
        unified = root / "unified" if (root / "unified").is_dir() else root
        for line in re.findall(r"^0::/(.*)$", own, re.MULTILINE):
            for parent in _upwards(unified, line):
                if "cpu" in _words(parent / "cgroup.subtree_control"):
                    yield parent, "cpu.max", f"{quota} {PERIOD}"
        for line in re.findall(r"^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:/(.*)$", own, re.MULTILINE):
            for parent in _upwards(root / "cpu", line):
                yield parent, "cpu.cfs_quota_us", str(quota)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    place = root / path
    yield place
    while place != root:
        place = place.parent
        yield place


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


# Root may do it as it is; others need a namespace of users in which they are root.
_UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def _check_mounts(task_root: Path) -> None:
    command = [*_UNSHARE, "sh", "-c", _READ_ONLY, "sh", str(task_root.resolve()), "true"]
    try:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        reason = tried.stderr.strip() if tried.returncode else ""
    except OSError as exc:
        reason = f"cannot run unshare: {exc.strerror}"
    if reason:
        raise ConfigurationError(
            f"a read-only task directory needs a mount namespace, which this machine denies: {reason}"
        )
