"""
Child processes that still run when their invocation is over, and would be frozen with it.

Loaded when the function can have any.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

from lambda_ric.failures import tell

log: logging.Logger = logging.getLogger("lambda_ric.children")


class Children:
    """Those of this process; each is told of once, and with *terminate* ended."""

    def __init__(self, *, terminate: bool) -> None:
        self._terminate = terminate
        self._known: set[tuple[int, str]] = set()

    def keep(self) -> None:
        """Take those that run now for ones that are to stay, as what is started during init is."""
        self._known = set(_running())

    def look(self, grace: float) -> None:
        """Name those that are new; end them if that is wanted, *grace* seconds after SIGTERM by SIGKILL."""
        running = _running()
        new = {child: command for child, command in running.items() if child not in self._known}
        self._known = set(running)
        if self._terminate and new:
            _end([pid for pid, _ in new], grace)
        for (pid, _), command in new.items():
            if self._terminate:
                tell(log, logging.WARNING, "child process %d still ran: terminated. It was: %s", pid, command)
            else:
                tell(
                    log,
                    logging.WARNING,
                    "child process %d still runs, and stands still until the next event when the environment is "
                    "frozen: wait for it, or see LAMBDA_RIC_CHILDREN. It is: %s",
                    pid,
                    command,
                )


def end_all(since: float) -> None:
    """
    Kill the children that were started *since*, in seconds since boot, and all that these have started.

    Python's own helpers end by themselves, and tidy up.
    """
    parents: dict[int, int] = {}
    started_at: dict[int, float] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.isdigit():
            try:
                fields = _read(f"/proc/{entry}/stat").rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            parents[int(entry)] = int(fields[1])
            started_at[int(entry)] = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # The clock of /proc has ticks of 10 ms.
    children = [pid for pid, parent in parents.items() if parent == os.getpid() and started_at[pid] > since - 0.01]
    found = list(children)
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    _send(signal.SIGKILL, [pid for pid in found if not _is_helper(pid)])
    until = time.monotonic() + _REAPING_TIME
    while children and time.monotonic() < until:
        children = [pid for pid in children if not _is_helper(pid) and not _is_reaped(pid)]
        if children:
            time.sleep(_A_MOMENT)


def _is_helper(pid: int) -> bool:
    try:
        return any(helper in _read(f"/proc/{pid}/cmdline") for helper in _HELPERS)
    except OSError:
        return False


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _running() -> dict[tuple[int, str], str]:
    """Return the command lines of the children that have not ended, by process id and start time."""
    try:
        os.waitid(os.P_ALL, 0, _LOOK)
        entries = os.listdir("/proc")
    except (ChildProcessError, AttributeError, OSError):  # there are none; or this is macOS, without either
        return {}
    names = _names()
    found = {}
    for entry in entries:
        try:
            # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, from the state on: the name before it is free
            fields = _read(f"/proc/{entry}/stat").rpartition(")")[2].split() if entry.isdigit() else []
            if not fields or fields[0] == "Z" or int(fields[1]) != os.getpid():
                continue
            command = _read(f"/proc/{entry}/cmdline").replace("\0", " ").strip()
        except OSError:
            continue  # it has ended meanwhile
        if not any(helper in command for helper in _HELPERS):
            found[int(entry), fields[19]] = names.get(int(entry)) or command[:_LONGEST] or "unknown"
    return found


def _names() -> dict[int | None, str]:
    # A fork has the command line of its parent, which says nothing.
    process = sys.modules.get("multiprocessing.process")
    return {child.pid: child.name for child in process.active_children()} if process else {}


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _end(pids: list[int], grace: float) -> None:
    _send(signal.SIGTERM, pids)
    until = time.monotonic() + grace
    while (left := [pid for pid in pids if not _has_ended(pid)]) and time.monotonic() < until:
        time.sleep(_A_MOMENT)
    _send(signal.SIGKILL, left)


def _send(number: int, pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass  # it has ended meanwhile, or belongs to another user by now


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, _LOOK) is not None
    except ChildProcessError:
        return True


# Only look: the exit status is for the code that started the child.
_LOOK = getattr(os, "WEXITED", 0) | os.WNOHANG | getattr(os, "WNOWAIT", 0)
_LONGEST = 200
# Seconds for the system to end what was killed, so that nobody inherits it.
_REAPING_TIME = 0.1
_A_MOMENT = 0.001
# Python's own, which stay for good.
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
