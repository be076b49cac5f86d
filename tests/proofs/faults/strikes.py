"""
The faults: what the code of a function can do wrong, each a function of its own.

Loaded by the functions of *places* in the process that they strike.
"""

from __future__ import annotations

import logging.config
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .hostile import Undying, Unprintable, Unreadable, Unrepresentable, Unusual


class Fault(NamedTuple):
    """
    One fault.

    After a *lasting* one the process is not as it was, and is of no use for other faults; a *hanging* one is to meet
    the function's deadline.
    """

    title: str
    strike: Callable[[], object]
    lasting: bool
    hanging: bool


FAULTS: dict[str, Fault] = {}


def fault(title: str, *, lasting: bool = False, hanging: bool = False) -> Callable[[Callable[[], object]], None]:
    """Add a function to the faults; it is called by its name."""

    def add(strike: Callable[[], object]) -> None:
        FAULTS[strike.__name__] = Fault(title, strike, lasting, hanging)

    return add


def strike(name: str | None) -> Any:
    """Let the fault *name* strike, and return its result; without one, say which process this is."""
    if not name:
        return f"served by {os.getpid()}"
    result = FAULTS[name].strike()
    return "done" if result is None else result


# Exceptions...


@fault("an exception")
def exception() -> None:
    raise ValueError("broken")


@fault("`SystemExit`")
def system_exit() -> None:
    sys.exit(3)


@fault("`KeyboardInterrupt`")
def keyboard_interrupt() -> None:
    raise KeyboardInterrupt


@fault("an exception that is no `Exception`")
def base_exception() -> None:
    raise Unusual("broken")


@fault("`GeneratorExit`")
def generator_exit() -> None:
    raise GeneratorExit("broken")


@fault("`StopIteration`")
def stop_iteration() -> None:
    raise StopIteration("broken")


@fault("`asyncio.CancelledError`")
def cancelled_error() -> None:
    import asyncio

    raise asyncio.CancelledError("broken")


@fault("`RecursionError`")
def recursion() -> None:
    recursion_of_function()


@fault("`MemoryError`")
def memory() -> None:
    bytearray(1 << 62)


# Texts...


@fault("an exception whose `__str__` raises")
def raising_str() -> None:
    raise Unprintable


@fault("an exception that holds something whose `__repr__` raises")
def raising_repr() -> None:
    raise ValueError(Unrepresentable())


@fault("a `__del__` that raises")
def raising_del() -> None:
    Undying()


@fault("a log record that cannot be formatted")
def unprintable_record() -> None:
    logging.getLogger().warning("seen: %r", Unrepresentable())


@fault("a lone surrogate in an exception")
def surrogate_in_exception() -> None:
    raise ValueError("broken \ud800")


@fault("a lone surrogate in a result")
def surrogate_in_result() -> str:
    return "done \ud800"


@fault("a lone surrogate in a log record and a `print`")
def surrogate_in_log() -> None:
    logging.getLogger().warning("logged \ud800")
    print("printed \ud800")


@fault("a result that JSON does not have")
def no_json() -> object:
    return object()


@fault("a result whose `keys` raise")
def raising_result() -> object:
    return Unreadable(a=1)


# Time...


@fault("an infinite loop", hanging=True, lasting=True)
def infinite_loop() -> None:
    while True:
        pass


@fault("an infinite loop that catches every exception", hanging=True, lasting=True)
def stubborn_loop() -> None:
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass


@fault("an infinite loop whose interruption is swallowed", hanging=True, lasting=True)
def swallowed_interruption() -> None:
    try:
        while True:
            time.sleep(1)
    except BaseException:
        pass


@fault("a connection whose answer is half read", hanging=True, lasting=True)
def half_read() -> None:
    import socket

    here, there = socket.socketpair()
    there.sendall(b"half of ")
    with here.makefile("rb") as answer:
        answer.readline()


@fault("a lock that is never released", hanging=True)
def blocked() -> None:
    threading.Event().wait()


@fault("a thread that is left behind, asleep", hanging=True)
def thread_left() -> None:
    threading.Thread(target=time.sleep, args=(3600,)).start()


# Processes...


@fault("a child process that exits")
def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@fault("a child process that is left running")
def fork_left_running() -> None:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        os._exit(0)


@fault("a child process that calls `sys.exit()`", lasting=True)
def fork_and_sys_exit() -> None:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)


@fault("`os._exit`")
def os_exit() -> None:
    os._exit(4)


@fault("a segmentation fault")
def segmentation_fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@fault("SIGKILL, as when memory runs out")
def sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@fault("SIGTERM")
def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# The surroundings...


@fault("`sys.stdout` closed", lasting=True)
def stdout_closed() -> None:
    sys.stdout.close()
    logging.getLogger().warning("logged without stdout")


@fault("the descriptor of stdout closed", lasting=True)
def descriptor_closed() -> None:
    os.close(1)
    logging.getLogger().warning("logged without stdout")


@fault("a full `/tmp`", lasting=True)
def disk_full() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with open(f"{os.environ['TMPDIR']}/file", "wb", buffering=0) as file:
        file.write(b"x")


@fault("a SIGALRM handler of the function's own", lasting=True)
def sigalrm_taken() -> None:
    signal.signal(signal.SIGALRM, print)


@fault("a SIGALRM handler of the function's own, then an infinite loop", hanging=True, lasting=True)
def sigalrm_taken_and_loop() -> None:
    signal.signal(signal.SIGALRM, print)
    while True:
        time.sleep(1)


@fault("an alarm of the function's own, which raises", lasting=True)
def alarm_of_its_own() -> None:
    def ring(signum: int, frame: object) -> None:
        raise TimeoutError("its own time is up")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(1)


@fault("an exception, after all of logging was switched off", lasting=True)
def logging_off() -> None:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": "CRITICAL"}})
    logging.disable(logging.CRITICAL)
    raise ValueError("broken")


# asyncio...


@fault("the event loop closed")
def loop_closed() -> None:
    current_loop().close()


@fault("the event loop stopped")
def loop_stopped() -> None:
    current_loop().stop()


@fault("`asyncio.run`")
def asyncio_run() -> object:
    import asyncio

    return asyncio.run(asyncio.sleep(0, "done"))


def current_loop() -> Any:
    """Return the event loop that code finds here."""
    import asyncio
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions of Python in which this makes a loop
        return asyncio.get_event_loop()


def recursion_of_function() -> None:
    """Call itself, for ever."""
    recursion_of_function()
