"""
What each fault does in each place: the table that docs/reliability.md shows and the tests check.

Written out for a handler, on both runtimes. What another place makes of it is
derived where a rule says so, and written out where it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .observing import AWS, BOTH_SUCCEED, COMES_BACK, GOES_ON, HANGS, NEXT_HOOK, NO_HOOK, OURS, REPLACED


class Cell(NamedTuple):
    """What the caller saw, how the process went on, and a regular expression that its log matches."""

    caller: str
    end: str
    log: str


Column = dict[str, Cell]

RESPONSE, NOTHING = "response", "nothing"
SILENT = r"\A\Z"
TRACEBACK = "Traceback"
CRASH = ("ends with 1", TRACEBACK)
TIMED_OUT = r"\[ERROR\] Function.Timeout: Task timed out after .* before the function's deadline"

TIMEOUT = Cell("error Function.Timeout", REPLACED, TIMED_OUT)

UNSTOPPABLE = {
    "os_exit": "ends with 4",
    "segmentation_fault": "killed by SIGSEGV",
    "sigkill": "killed by SIGKILL",
    "sigterm": "killed by SIGTERM",
    "stubborn_loop": HANGS,
}
KILLED: Column = {name: Cell(NOTHING, end, SILENT) for name, end in UNSTOPPABLE.items()}

HANDLER: Column = {
    "exception": Cell("error ValueError", GOES_ON, r"\[ERROR\] ValueError: broken\r"),
    "system_exit": Cell("error SystemExit", "ends with 3", r"\[ERROR\] SystemExit: 3\r"),
    "keyboard_interrupt": Cell("error KeyboardInterrupt", "ends with 130", r"\[ERROR\] KeyboardInterrupt\r"),
    "base_exception": Cell("error Unusual", GOES_ON, r"\[ERROR\] Unusual: broken\r"),
    "generator_exit": Cell("error GeneratorExit", GOES_ON, r"\[ERROR\] GeneratorExit: broken\r"),
    "stop_iteration": Cell("error StopIteration", GOES_ON, r"\[ERROR\] StopIteration: broken\r"),
    "cancelled_error": Cell("error CancelledError", GOES_ON, r"\[ERROR\] CancelledError: broken\r"),
    "recursion": Cell("error RecursionError", GOES_ON, r"\[ERROR\] RecursionError: maximum recursion depth exceeded"),
    "memory": Cell("error MemoryError", GOES_ON, r"\[ERROR\] MemoryError\r"),
    "raising_str": Cell("error Unprintable", GOES_ON, r"\[ERROR\] Unprintable: <unprintable Unprintable object>\r"),
    "raising_repr": Cell("error ValueError", GOES_ON, r"\[ERROR\] ValueError: <unprintable ValueError object>\r"),
    "raising_del": Cell(RESPONSE, GOES_ON, r"Exception ignored in: .*ValueError: does not go"),
    "unprintable_record": Cell(RESPONSE, GOES_ON, r"Logging error.*ValueError: no text"),
    "surrogate_in_exception": Cell("error ValueError", GOES_ON, r"\[ERROR\] ValueError: broken \\ud800\r"),
    "surrogate_in_result": Cell(RESPONSE, GOES_ON, SILENT),
    "surrogate_in_log": Cell(RESPONSE, GOES_ON, r"logged \\ud800\nprinted \\ud800\n"),
    "no_json": Cell("error Runtime.MarshalError", GOES_ON, r"\[ERROR\] Runtime.MarshalError: .* not JSON serializable"),
    "raising_result": Cell("error Runtime.MarshalError", GOES_ON, r"\[ERROR\] Runtime.MarshalError: .* no keys"),
    "infinite_loop": TIMEOUT._replace(log=rf"{TIMED_OUT}.* in infinite_loop"),
    "swallowed_interruption": TIMEOUT._replace(log=rf"{TIMED_OUT}.* in swallowed_interruption"),
    "blocked": TIMEOUT._replace(log=rf"{TIMED_OUT}.* in blocked"),
    "half_read": TIMEOUT._replace(log=rf"{TIMED_OUT}.* in half_read"),
    "thread_left": Cell(RESPONSE, GOES_ON, r"\[WARNING\].*thread Thread-\d+ \(sleep\), .* is still at work"),
    "fork": Cell(RESPONSE, GOES_ON, SILENT),
    "fork_left_running": Cell(RESPONSE, GOES_ON, r"\[WARNING\].*child process \d+ still runs"),
    "fork_and_sys_exit": Cell(RESPONSE, GOES_ON, SILENT),
    "stdout_closed": Cell(RESPONSE, GOES_ON, "logged without stdout"),
    "descriptor_closed": Cell(RESPONSE, GOES_ON, "logged without stdout"),
    "disk_full": Cell("error OSError", GOES_ON, r"\[ERROR\] OSError: \[Errno 27\] File too large"),
    "sigalrm_taken": Cell(RESPONSE, GOES_ON, SILENT),
    "sigalrm_taken_and_loop": TIMEOUT._replace(log=rf"{TIMED_OUT}.* in sigalrm_taken_and_loop"),
    "alarm_of_its_own": Cell("error TimeoutError", GOES_ON, r"\[ERROR\] TimeoutError: its own time is up\r"),
    "logging_off": Cell("error ValueError", GOES_ON, r"\[ERROR\] ValueError: broken\r"),
    "loop_closed": Cell(RESPONSE, GOES_ON, SILENT),
    "loop_stopped": Cell(RESPONSE, GOES_ON, SILENT),
    "asyncio_run": Cell(RESPONSE, GOES_ON, SILENT),
    **KILLED,
}

# What asyncio itself refuses while its loop runs, and what coroutines and generators may not raise.
RUNNING_LOOP: Column = {
    "loop_closed": Cell("error RuntimeError", GOES_ON, "Cannot close a running event loop"),
    "asyncio_run": Cell("error RuntimeError", GOES_ON, "cannot be called from a running event loop"),
}
STOP_ITERATION: Column = {"stop_iteration": Cell("error RuntimeError", GOES_ON, "raised StopIteration")}

NOT_TEXT: Column = {
    "surrogate_in_result": Cell("error Runtime.MarshalError", GOES_ON, "not text that UTF-8 has"),
    "no_json": Cell("error Runtime.MarshalError", GOES_ON, "a stream is made of bytes or str"),
    "raising_result": Cell("error Runtime.MarshalError", GOES_ON, "a stream is made of bytes or str"),
}
NO_RESULT: Column = {name: Cell(RESPONSE, GOES_ON, SILENT) for name in NOT_TEXT}


def broken_off(column: Column) -> Column:
    """Return what becomes of a response that had begun: its caller has a part of it, and knows."""
    return {name: cell._replace(caller=_broken_off(cell.caller)) for name, cell in column.items()}


def _broken_off(caller: str) -> str:
    if caller == NOTHING:
        return "response broken off"
    return caller.replace("error ", "response broken off by ")


def before_the_first_event(column: Column) -> Column:
    """Return what becomes of the init: whatever it raises is told as its error, and the process ends."""
    return {
        name: Cell(f"init {cell.caller}", cell.end.replace(GOES_ON, "ends with 1"), cell.log)
        if cell.caller.startswith("error ")
        else cell
        for name, cell in column.items()
    }


def after_the_response(column: Column) -> Column:
    """Return what becomes of background work: nothing of it can reach the caller, or end the loop."""
    return {name: _after_the_response(name, cell) for name, cell in column.items()}


def _after_the_response(name: str, cell: Cell) -> Cell:
    if cell.caller == "error Function.Timeout":
        return Cell(RESPONSE, cell.end, r"BACKGROUND .*Tasks: 1\tSucceeded: 0\t(Cancelled|Abandoned): 1")
    if cell.caller.startswith("error "):
        return Cell(
            RESPONSE, GOES_ON, rf"background \w+ \w+ failed\r.*{_text(cell.log)}.*BACKGROUND .*Tasks: 1\t.*Failed: 1"
        )
    if cell.caller == RESPONSE:
        # The line about the work comes after what the work has logged; what else is told may follow.
        told = "" if cell.log == SILENT else f"(?=.*{cell.log})"
        return Cell(RESPONSE, cell.end, rf"\A{told}.*BACKGROUND .*Tasks: 1\tSucceeded: 1\n")
    return cell._replace(caller=RESPONSE)


def _text(log: str) -> str:
    """Return the error itself of an expression for the event that tells it."""
    return log.removeprefix(r"\[ERROR\] ").removesuffix(r"\r")


# The traceback of a log record is written by logging.
RECORDED: Column = {
    "raising_str": HANDLER["raising_str"]._replace(log="Unprintable: <exception str.. failed>"),
    "raising_repr": HANDLER["raising_repr"]._replace(log="ValueError: <exception str.. failed>"),
}
BACKGROUND = after_the_response({**HANDLER, **NO_RESULT, **RECORDED})
COROUTINE = after_the_response({**HANDLER, **NO_RESULT, **RECORDED, **STOP_ITERATION, **RUNNING_LOOP})

# Only the main thread may do these.
MAIN_THREAD: Column = {
    "sigalrm_taken": Cell("error ValueError", GOES_ON, "signal only works in main thread"),
    "sigalrm_taken_and_loop": Cell("error ValueError", GOES_ON, "signal only works in main thread"),
    "alarm_of_its_own": Cell("error ValueError", GOES_ON, "signal only works in main thread"),
    "loop_closed": Cell("error RuntimeError", GOES_ON, "There is no current event loop in thread"),
    "loop_stopped": Cell("error RuntimeError", GOES_ON, "There is no current event loop in thread"),
}


def in_a_thread(column: Column) -> Column:
    """Return what becomes of a thread that a handler joins: what it raises ends it alone."""
    return {
        name: Cell(RESPONSE, GOES_ON, f"(?i)exception in thread .*{_text(cell.log)}")
        if cell.caller.startswith("error ") and cell.caller != "error Function.Timeout"
        else cell
        for name, cell in column.items()
    }


UNTOLD: Column = {name: Cell(RESPONSE, GOES_ON, SILENT) for name in ("thread_left", "fork_left_running")}

LOOPS = ("infinite_loop", "swallowed_interruption", "blocked", "half_read", "sigalrm_taken_and_loop")
# Nothing interrupts the init; Lambda gives it ten seconds. Threads and children of that time are meant to stay.
ENDLESS: Column = {name: Cell(NOTHING, HANGS, SILENT) for name in LOOPS}
INIT = before_the_first_event({**HANDLER, **NO_RESULT, **ENDLESS, **UNTOLD})


def of_a_message(column: Column) -> Column:
    """Return what becomes of a task that a message has brought: the message comes back, and the other does not."""
    return {name: _of_a_message(cell) for name, cell in column.items()}


def _of_a_message(cell: Cell) -> Cell:
    summary = r"BACKGROUND .*Tasks: 2\tSucceeded:"
    if cell.caller == "error Function.Timeout":
        return Cell(COMES_BACK, GOES_ON, rf"message struck: abandoned, and comes back.*{summary} 1\tAbandoned: 1")
    if cell.caller.startswith("error "):
        log = rf"background task struck failed\r.*{_text(cell.log)}.*message struck: failed, and comes back"
        return Cell(COMES_BACK, GOES_ON, rf"{log}.*{summary} 1\tFailed: 1")
    if cell.caller == RESPONSE:
        told = "" if cell.log == SILENT else f"(?=.*{cell.log})"
        return Cell(BOTH_SUCCEED, GOES_ON, rf"\A{told}.*{summary} 2\n")
    return cell


def logged(column: Column, what: str) -> Column:
    """Return what becomes of a hook whose errors are *what* the log says, and nobody else's business."""
    return {
        name: Cell(RESPONSE, GOES_ON, rf"{what} failed\r.*{_text(cell.log)}")
        if cell.caller.startswith("error ") and cell.caller != TIMEOUT.caller
        else cell
        for name, cell in column.items()
    }


def at_the_end(column: Column) -> Column:
    """Return what becomes of a shutdown: nothing but what ends any process keeps it from its end."""
    return {name: _at_the_end(cell) for name, cell in column.items()}


def _at_the_end(cell: Cell) -> Cell:
    if cell.caller == "error Function.Timeout":
        return Cell(NEXT_HOOK, "ends with 0", "on_shutdown hook hook was stopped: its time was up")
    if cell.caller == RESPONSE:
        return Cell(NEXT_HOOK, "ends with 0", cell.log)
    return cell._replace(caller=NO_HOOK)


# A thread is left alone.
ABANDONED: Column = dict.fromkeys([*LOOPS, "stubborn_loop"], TIMEOUT._replace(end=GOES_ON))
TASK_OF_A_FUNCTION = {**HANDLER, **NO_RESULT, **RECORDED, **ABANDONED, **MAIN_THREAD}

AWS_HANDLER: Column = {
    **HANDLER,
    **ENDLESS,
    **UNTOLD,
    "system_exit": Cell(NOTHING, "ends with 3", SILENT),
    "keyboard_interrupt": Cell(NOTHING, "killed by SIGINT", TRACEBACK),
    "base_exception": Cell(NOTHING, *CRASH),
    "generator_exit": Cell(NOTHING, *CRASH),
    "cancelled_error": Cell(NOTHING, *CRASH),
    "raising_str": Cell(NOTHING, *CRASH),
    "raising_repr": Cell(NOTHING, *CRASH),
    "unprintable_record": Cell("error ValueError", GOES_ON, r"\[ERROR\] ValueError: no text"),
    "surrogate_in_exception": Cell(NOTHING, *CRASH),
    "surrogate_in_result": Cell(NOTHING, *CRASH),
    "surrogate_in_log": Cell("error UnicodeEncodeError", GOES_ON, r"\[ERROR\] UnicodeEncodeError"),
    "stdout_closed": Cell(NOTHING, *CRASH),
    "descriptor_closed": Cell(NOTHING, "ends with 120", TRACEBACK),
}
AWS_THREAD = in_a_thread(
    {
        **HANDLER,
        **ENDLESS,
        **UNTOLD,
        **NO_RESULT,
        **RECORDED,
        **MAIN_THREAD,
        "system_exit": Cell(RESPONSE, GOES_ON, SILENT),
        "unprintable_record": Cell("error ValueError", GOES_ON, "ValueError: no text"),
        "surrogate_in_log": Cell("error UnicodeEncodeError", GOES_ON, "UnicodeEncodeError"),
        "stdout_closed": Cell("error ValueError", GOES_ON, "ValueError: I/O operation on closed file"),
        "descriptor_closed": Cell("error OSError", GOES_ON, "Bad file descriptor"),
    }
)
AWS_INIT = before_the_first_event({**AWS_HANDLER, **NO_RESULT})

EXPECTED: dict[str, Mapping[str, Column]] = {
    OURS: {
        "handler": HANDLER,
        "async_handler": {**HANDLER, **STOP_ITERATION, **RUNNING_LOOP},
        "asyncio_task": {
            **HANDLER,
            **STOP_ITERATION,
            **RUNNING_LOOP,
            "loop_stopped": Cell("error RuntimeError", GOES_ON, "Event loop stopped before Future completed"),
            **dict.fromkeys(LOOPS, TIMEOUT),
        },
        "thread": in_a_thread(
            {
                **HANDLER,
                **NO_RESULT,
                **RECORDED,
                **MAIN_THREAD,
                "system_exit": Cell(RESPONSE, GOES_ON, SILENT),
                **{name: TIMEOUT for name in (*LOOPS, "stubborn_loop") if name not in MAIN_THREAD},
            }
        ),
        "stream_begin": {
            **HANDLER,
            **STOP_ITERATION,
            **NOT_TEXT,
            # It has a first piece then.
            "swallowed_interruption": TIMEOUT._replace(caller="response broken off by Function.Timeout"),
        },
        "stream": broken_off({**HANDLER, **STOP_ITERATION, **NOT_TEXT}),
        "async_stream": broken_off({**HANDLER, **STOP_ITERATION, **NOT_TEXT, **RUNNING_LOOP}),
        "thaw_hook": logged({**HANDLER, **NO_RESULT, **RECORDED}, "after_thaw hook hook"),
        "before_hook": {**HANDLER, **NO_RESULT},
        "after_hook": BACKGROUND,
        "async_after_hook": COROUTINE,
        "rest": {**BACKGROUND, "stop_iteration": COROUTINE["stop_iteration"]},
        "async_rest": COROUTINE,
        "function_task": after_the_response(TASK_OF_A_FUNCTION),
        "coroutine_task": COROUTINE,
        "registered_function": after_the_response(TASK_OF_A_FUNCTION),
        "registered_coroutine": COROUTINE,
        "consumer": of_a_message(TASK_OF_A_FUNCTION),
        "startup_hook": INIT,
        "importing": INIT,
        "shutdown_hook": at_the_end(
            {
                **logged({**HANDLER, **NO_RESULT, **RECORDED}, "on_shutdown hook hook"),
                **UNTOLD,
                # It is already on its way.
                "sigterm": HANDLER["fork"],
            }
        ),
        "freeze_hook": BACKGROUND,
    },
    AWS: {"handler": AWS_HANDLER, "thread": AWS_THREAD, "importing": AWS_INIT},
}
