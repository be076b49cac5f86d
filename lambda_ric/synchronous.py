"""
`@blocking`: an asynchronous handler, or one that streams, as one plain call.
"""

from __future__ import annotations

import functools

from .event_loop import runs_a_loop
from .handover import BLOCKING
from .interrupt import TimeUp
from .payloads import is_stream
from .serving import serving_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar, overload

    from .payloads import Payload
    from .streaming.response import StreamingResponse

    Parameters = ParamSpec("Parameters")
    Result = TypeVar("Result")

    class Dataclass(Protocol):
        __dataclass_fields__: ClassVar[dict[str, Any]]

    # Results that are nothing to await. Had it no bound, two overloads would take an asynchronous handler.
    Value = TypeVar("Value", bound=Mapping[str, Any] | Sequence[Any] | float | Dataclass | Payload | None)
    Stream = Iterator[bytes] | Iterator[str] | AsyncIterator[bytes] | AsyncIterator[str] | StreamingResponse
else:  # typing is not worth its import at a cold start

    def overload(function):  # noqa: ANN001, ANN201
        return function


@overload
def blocking(handler: Callable[Parameters, Stream], /) -> Callable[Parameters, None]: ...
@overload
def blocking(  # noqa: F811
    handler: Callable[Parameters, Awaitable[Result]], /
) -> Callable[Parameters, Result]: ...
@overload
def blocking(handler: Callable[Parameters, Value], /) -> Callable[Parameters, Value]: ...  # noqa: F811
def blocking(handler: Callable[..., Any], /) -> Callable[..., Any]:  # noqa: F811
    """
    Make of *handler* a function that returns when all of its work is done.

    For the decorators of other libraries, which take a call for the whole of
    an invocation: put it innermost. A coroutine runs on the environment's
    event loop until its result is there. An iterator or a
    `StreamingResponse` is sent to its end, and the call then returns None:
    the caller of the function has been answered.

    Calling it raises RuntimeError outside of an invocation, in another thread
    than the main one, or while the event loop runs, where it would block it.
    """

    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:
        name = f"{getattr(handler, '__qualname__', 'a handler')}, which is @blocking,"
        serving = serving_of(name)
        if not serving.event_loop.may_be_waited_for:
            raise RuntimeError(f"{name} was called in a thread: the event loop belongs to the main thread")
        if runs_a_loop():
            raise RuntimeError(f"{name} was called while the event loop runs, and would stop it: await the handler")
        result = serving.event_loop.resolve(handler(*args, **kwargs))
        if is_stream(result):
            return serving.stream(result)
        return result

    setattr(run, BLOCKING, True)
    return run


def to_completion(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """
    Return *handler* as decorators of other libraries want it: its call ends when all its work is done.

    Where it is interrupted because its time is up, they get an ordinary
    exception, a `HandlerTimeoutError`, which their ``except Exception`` sees.
    """

    @functools.wraps(handler)
    def run(event: Any, context: Any) -> Any:
        serving = serving_of("a handler of the runtime")
        event_loop = serving.event_loop
        try:
            result = handler(event, context)
            if not event_loop.may_be_waited_for or runs_a_loop():
                return result
            result = event_loop.resolve(result)
            return serving.stream(result) if is_stream(result) else result
        except TimeUp as time_up:
            raise serving.timed_out(time_up) from None

    setattr(run, BLOCKING, True)
    return run
