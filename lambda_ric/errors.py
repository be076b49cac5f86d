"""
The error tree, sorted by what the runtime does next.

    LambdaRICError
    ├── ConfigurationError          the environment is unusable     → init error, exit
    ├── HandlerLoadError            the handler cannot be loaded    → init error, exit
    │   ├── HandlerNameError
    │   ├── HandlerImportError
    │   ├── HandlerSyntaxError
    │   ├── HandlerConflictError
    │   ├── HandlerNotFoundError
    │   └── HandlerNotCallableError
    ├── InvocationError             this invocation failed          → error response, on to the next event
    │   ├── EventDecodeError
    │   ├── ContextDecodeError
    │   ├── ResultEncodeError
    │   ├── UnsupportedEventError
    │   ├── ErrorStatusError
    │   ├── EnvelopeError
    │   ├── HandlerTimeoutError
    │   └── WorkerEndedError
    ├── AnswerRefusedError          the answer was not accepted     → log, on to the next event
    └── RuntimeAPIError             no way to go on                 → log, exit
        ├── ConnectionLostError
        └── MalformedReplyError

An exception that a handler raises is never wrapped: it travels as it is.
"""

from __future__ import annotations


class LambdaRICError(Exception):
    """The base of every error of this package; never raised itself."""

    error_type = "Runtime.Unknown"
    """The name that Lambda and the caller see."""


class ConfigurationError(LambdaRICError):
    """An environment variable or option cannot be understood."""

    error_type = "Runtime.InvalidConfiguration"


class HandlerLoadError(LambdaRICError):
    """The function's handler cannot be loaded."""


class HandlerNameError(HandlerLoadError):
    """The handler's name does not have the form ``module.function``."""

    error_type = "Runtime.MalformedHandlerName"


class HandlerImportError(HandlerLoadError):
    """The handler's module, or something that it imports, cannot be imported."""

    error_type = "Runtime.ImportModuleError"


class HandlerSyntaxError(HandlerLoadError):
    """The handler's module, or something that it imports, is not valid Python."""

    error_type = "Runtime.UserCodeSyntaxError"


class HandlerConflictError(HandlerLoadError):
    """The handler's module has the name of one that is built into Python."""

    error_type = "Runtime.BuiltInModuleConflict"


class HandlerNotFoundError(HandlerLoadError):
    """The module has no such function."""

    error_type = "Runtime.HandlerNotFound"


class HandlerNotCallableError(HandlerLoadError):
    """The name is there, but it cannot be called with an event and a context."""

    error_type = "Runtime.HandlerNotCallable"


class InvocationError(LambdaRICError):
    """The invocation failed for a reason that is not an exception of the handler."""


class EventDecodeError(InvocationError):
    """The event is not the JSON that its content type says."""

    error_type = "Runtime.UnmarshalError"


class ContextDecodeError(InvocationError):
    """The client context or the Cognito identity is not a JSON object."""

    error_type = "Runtime.LambdaContextUnmarshalError"


class ResultEncodeError(InvocationError):
    """What the handler returned cannot be encoded as JSON."""

    error_type = "Runtime.MarshalError"


class UnsupportedEventError(InvocationError):
    """The event is not one that an adapter for web applications can serve."""

    error_type = "Runtime.UnsupportedEvent"


class ErrorStatusError(InvocationError):
    """A web application has answered with a status that counts as an error of the function."""

    error_type = "Function.ErrorStatus"


class EnvelopeError(InvocationError):
    """A message says that it carries a task, and is malformed or of a later version."""

    error_type = "Runtime.MalformedTask"


class HandlerTimeoutError(InvocationError):
    """The handler was interrupted because the function's deadline was near."""

    error_type = "Function.Timeout"


class WorkerEndedError(InvocationError):
    """The process that had the invocation has ended without an answer, on Lambda Managed Instances."""

    error_type = "Runtime.ExitError"


class AnswerRefusedError(LambdaRICError):
    """
    Lambda did not accept a response or an error.

    The platform has already answered the caller, or given the invocation up;
    the environment is fine, and the next event may be asked for.
    """

    error_type = "Runtime.AnswerRefused"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RuntimeAPIError(LambdaRICError):
    """The Runtime API cannot be used any longer: the process has to end."""

    error_type = "Runtime.LambdaRuntimeClientError"


class ConnectionLostError(RuntimeAPIError):
    """The connection could not be made, or broke before a whole reply had come; *sent* if behind the whole request."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent: bool = sent


class MalformedReplyError(RuntimeAPIError):
    """What came over the connection is not an HTTP/1.1 reply of the Runtime API."""
