"""
From the start of the process to the loop, and every way out with its exit code.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

from .client import RuntimeClient
from .connection import Connection
from .errors import AnswerRefusedError, ConfigurationError, RuntimeAPIError
from .failures import Failure
from .forks import end_child_of
from .handlers import extend_import_path, load_handler
from .hooks import PROCESS_HOOKS
from .logs import Logs
from .runtime import Runtime, registered_tasks
from .settings import Address, Settings
from .streams import tell
from .threads import carry_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .client import Transport
    from .extension import Extension
    from .payloads import Codec
    from .recycling import Recycling

log = logging.getLogger("lambda_ric.entry")

# The codes that AWS's own Python runtime exits with.
EXIT_INIT_ERROR = 1
EXIT_BEFORE_SNAPSHOT = 64
EXIT_AFTER_RESTORE = 65


def main(arguments: Sequence[str]) -> int:
    """Run the handler that *arguments* or ``_HANDLER`` names, as ``python -m lambda_ric`` does."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if len(arguments) > 1:
        print(f"{_USAGE}\n\nexpected one handler, got {' '.join(arguments)!r}", file=sys.stderr)
        return 2
    name = arguments[0] if arguments else os.environ.get("_HANDLER", "")
    return run(name)


_USAGE = """usage: python -m lambda_ric [HANDLER]

Serve the function HANDLER, such as app.handler (default: the variable _HANDLER),
on the Lambda Runtime API at AWS_LAMBDA_RUNTIME_API. To try a function on this
machine, use: lambda-ric invoke HANDLER"""


def run(
    handler: str | Callable[[Any, Any], Any],
    *,
    codec: Codec | None = None,
    transport: Transport | None = None,
) -> int:
    """
    Serve events with *handler*, a function or the name of one, until the environment ends.

    Whatever goes wrong before the first event is an init error. *codec* and
    *transport* replace how payloads are read and written, and how calls
    travel to the Runtime API.

    Returns:
        The exit code of the process.
    """
    try:
        transport = transport or Connection(Address.parse(os.environ.get("AWS_LAMBDA_RUNTIME_API", "")))
    except ConfigurationError as error:
        print(f"[ERROR] {error}", file=sys.stderr)
        return EXIT_INIT_ERROR
    client = RuntimeClient(transport)
    process = os.getpid()
    # For what goes wrong before the settings have been understood.
    logs = Logs(Settings({"AWS_LAMBDA_LOG_FORMAT": os.environ.get("AWS_LAMBDA_LOG_FORMAT", "")}))
    try:
        settings = Settings(os.environ)
        logs = Logs(settings)
        logs.install()
        recycling = _recycling(settings)
        runtime = _start(handler, client, settings, logs, codec)
    except BaseException as error:  # whatever importing the function's code raises
        end_child_of(process, error)
        code = _init_failed(error, client, logs)
    else:
        code = _serve(runtime, client, logs, settings, recycling)
    logs.flush()
    return code


def _start(
    handler: str | Callable[[Any, Any], Any],
    client: RuntimeClient,
    settings: Settings,
    logs: Logs,
    codec: Codec | None,
) -> Runtime:
    os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)  # it is taken: a child process must not write to it
    # So that Python's warning of a coroutine that nobody awaited names the line that made it: 0.1 µs a coroutine.
    sys.set_coroutine_origin_tracking_depth(1)
    for name in settings.unknown:
        tell(
            log,
            logging.WARNING,
            "the environment variable %s means nothing to this version: see docs/settings.md",
            name,
        )
    carry_context()
    extend_import_path(settings.task_root, sys.path)
    function = load_handler(handler) if isinstance(handler, str) else handler
    runtime = Runtime(function, client, settings, logs, PROCESS_HOOKS, codec)
    runtime.start()
    return runtime


def _init_failed(error: BaseException, client: RuntimeClient, logs: Logs) -> int:
    _report(error, logs, client.fail_init)
    return _exit_code(error) or EXIT_INIT_ERROR


def _recycling(settings: Settings) -> Recycling | None:
    if not (settings.recycle_after or settings.recycle_above_mb or settings.recycle_on_error):
        return None
    from .recycling import Recycling  # few functions need it

    return Recycling(settings)


def _serve(runtime: Runtime, client: RuntimeClient, logs: Logs, settings: Settings, recycling: Recycling | None) -> int:
    extension = _extension(settings, runtime) if PROCESS_HOOKS.shutdown or _work_may_overflow() else None
    next_event = client.next
    if recycling is not None:
        recycling.initialised()
    if settings.snap_start:
        code = _restore(client, logs)
        if code:
            return code
    if extension is not None:
        extension.listen()
        next_event = partial(extension.wait, client.next)
    if recycling is not None:
        next_event = partial(recycling.wait, next_event, lambda: runtime.failed)
    try:
        runtime.run(next_event)
    except RuntimeAPIError as error:
        tell(log, logging.ERROR, "%s", error)
        code = EXIT_INIT_ERROR
    except (SystemExit, KeyboardInterrupt) as error:
        code = _exit_code(error)
    runtime.shut_down()
    if recycling is not None and recycling.due:
        logs.flush()
        registered = settings.recycled == "registered" or (extension is not None and extension.keep_registered())
        recycling.replace(registered=registered)
        return EXIT_INIT_ERROR
    return code


def _work_may_overflow() -> bool:
    return any(task.overflow is not None for task in registered_tasks().values())


def _extension(settings: Settings, runtime: Runtime) -> Extension:
    from .extension import Extension  # only functions that have something to do at the end load it

    extension = Extension(runtime.hurry)
    if settings.recycled == "no":  # else registration is closed
        extension.register(settings.runtime_api)
    return extension


def _restore(client: RuntimeClient, logs: Logs) -> int:
    """Take the environment through its snapshot; return an exit code when that fails."""
    try:
        import snapshot_restore_py as registry  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:  # then no hooks can have been registered
        registry = None
    try:
        hooks = registry.get_before_snapshot() if registry else []
        while hooks:  # a hook may register another
            function, args, kwargs = hooks.pop()
            function(*args, **kwargs)
        client.restore_next()
    except BaseException as error:
        _report(error, logs, lambda failure: client.fail_init(failure, "Runtime.BeforeSnapshotError"))
        return EXIT_BEFORE_SNAPSHOT
    try:
        for function, args, kwargs in registry.get_after_restore() if registry else ():
            function(*args, **kwargs)
    except BaseException as error:
        _report(error, logs, lambda failure: client.fail_restore(failure, "Runtime.AfterRestoreError"))
        return EXIT_AFTER_RESTORE
    return 0


def _report(error: BaseException, logs: Logs, post: Callable[[Failure], None]) -> None:
    failure = Failure(error)
    logs.error(failure)
    try:
        post(failure)
    except (AnswerRefusedError, RuntimeAPIError) as refused:
        # On managed instances another worker may have told it before.
        tell(log, logging.ERROR, "%s", refused)


def _exit_code(error: BaseException) -> int:
    """Return the code that Python itself would exit with."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if not isinstance(error, SystemExit):
        return 0
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    return 1
