"""
Threads that are still at work when their invocation is over.

A function has many threads that are not: of pools, of queues, of exporters of telemetry, of database drivers, which
wait for what comes next, and may wait for ever. Which ones is told by where a thread stands, not by whose it is. The
kernel knows that, since all waiting is done in it:

    it runs, or could                              at work; a library's may be on its way back to where it waits
    it waits for a lock, a pipe, a socket          idle: so do conditions, events, queues and selectors
    it sleeps                                      at work, if code of the function's sleeps; else it is idle: helpers
                                                   of libraries sleep between two looks, as PyMongo's do
    it is in any other call, for a child, a disk   at work

A thread that computes waits for a lock as well, while another one has the interpreter's, but never without a timeout.
Such a one is looked at again, and is at work if it has used its time.
"""

from __future__ import annotations

import opcode
import os
import sys
import threading
import time

from lambda_ric.threads import ORIGIN, package_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from lambda_ric.context import InvocationScope


def left_running(invocation: InvocationScope) -> list[tuple[threading.Thread, str]]:
    """Return the threads of *invocation* that are at work, and the line that started each: every thread once."""
    found = []
    for thread in threading.enumerate():
        origin = vars(thread).get(ORIGIN)
        if origin is None or thread.name.startswith("lambda_ric.") or origin[0] is not invocation:
            continue
        if _is_at_work(thread, origin[1]):
            del vars(thread)[ORIGIN]
            found.append((thread, origin[1]))
    return found


RUNS, WAITS, SLEEPS, MAY_RUN, ELSEWHERE = "runs", "waits", "sleeps", "may run", "elsewhere"


def _is_at_work(thread: threading.Thread, line: str) -> bool:
    stands = _place_of(thread)
    frame = sys._current_frames().get(thread.ident or 0)
    if stands is None or frame is None:
        return frame is not None and _seems_at_work(frame)
    if stands == WAITS:
        return False
    if _is_of_library(line.rpartition(":")[0]) and not _runs_code_of_function(frame):
        return False  # a helper of a library's, which does what it has to between two jobs, say
    return stands != MAY_RUN or _uses_its_time(thread)


def _place_of(thread: threading.Thread) -> str | None:
    """
    Return what the kernel says of *thread*; None if it does not tell.

    https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html
    """
    numbers = _CALLS.get(os.uname().machine)
    try:
        with open(f"/proc/self/task/{thread.native_id}/syscall", encoding="ascii") as file:
            call, *arguments = file.read().split()
    except (OSError, ValueError):
        return None
    if numbers is None or call == "running":
        return RUNS if numbers else None
    futex, sleeping, waiting = numbers
    if int(call) == futex:
        return WAITS if int(arguments[3], 16) == 0 else MAY_RUN
    if int(call) in sleeping:
        return SLEEPS
    return WAITS if int(call) in waiting else ELSEWHERE


# The numbers of futex, of nanosleep and clock_nanosleep, and of read, poll, select, accept, recvfrom, recvmsg,
# rt_sigtimedwait, epoll_wait, pselect6, ppoll, epoll_pwait, accept4, recvmmsg, epoll_pwait2, as far as there are any:
# https://github.com/torvalds/linux/blob/v6.6/arch/x86/entry/syscalls/syscall_64.tbl
# https://github.com/torvalds/linux/blob/v6.6/include/uapi/asm-generic/unistd.h
_CALLS = {
    "x86_64": (202, {35, 230}, {0, 7, 23, 43, 45, 47, 128, 232, 270, 271, 281, 288, 299, 441}),
    "aarch64": (98, {101, 115}, {63, 202, 207, 212, 137, 72, 73, 22, 242, 243, 441}),
}


def _uses_its_time(thread: threading.Thread) -> bool:
    try:
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        before = time.clock_gettime(clock)
        for _ in range(_LOOKS):
            time.sleep(_A_LOOK)
            if time.clock_gettime(clock) - before > _A_LOOK / 4:
                return True
    except OSError:
        pass  # it has ended
    return False


_LOOKS = 3
_A_LOOK = 0.002


def _runs_code_of_function(frame: FrameType) -> bool:
    # Whoever hands arguments on runs code of somebody else's, which has no frame of its own where it is written in C.
    if frame.f_code.co_code[frame.f_lasti] == opcode.opmap["CALL_FUNCTION_EX"]:
        return True
    return any(not _is_of_library(one.f_code.co_filename) for one in _stack(frame) if package_of(one) != "lambda_ric")


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_of_library(file: str) -> bool:
    """Say whether *file* is Python's, or a distribution's, which may be installed beside the function's modules."""
    if file.startswith(_PYTHON) or "site-packages" in file:
        return True
    for directory in sys.path:
        inside = file.removeprefix(directory.rstrip("/") + "/")
        if directory and inside != file:
            return any(f"\n{inside}," in f"\n{record}" for record in _records(directory))
    return False


_PYTHON = (os.path.dirname(os.__file__) + os.sep, "<frozen ")


def _records(directory: str) -> Iterator[str]:
    # https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
    try:
        entries = os.listdir(directory)
    except OSError:
        return
    for entry in entries:
        if entry.endswith(".dist-info"):
            try:
                with open(f"{directory}/{entry}/RECORD", encoding="utf-8", errors="replace") as file:
                    yield file.read()
            except OSError:
                continue


# Where the kernel does not tell, modules in which a thread waits for what it is to do next.
_WAITING_FOR_WORK = frozenset(("asyncio", "concurrent", "multiprocessing", "queue", "selectors", "socketserver"))


def _seems_at_work(frame: FrameType) -> bool:
    inner = next((one for one in _stack(frame) if package_of(one) != "threading"), None)
    if inner is None:
        return False
    return package_of(inner) not in _WAITING_FOR_WORK or inner.f_code.co_name == "run"
