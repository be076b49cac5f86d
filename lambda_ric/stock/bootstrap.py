"""
Where we stand in AWS's runtime: around its function that handles one event, and before its first poll.

This module has the name of AWS's own on purpose. What a handler raises is told to the caller with its stack, from which
`handle_event_request` drops the frames at its top that are of a ``/bootstrap.py``: with those of this one, the document
is the same as without us.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import copy_context

from lambda_ric.client import RuntimeClient
from lambda_ric.connection import Connection
from lambda_ric.entry import tell_unknown, work_may_overflow
from lambda_ric.errors import AnswerRefusedError, ConfigurationError, LambdaRICError, ResultEncodeError, RuntimeAPIError
from lambda_ric.failures import Failure, exc_info, tell
from lambda_ric.forks import end_child_of
from lambda_ric.hooks import PROCESS_HOOKS
from lambda_ric.interrupt import share_alarm
from lambda_ric.logs import Logs
from lambda_ric.runtime import Runtime
from lambda_ric.settings import Address, Settings
from lambda_ric.threads import carry_invocation

from .carrier import Carrier
from .extension import Extension
from .sink import SinkOfRuntime, take_own_records
from .turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

log: logging.Logger = logging.getLogger("lambda_ric.stock")

HANDLE = "handle_event_request"
"""What AWS's loop calls for each event; Sentry and others replace it, too."""


def attach(loop: FrameType) -> None:
    """
    Carry what follows the answers of AWS's runtime, whose *loop* is importing the function.

    On managed instances, where one environment serves many events at once, a warning says what to do instead: Lambda
    tells internal extensions of no event there.

    Raises:
        ConfigurationError: A setting is not understood.
    """
    if _already:
        return
    _already.append(True)
    if os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY"):
        what = (
            "lambda_ric does nothing here: on Lambda Managed Instances, AWS's own runtime cannot carry its work, since "
            "no extension of a function is told of invocations. Set the variable AWS_LAMBDA_EXEC_WRAPPER to "
            "/var/task/bootstrap"
        )
        tell(log, logging.WARNING, what)
        return
    local = loop.f_locals
    client, sink = local.get("lambda_runtime_client"), local.get("log_sink")
    if HANDLE in loop.f_code.co_names and client is not None:
        _Backend(loop.f_globals, client, sink).attach()
    else:
        _BackendOfHandler(sink).attach()


_already: list[bool] = []


class _Carrying:
    """What any place in a runtime has that carries work; *sink* is the runtime's log."""

    def __init__(self, sink: Any) -> None:
        self._process = os.getpid()
        self._settings = Settings(os.environ)
        self._logs = Logs(self._settings, sink=None if sink is None else SinkOfRuntime(sink))
        self._extension: Extension | None = None
        self._runtime: Runtime | None = None
        self._handler: Callable[[Any, Any], Any] = _none
        self._turn: Turn | None = None

    def attach(self) -> None:
        """Register before the first poll ends the registration."""
        take_own_records(self._logs)
        share_alarm()
        sys.set_coroutine_origin_tracking_depth(1)
        try:
            self._extension = Extension(self._settings.runtime_api)
        except (ConfigurationError, RuntimeAPIError) as error:
            what = (
                "Lambda has not taken the extension that carries background work: the runtime waits for it instead, "
                "and the environment ends without notice: %s"
            )
            tell(log, logging.WARNING, what, error)

    def _start(self) -> Runtime:
        carry_invocation()
        tell_unknown(self._settings)
        # Never used: the answers are posted by the other one.
        client = RuntimeClient(Connection(Address.parse(self._settings.runtime_api)))
        runtime = Runtime(self._call_theirs, client, self._settings, self._logs, PROCESS_HOOKS)
        runtime.start()
        self._carrier = Carrier(runtime, self._extension)
        if PROCESS_HOOKS.shutdown or work_may_overflow():
            self._carrier.start()
        self._runtime = runtime
        return runtime

    def _take_turn(self, event: Any, context: Any) -> Turn:
        """Call the handler, as a runtime calls one; what came of it is the outcome of the turn."""
        assert self._runtime is not None
        self._turn = turn = Turn(event, context, self._runtime.environment)
        variables = copy_context()
        self._carrier.begin(turn, variables)
        variables.run(turn.run, self._runtime)
        return turn

    def _carry(self, turn: Turn, *, ends: bool) -> None:
        """Carry what follows the answer to *turn*; wait for it if the process *ends* then, or if nobody else does."""
        turn.has_been_answered()
        self._carrier.carry()
        if ends or self._extension is None:
            self._carrier.wait()

    def _call_theirs(self, event: Any, context: Any) -> Any:
        return self._handler(event, context)


class _Backend(_Carrying):
    """What stands between the runtime with the globals *names* and its *client*; *sink* is its log."""

    def __init__(self, names: dict[str, Any], client: Any, sink: Any) -> None:
        super().__init__(sink)
        self._names = names
        self._client = client
        self._handle = names[HANDLE]

    def attach(self) -> None:
        """Register, and take the places."""
        super().attach()
        self._names[HANDLE] = self.handle
        self._client.wait_next_invocation = self._first_poll

    def _first_poll(self) -> Any:
        del self._client.wait_next_invocation
        try:
            self._start()
        except BaseException as error:  # whatever a hook raises
            self._init_failed(error)
        return self._client.wait_next_invocation()

    def _init_failed(self, error: BaseException) -> NoReturn:
        end_child_of(self._process, error)
        failure = Failure(error)
        self._logs.error(failure)
        self._client.post_init_error(failure.as_dict(causes=False))
        sys.exit(1)

    def handle(self, client: Any, handler: Callable[[Any, Any], Any], *args: Any, **kwargs: Any) -> Any:
        """Have the runtime handle one event, and carry what follows the answer."""
        if self._runtime is None:  # this very event was being handled when the function imported us
            self._start()
        self._handler, self._turn = handler, None
        request_id = args[0] if args else kwargs["invoke_id"]
        refusal = None
        try:
            result = self._handle(_Client(client, self._note_error), self._call, *args, **kwargs)
        except BaseException as error:  # Lambda has refused the answer, on which this runtime ends
            refusal = error
            raise
        finally:
            # Whatever happened: an invocation that nobody lets go of is one that Lambda has to kill.
            ending = self._answered(request_id, refusal)
        if ending is not None:
            raise ending
        return result

    def _answered(self, request_id: str, refusal: BaseException | None) -> BaseException | None:
        """Carry what follows, and return what the handler has raised to end the process after that."""
        turn, self._turn = self._turn, None
        if turn is None:  # the event could not be read
            self._carrier.skip(request_id)
            return None
        outcome = turn.outcome
        if refusal is not None:
            outcome.error = outcome.error or AnswerRefusedError(str(refusal))
        ending = outcome.error if isinstance(outcome.error, (SystemExit, KeyboardInterrupt)) else None
        self._carry(turn, ends=bool(ending or refusal))
        return ending

    def _call(self, event: Any, context: Any) -> Any:
        """Call the handler, as the runtime calls one."""
        turn = self._take_turn(event, context)
        error = turn.outcome.error
        if error is None:
            return turn.outcome.result
        if isinstance(error, Exception) and not isinstance(error, LambdaRICError):
            # Without the frames between this one and the function's.
            raise error.with_traceback(exc_info(error)[2])
        # What the runtime does not catch, or would name after our class.
        failure = Failure(error)
        raise self._names["FaultException"](failure.error_type, failure.message, failure.stack)

    def _note_error(self, document: str) -> None:
        turn = self._turn
        if turn is not None and turn.outcome.error is None:  # its result could not be encoded
            turn.outcome.error = ResultEncodeError(json.loads(document).get("errorMessage", ""))


class _BackendOfHandler(_Carrying):
    """
    What stands before the handler, in a runtime whose posts cannot be seen: the work begins when the handler returns.

    That runtime gets the handler as an attribute of the function's module, which is being imported.
    """

    def attach(self) -> None:
        """Register, and have the module give this in the place of its handler."""
        path, _, name = os.environ.get("_HANDLER", "").rpartition(".")
        module = sys.modules.get(path.replace("/", "."))
        if module is None:
            what = "lambda_ric does nothing here: the function's module, which _HANDLER names, does not import it"
            tell(log, logging.WARNING, what)
            return
        super().attach()
        backend = self

        class Module(type(module)):  # type: ignore[misc]
            """That of a function whose handler has another one before it."""

            def __getattribute__(self, attribute: str) -> Any:
                value = super().__getattribute__(attribute)
                return backend._before(value) if attribute == name and callable(value) else value

        module.__class__ = Module

    def _before(self, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        self._handler = handler
        return self._handle

    def _handle(self, event: Any, context: Any) -> Any:
        if self._runtime is None:
            self._start()
        turn = self._take_turn(event, context)
        error, result = turn.outcome.error, turn.outcome.result
        self._carry(turn, ends=isinstance(error, (SystemExit, KeyboardInterrupt)))
        if error is not None:
            raise error.with_traceback(exc_info(error)[2])
        return result


class _Client:
    """The runtime's *client*, which calls *note_error* before it posts an error."""

    def __init__(self, client: Any, note_error: Callable[[str], None]) -> None:
        self._client = client
        self._note_error = note_error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def post_invocation_error(self, invoke_id: str, error_response_data: str, *args: Any, **kwargs: Any) -> Any:
        """Post it."""
        self._note_error(error_response_data)
        return self._client.post_invocation_error(invoke_id, error_response_data, *args, **kwargs)


def _none(event: Any, context: Any) -> None:
    pass
