"""
From the start of the process to the loop, and every way out with its exit code.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial

from .client import RuntimeClient
from .connection import Connection
from .errors import AnswerRefusedError, ConfigurationError, RuntimeAPIError
from .failures import Failure, tell
from .forks import end_child_of
from .handlers import extend_import_path, load_handler
from .hooks import PROCESS_HOOKS
from .interrupt import loop_handles_sigterm, share_alarm
from .logs import Logs
from .runtime import SHUTDOWN_TIME, Runtime, registered_tasks
from .settings import Address, Settings, Start
from .threads import carry_invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any

    from .client import Transport
    from .managed.worker import Departure, Post
    from .payloads import Codec
    from .process.recycling import Recycling
    from .process.shutdown_notice import Extension
    from .protocol import Invocation

log: logging.Logger = logging.getLogger("lambda_ric.entry")

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
    many_at_once = transport is None and "AWS_LAMBDA_MAX_CONCURRENCY" in os.environ  # on Lambda Managed Instances
    try:
        transport = transport or Connection(Address.parse(os.environ.get("AWS_LAMBDA_RUNTIME_API", "")))
    except ConfigurationError as error:
        print(f"[ERROR] {error}", file=sys.stderr)
        return EXIT_INIT_ERROR
    client = RuntimeClient(transport)
    process = os.getpid()
    start = Start()
    post: Post | None = None
    # For what goes wrong before the settings have been understood.
    logs = Logs(Settings({"AWS_LAMBDA_LOG_FORMAT": os.environ.get("AWS_LAMBDA_LOG_FORMAT", "")}))
    try:
        settings = Settings(os.environ)
        if many_at_once:
            from .managed.supervisor import Supervisor

            ended = Supervisor(settings).run()
            if isinstance(ended, int):
                return ended
            # From here on this is a worker.
            post, process, start = ended, os.getpid(), Start()
            client = post.client()
        logs = Logs(settings) if post is None else post.logs(settings)
        logs.install()
        runtime = _start(handler, client, settings, logs, codec, post)
    except BaseException as error:  # whatever importing the function's code raises
        end_child_of(process, error)
        code = _init_failed(error, client, logs)
    else:
        code = _serve(runtime, client, logs, settings, start, post)
    logs.flush()
    return code


def _start(
    handler: str | Callable[[Any, Any], Any],
    client: RuntimeClient,
    settings: Settings,
    logs: Logs,
    codec: Codec | None,
    post: Post | None,
) -> Runtime:
    os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)  # it is taken: a child process must not write to it
    # So that Python's warning of a coroutine that nobody awaited names the line that made it: 0.1 µs a coroutine.
    sys.set_coroutine_origin_tracking_depth(1)
    tell_unknown(settings)
    carry_invocation()
    share_alarm()
    sys.meta_path.insert(0, _AWSNames)
    extend_import_path(settings.task_root, sys.path)
    function = load_handler(handler) if isinstance(handler, str) else handler
    runtime = Runtime(function, client, settings, logs, PROCESS_HOOKS, codec)
    runtime.start()
    if any(name in sys.modules for name in _OBSERVERS):
        from .observability import adapt

        adapt(function)
    if post is not None:
        post.decide(function)
    return runtime


_OBSERVERS = (
    "datadog_lambda.wrapper",
    "newrelic.agent",
    "opentelemetry.instrumentation.aws_lambda",
    "sentry_sdk.integrations.aws_lambda",
)


class _AWSNames:
    """Finds the modules of AWS's runtime for who imports them: those of `awslambdaric`, which are loaded by that."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "awslambdaric":
            return None
        from .awslambdaric import Names

        return Names.spec(name)


def tell_unknown(settings: Settings) -> None:
    """Log a warning of each variable with our prefix that means nothing."""
    for name, remedy in settings.unknown.items():
        what = "the environment variable %s means nothing to this version: %s"
        tell(log, logging.WARNING, what, name, remedy)


def _init_failed(error: BaseException, client: RuntimeClient, logs: Logs) -> int:
    _report(error, logs, partial(_fail_init, client, error_type=None))
    return _exit_code(error) or EXIT_INIT_ERROR


def _serve(
    runtime: Runtime, client: RuntimeClient, logs: Logs, settings: Settings, start: Start, post: Post | None
) -> int:
    if post is not None and not post.serves_one_at_a_time:
        from .managed.service import serve

        return serve(post, runtime, settings, logs)
    extension = None
    succession: _Succession | Departure
    if post is not None:
        extension, succession = post.extension(runtime), post.departure(settings, start, runtime)
    else:
        succession = _Succession(settings, start, runtime)
        if PROCESS_HOOKS.shutdown or work_may_overflow():
            extension = _extension(settings, runtime)
    if settings.snap_start:
        code = _restore(runtime, client, logs)
        if code:
            return code
    if extension is not None:
        extension.listen()
    next_event = _waiting(partial(succession.wait, client.next), runtime, extension)
    try:
        runtime.run(next_event)
    except RuntimeAPIError as error:
        tell(log, logging.ERROR, "%s", error)
        code = succession.exit_when_lost
    except (SystemExit, KeyboardInterrupt) as error:
        code = _exit_code(error)
    runtime.shut_down()
    return succession.hand_over(logs, extension, code)


class _Succession:
    """Asks after every event whether the process serves another one, which few do not: `process.recycling` knows."""

    exit_when_lost = EXIT_INIT_ERROR

    def __init__(self, settings: Settings, start: Start, runtime: Runtime) -> None:
        self._settings = settings
        self._start = start
        self._init_seconds = time.time() - start.at
        self._runtime = runtime
        self._deadline: float | None = None
        self._recycling: Recycling | None = None
        self._has_to_end = False
        if settings.recycle_after or settings.recycle_above_mb or settings.recycle_on_error:
            self._recycling = self._load()

    def wait(self, next_event: Callable[[], Invocation]) -> Invocation:
        """
        Return what *next_event* returns.

        Raises:
            SystemExit: It was not asked: the process has served its last event.
        """
        if self._recycling is not None or self._runtime.interrupted:
            self._look()
        invocation = next_event()
        self._deadline = invocation.deadline
        return invocation

    def hand_over(self, logs: Logs, extension: Extension | None, code: int) -> int:
        """Become a new process, or end, if that is to be; else return *code*."""
        recycling = self._recycling
        if self._has_to_end:
            logs.flush()
            os._exit(EXIT_INIT_ERROR)
        if recycling is None or not recycling.is_due:
            return code
        logs.flush()
        if recycling.replaces:
            is_inherited = self._settings.recycled == "registered"
            recycling.replace(registered=is_inherited or (extension is not None and extension.keep_registered()))
            logs.flush()
        recycling.end()

    def _look(self) -> None:
        interrupted = self._runtime.interrupted and self._settings.replaces_interrupted
        if interrupted and self._recycling is None:
            try:
                self._recycling = self._load()
            except Exception as error:  # no descriptor is left, or an import hook of the function's raises
                self._has_to_end = True
                what = (
                    "the process ends, and Lambda starts a new one: it was interrupted, and what could replace it "
                    "cannot be loaded: %s"
                )
                tell(log, logging.WARNING, what, error)
                raise SystemExit from None
        if self._recycling is not None and self._deadline is not None:
            self._recycling.look(self._deadline, failed=self._runtime.failed, interrupted=interrupted)

    def _load(self) -> Recycling:
        from .process.recycling import Recycling

        closing_seconds = SHUTDOWN_TIME if PROCESS_HOOKS.shutdown else 0.0
        return Recycling(self._settings, self._start, self._init_seconds, closing_seconds)


def _waiting(wait: Callable[[], Invocation], runtime: Runtime, extension: Extension | None) -> Callable[[], Invocation]:
    """Return what *wait*s for an event, and ends its wait at a SIGTERM that somebody wants to hear of."""

    def listen() -> Extension | None:
        nonlocal extension
        # Blocked in the wait, the loop would hear of nothing; and what follows an answer would not be hurried.
        if extension is None and loop_handles_sigterm():
            from .process.shutdown_notice import Extension

            extension = Extension(runtime.hurry)
        if extension is not None:
            extension.listen()
        return extension

    def next_event() -> Invocation:
        listening = listen()
        return wait() if listening is None else listening.wait(wait)

    runtime.environment.before_follow_up = listen
    return next_event


def work_may_overflow() -> bool:
    """Say whether there are tasks that go to a queue when there is no time for them."""
    return any(task.overflow is not None for task in registered_tasks().values())


def _extension(settings: Settings, runtime: Runtime) -> Extension:
    from .process.shutdown_notice import Extension  # only functions that have something to do at the end load it

    extension = Extension(runtime.hurry)
    if settings.recycled == "no":  # else registration is closed
        extension.register(settings.runtime_api)
    return extension


def _restore(runtime: Runtime, client: RuntimeClient, logs: Logs) -> int:
    """Take the environment through its snapshot; return an exit code when that fails."""
    from .process import snapshot  # on demand there is none

    try:
        snapshot.prepare(PROCESS_HOOKS.snapshot, runtime.run_hook)
        client.restore_next()
    except BaseException as error:
        _report(error, logs, partial(_fail_init, client, error_type="Runtime.BeforeSnapshotError"))
        return EXIT_BEFORE_SNAPSHOT
    try:
        snapshot.resume(PROCESS_HOOKS.restore, runtime.run_hook)
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


def _fail_init(client: RuntimeClient, failure: Failure, error_type: str | None) -> None:
    if PROCESS_HOOKS.init_error is None:
        client.fail_init(failure, error_type)
    else:
        PROCESS_HOOKS.init_error(client.fail_init, failure, error_type)


def _exit_code(error: BaseException) -> int:
    """Return the code that Python itself would exit with."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if not isinstance(error, SystemExit):
        return 0
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    return 1
