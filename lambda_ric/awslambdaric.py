"""
The names of awslambdaric, AWS's own runtime, that other libraries import or replace, each with what it does here.

Nothing of this package imports it. It is loaded by whoever asks for those names: Sentry's integration, which looks for
``bootstrap`` in ``__main__``; code that imports `awslambdaric` or `awslambdaric.bootstrap`, which `entry` answers with
this module; and scripts of one's own, by ``from lambda_ric import awslambdaric as bootstrap``.

From then on every invocation goes through `handle_event_request`, looked up anew each time, so that a replacement is
called:

    replacement ──▶ handle_event_request ──▶ handler ──▶ POST ──▶ rest of the replacement ──▶ … ──▶ before_freeze
                                                                  the caller has its answer         post_invocation_*,
                                                                  from here on                      wait_next_invocation

What replaces a `post_invocation_…` or `wait_next_invocation` does so to flush, and AWS's runtime has its caller wait
for that. Here it is called at the end of the invocation, after the background work, whose spans and errors it then has
as well; the original that it calls has nothing left to do. The names are those of awslambdaric 4.2.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
from importlib.machinery import ModuleSpec

from .context import Client, ClientContext, CognitoIdentity, LambdaContext, invocation_of_record
from .errors import AnswerRefusedError, RuntimeAPIError
from .failures import Failure, exc_info, tell
from .handlers import load_handler
from .hooks import PROCESS_HOOKS
from .interrupt import TimeUp
from .logs import JsonFormatter, LambdaLoggerFilter, LambdaLoggerHandler, LambdaLoggerHandlerWithFrameType
from .payloads import Codec, Payload
from .serving import Serving, serving_of
from .synchronous import to_completion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

    Handler = Callable[[Any, Any], Any]

__all__ = [
    "BaseLambdaRuntimeClient",
    "Client",
    "ClientContext",
    "CognitoIdentity",
    "FaultException",
    "JsonFormatter",
    "LambdaContext",
    "LambdaLoggerFilter",
    "LambdaLoggerHandler",
    "LambdaLoggerHandlerWithFrameType",
    "LambdaMarshaller",
    "LambdaMultiConcurrentRuntimeClient",
    "LambdaRuntimeClient",
    "LambdaRuntimeClientError",
    "handle_event_request",
    "make_error",
    "to_json",
]

__version__ = "4.2.2"
"""The version of awslambdaric that has these names: libraries choose by it what to replace."""

log: logging.Logger = logging.getLogger("lambda_ric.awslambdaric")

LambdaRuntimeClientError = RuntimeAPIError
_get_handler = load_handler  # CodeGuru's profiler and Lumigo load the function by it


class FaultException(Exception):
    """Raised by a handler or a marshaller, it fails the invocation with a type and a stack of its own choice."""

    MARSHAL_ERROR = "Runtime.MarshalError"
    UNMARSHAL_ERROR = "Runtime.UnmarshalError"
    USER_CODE_SYNTAX_ERROR = "Runtime.UserCodeSyntaxError"
    HANDLER_NOT_FOUND = "Runtime.HandlerNotFound"
    IMPORT_MODULE_ERROR = "Runtime.ImportModuleError"
    BUILT_IN_MODULE_CONFLICT = "Runtime.BuiltInModuleConflict"
    MALFORMED_HANDLER_NAME = "Runtime.MalformedHandlerName"
    BEFORE_SNAPSHOT_ERROR = "Runtime.BeforeSnapshotError"
    AFTER_RESTORE_ERROR = "Runtime.AfterRestoreError"
    LAMBDA_CONTEXT_UNMARSHAL_ERROR = "Runtime.LambdaContextUnmarshalError"
    LAMBDA_RUNTIME_CLIENT_ERROR = "Runtime.LambdaRuntimeClientError"

    def __init__(self, exception_type: str, msg: str, trace: Sequence[str] | None = None) -> None:
        self.msg = msg
        self.exception_type = exception_type
        self.trace = trace


def to_json(obj: Any) -> str:
    """
    Return *obj* as a result is written.

    Raises:
        ResultEncodeError: It has no JSON form.
    """
    return _CODEC.encode(obj)[0].decode()


def make_error(
    error_message: str, error_type: str, stack_trace: Sequence[str], invoke_id: str | None = None
) -> dict[str, Any]:
    """Return the document of an error."""
    return {
        "errorMessage": error_message or "",
        "errorType": error_type or "",
        "requestId": invoke_id or "",
        "stackTrace": stack_trace or [],
    }


class LambdaMarshaller:
    """How events are read and results are written: what is put into `LambdaRuntimeClient.marshaller` replaces it."""

    def unmarshal_request(self, request: bytes, content_type: str = "application/json") -> Any:
        """
        Return the event that *request* holds.

        Raises:
            EventDecodeError: It is not the JSON that *content_type* says.
        """
        return _CODEC.decode(request, content_type)

    def marshal_response(self, response: Any) -> tuple[str | bytes, str]:
        """
        Return the body of *response* and its content type.

        Raises:
            ResultEncodeError: It has no JSON form.
        """
        body, content_type = _CODEC.encode(response)
        return body.decode() if content_type == "application/json" else body, content_type


_CODEC = Codec()


class LambdaRuntimeClient:
    """What is given to `handle_event_request`; its methods can be replaced, on the class."""

    marshaller: Any = LambdaMarshaller()

    _answering: _Answering | None = None
    _post: Callable[[], None] | None = None

    def __init__(self, lambda_runtime_address: str = "", use_thread_for_polling_next: bool = False) -> None:
        self.lambda_runtime_address = lambda_runtime_address
        self.use_thread_for_polling_next = use_thread_for_polling_next

    def post_invocation_result(
        self,
        invoke_id: str,
        result_data: str | bytes,
        content_type: str = "application/json",
        invocation_id: Any = None,
    ) -> None:
        """
        Answer with *result_data*, if the invocation has no answer yet.

        Raises:
            RuntimeError: It has another one.
        """
        self._current("post_invocation_result").post(result_data, content_type)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: str, xray_fault: str, invocation_id: Any = None
    ) -> None:
        """
        Do nothing: the error has been posted.

        Raises:
            RuntimeError: It has not.
        """
        self._current("post_invocation_error").post_error(error_response_data)

    def post_init_error(self, error_response_data: Any, error_type_override: str | None = None) -> None:
        """
        Post the init error that is about to end the process.

        Raises:
            RuntimeError: There is none.
        """
        post, self._post = self._post, None
        if post is None:
            raise RuntimeError("post_init_error posts what has failed in the init, and nothing has: raise an exception")
        post()

    def wait_next_invocation(self) -> None:
        """Do nothing: the loop itself asks for the next event when the invocation has come to its end."""

    def _current(self, method: str) -> _Answering:
        if self._answering is None:
            raise RuntimeError(
                f"{method} belongs to the invocation that handle_event_request is called with: use the client that is "
                "given to that"
            )
        return self._answering


BaseLambdaRuntimeClient = LambdaMultiConcurrentRuntimeClient = LambdaRuntimeClient


class _Client(LambdaRuntimeClient):
    """The one that the runtime gives to what has replaced a name."""

    def __init__(self, answering: _Answering | None = None, post: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._answering = answering
        self._post = post

    def post_unless_posted(self) -> None:
        if self._post is not None:
            self._post()


def handle_event_request(
    lambda_runtime_client: LambdaRuntimeClient,
    request_handler: Handler,
    invoke_id: str,
    event_body: bytes,
    content_type: str,
    client_context_json: str | None,
    cognito_identity_json: str | None,
    invoked_function_arn: str,
    epoch_deadline_time_in_ms: int,
    tenant_id: str | None,
    log_sink: Any,
    invocation_id: str | None = None,
) -> None:
    """
    Serve the invocation with *request_handler*: its caller has the answer when this returns.

    Handler, body and content type may be others than were given to the replacement; the rest is as Lambda sent it.

    Raises:
        RuntimeError: It was called outside of an invocation, or twice.
    """
    lambda_runtime_client._current("handle_event_request").answer(request_handler, event_body, content_type)


class _Answering:
    """
    One invocation on its way through the names that may have been replaced.

        begun ──answer()──▶ answered ──post_afterwards()──▶ told
    """

    def __init__(self, serving: Serving, rested: float) -> None:
        self._serving = serving
        self._rested = rested
        self._told: str | bytes | None = None
        self._client = _Client(self)

    def run(self) -> None:
        """Have the invocation answered, by whatever `handle_event_request` is now; never raises but RuntimeAPIError."""
        serving, invocation = self._serving, self._serving.invocation
        error: BaseException | None = None
        name = _full_name(handle_event_request)
        try:
            with serving.event_loop.interrupt.at(serving.answer_until(), again=serving.grace):
                handle_event_request(
                    self._client,
                    _completing(serving.handler),
                    invocation.request_id,
                    invocation.body,
                    invocation.content_type,
                    invocation.client_context,
                    invocation.cognito_identity,
                    invocation.function_arn,
                    round(invocation.deadline * 1000) if invocation.deadline < _FOREVER else 0,
                    invocation.tenant_id,
                    _log_sink(),
                    invocation.invocation_id,
                )
        except RuntimeAPIError:
            raise
        except BaseException as raised:  # it is not the function's code, but the caller waits all the same
            error = raised
        if not serving.answered:
            serving.answer(self._rested, functools.partial(_raise, error or RuntimeError(_UNANSWERED % name)))
        elif isinstance(error, TimeUp):
            tell(log, logging.WARNING, "%s was stopped after the answer: its time was up", name)
        elif error is not None:
            tell(log, logging.ERROR, "%s failed after the answer", name, exc_info=exc_info(error))

    def answer(self, handler: Handler, body: bytes, content_type: str) -> None:
        serving, invocation = self._serving, self._serving.invocation
        if serving.answered:
            raise RuntimeError("handle_event_request was called twice for one invocation, which has its answer")
        invocation.body, invocation.content_type = body, content_type
        marshaller = LambdaRuntimeClient.marshaller
        if type(marshaller) is not LambdaMarshaller:
            invocation.content_type = "application/octet-stream"  # so that the body comes to the handler as it is
            handler = functools.partial(_with_marshaller, marshaller, handler, content_type)
        serving.answer(self._rested, handler)
        # What the replacement does now has the time that background work has; the block is that of `run`.
        serving.event_loop.interrupt.at(serving.ends_at(), again=serving.grace).__enter__()

    def post(self, body: str | bytes, content_type: str) -> None:
        if not self._serving.answered:
            data = body.encode() if isinstance(body, str) else body
            self._serving.answer(self._rested, lambda event, context: Payload(data, content_type))
        elif body is not self._told:
            raise RuntimeError(
                "post_invocation_result was given another result, when the caller had its answer: to change what is "
                "sent, change what the handler returns, or give lambda_ric.run(codec=...) a Codec"
            )

    def post_error(self, document: str) -> None:
        if not self._serving.answered or document is not self._told:
            raise RuntimeError(
                "post_invocation_error cannot answer with an error of its own: raise an exception in the handler, or "
                "awslambdaric's FaultException for another type"
            )

    def post_afterwards(self) -> None:
        """Call what has replaced the client's methods."""
        outcome, invocation = self._serving.outcome, self._serving.invocation
        client = self._client
        if outcome.error is None and is_replaced("post_invocation_result"):
            self._told, content_type = _encoded(outcome.result)
            client.post_invocation_result(invocation.request_id, self._told, content_type, invocation.invocation_id)
        if outcome.error is not None and is_replaced("post_invocation_error"):
            failure = Failure(outcome.error, invocation.request_id)
            self._told = failure.document().decode()
            client.post_invocation_error(
                invocation.request_id, self._told, failure.xray_cause(), invocation.invocation_id
            )
        if is_replaced("wait_next_invocation"):
            client.wait_next_invocation()


_UNANSWERED = (
    "%s has replaced handle_event_request, and returned without an answer: call the original, or "
    "lambda_runtime_client.post_invocation_result"
)
_FOREVER = 1e11  # in seconds
_KEY = object()


def is_replaced(name: str) -> bool:
    """Say whether somebody has replaced the function *name*, or that method of `LambdaRuntimeClient`."""
    return globals().get(name, vars(LambdaRuntimeClient).get(name)) is not _ORIGINALS[name]


_ORIGINALS = {"handle_event_request": handle_event_request, **vars(LambdaRuntimeClient)}


def _full_name(function: Any) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"


def _raise(error: BaseException, event: Any, context: Any) -> None:
    raise error


def _with_marshaller(marshaller: Any, handler: Handler, content_type: str, body: bytes, context: Any) -> Payload:
    result = handler(marshaller.unmarshal_request(body, content_type), context)
    data, result_type = marshaller.marshal_response(result)
    return Payload(data.encode() if isinstance(data, str) else data, result_type)


def _encoded(result: Any) -> tuple[str | bytes, str]:
    try:
        return _CODEC.encode(result)
    except Exception:  # it was streamed
        return b"", "application/octet-stream"


def _completing(handler: Handler) -> Handler:
    global _completed
    if _completed is None or _completed[0] is not handler:
        _completed = handler, to_completion(handler)
    return _completed[1]


_completed: tuple[Handler, Handler] | None = None


def _log_sink() -> Any:
    for handler in logging.getLogger().handlers:
        sink = getattr(handler, "log_sink", None)
        if sink is not None:
            return sink
    return None


# What the runtime calls...


def _answer(serving: Serving, rested: float) -> None:
    if post_invocation not in PROCESS_HOOKS.freeze and any(map(is_replaced, _AFTERWARDS)):
        PROCESS_HOOKS.freeze.append(post_invocation)
    answering = _Answering(serving, rested)
    serving.values[_KEY] = answering
    answering.run()


_AFTERWARDS = ("post_invocation_result", "post_invocation_error", "wait_next_invocation")


def post_invocation() -> None:
    """Call what has replaced methods of the client, at the end of an invocation."""
    serving = serving_of("a replaced method of LambdaRuntimeClient")
    (serving.values.get(_KEY) or _Answering(serving, 0.0)).post_afterwards()


def _post_init_error(post: Callable[..., None], failure: Failure, error_type: str | None) -> None:
    client = _Client(post=functools.partial(post, failure, error_type))
    try:
        client.post_init_error(json.loads(failure.document()), error_type)
    except (AnswerRefusedError, RuntimeAPIError):
        raise
    except Exception as error:
        tell(log, logging.ERROR, "what has replaced post_init_error failed", exc_info=exc_info(error))
    client.post_unless_posted()


if isinstance(invocation_of_record(), Serving):  # it is loaded by a handler, whose invocation flushes already
    PROCESS_HOOKS.freeze.append(post_invocation)
PROCESS_HOOKS.answer = _answer
PROCESS_HOOKS.init_error = _post_init_error


# Names that cannot do here what they do there: they can be imported, and say so when they are called.

_ADVICE = {
    "run": "the loop runs already; a script of one's own starts it by lambda_ric.run(handler)",
    "main": "the loop runs already; a script of one's own starts it by lambda_ric.run(handler)",
    "on_init_complete": "the hooks of SnapStart run by themselves: register them with lambda_ric.before_snapshot and "
    "after_restore, or snapshot_restore_py",
    "create_lambda_context": "lambda_ric.testing.invoke(handler, event) calls a handler with a context",
    "create_log_sink": "the log is open already: use the logging module, print, or context.log()",
    "log_error": "the log is open already: use the logging module",
    "update_xray_env_variable": "the runtime sets _X_AMZN_TRACE_ID for every invocation: read it there, or from "
    "lambda_ric.current_invocation().trace_id",
}


def __getattr__(name: str) -> Any:
    if f"awslambdaric.{name}" in Names.MODULES:  # as in `from awslambdaric import bootstrap`
        return sys.modules[__name__]
    advice = _ADVICE.get(name)
    if advice is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"awslambdaric's {name} is not to be called under lambda_ric: {advice}")

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


# ...and how this module is found by the names that it has in AWS's package.


class Names:
    """A loader for those modules of awslambdaric that this one stands for."""

    MODULES = frozenset((
        "awslambdaric", "awslambdaric.bootstrap", "awslambdaric.lambda_context", "awslambdaric.lambda_runtime_client",
        "awslambdaric.lambda_runtime_exception", "awslambdaric.lambda_runtime_log_utils",
        "awslambdaric.lambda_runtime_marshaller",
    ))  # fmt: skip

    @classmethod
    def spec(cls, name: str) -> ModuleSpec | None:
        """Return what the import system has to know to import *name*, or None if there is no such module here."""
        if name not in cls.MODULES:
            return None
        loader: Any = cls()
        return ModuleSpec(name, loader, is_package=name == "awslambdaric")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return this module, whatever its name is in *spec*."""
        return sys.modules[__name__]

    def exec_module(self, module: ModuleType) -> None:
        """Give the module, which has been executed, its own description back."""
        module.__spec__ = _OWN_SPEC


_OWN_SPEC = __spec__
__path__: list[str] = []
