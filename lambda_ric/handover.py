"""
How a handler hands work over: `wait_until` and `@after_response`.
"""

from __future__ import annotations

import functools
import sys

from . import follow_up  # noqa: F401  # in the init of functions that import `wait_until`, not in an invocation
from .background.task import BackgroundTask, cannot_cancel
from .callables import discard, is_awaitable, is_generator_function, unwrapped
from .hooks import Outcome
from .serving import Serving, serving_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
    from concurrent.futures import Future
    from typing import Any, Literal, ParamSpec, TypeGuard, TypeVar, overload

    from .tasks.policy import Task

    Handler = TypeVar("Handler", bound=Callable[..., Any])
    Hook = Callable[[Outcome], Any]
    Parameters = ParamSpec("Parameters")
    Result = TypeVar("Result")
else:  # typing is not worth its import at a cold start

    def overload(function):  # noqa: ANN001, ANN201
        return function


BLOCKING = "__lambda_ric_blocking__"
"""The attribute that `@blocking` leaves on a handler, and every decorator above it that uses `functools.wraps`."""


# Not of any Awaitable: where two overloads take a function with an argument of type Any, mypy knows of no result.
@overload
def wait_until(
    work: Callable[Parameters, Coroutine[Any, Any, Result]], /, *args: Parameters.args, **kwargs: Parameters.kwargs
) -> BackgroundTask[Result]: ...
@overload
def wait_until(  # noqa: F811
    work: Callable[Parameters, asyncio.Future[Result]], /, *args: Parameters.args, **kwargs: Parameters.kwargs
) -> BackgroundTask[Result]: ...
@overload
def wait_until(  # noqa: F811
    work: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
) -> BackgroundTask[Result]: ...
@overload
def wait_until(work: Awaitable[Result] | Future[Result], /) -> BackgroundTask[Result]: ...  # noqa: F811
def wait_until(work: Any, /, *args: Any, **kwargs: Any) -> BackgroundTask[Any]:  # noqa: F811
    """
    Have *work* finished after the response, before this environment can be frozen.

    *work* is a function with its arguments, which is called in a worker
    thread; an ``async`` function or a coroutine, which runs on the
    environment's event loop; or a task or future that runs already and is
    awaited. It starts after the response was delivered, keeps the context
    variables of this moment, and ends at the latest shortly before the
    function's deadline. What it raises is logged and changes nothing else.
    In a durable function, what an earlier run of its handler has handed over
    is not done again: it is cancelled when this returns.

    Returns:
        A handle on it.

    Raises:
        TypeError: *work* can neither be called nor awaited.
        ValueError: It is a task of another event loop.
        RuntimeError: There is no invocation, or its background work has ended.
    """
    try:
        serving = serving_of("wait_until")
        if _DURABLE in sys.modules:
            from .durable import replayed

            earlier = replayed(sys._getframe(1), work, args, kwargs)
            if earlier is not None:
                discard(work)
                return BackgroundTask(earlier, cannot_cancel)
        background = serving.follow_up.background
        if _is_registered(work):
            from .tasks.supervision import Supervision  # most functions have no task with a policy

            handed_over = Supervision.of(background, serving.invocation).hand_over(work, args, kwargs)
        else:
            handed_over = background.hand_over(work, args, kwargs)
        return BackgroundTask(handed_over, background.cancel)
    except BaseException:
        discard(work)
        raise


_DURABLE = "aws_durable_execution_sdk_python.context"
_POLICY = f"{__package__}.tasks.policy"


def _is_registered(work: Any) -> TypeGuard[Task]:
    # Without importing it: work can be such a task only if somebody else did.
    policy = sys.modules.get(_POLICY)
    return policy is not None and isinstance(work, policy.Task)


@overload
def after_response(handler: Callable[Parameters, Iterator[Result]], /) -> Callable[Parameters, Result]: ...
@overload
def after_response(  # noqa: F811
    handler: Callable[Parameters, AsyncIterator[Result]], /
) -> Callable[Parameters, Coroutine[Any, Any, Result]]: ...
@overload
def after_response(  # noqa: F811
    *hooks: Hook, on: Literal["success", "error", "always"] = "success"
) -> Callable[[Handler], Handler]: ...
def after_response(*hooks: Any, on: str = "success") -> Any:  # noqa: F811
    """
    Go on after the response. As a decorator of a handler, in two forms::

        @after_response
        def handler(event, context):
            yield {"statusCode": 202}
            send_receipt(event)

        @after_response(send_receipt, write_audit_log)
        def handler(event, context): ...

    In the first, a generator, synchronous or not, yields its response once;
    the rest of it runs when the caller has it. If the response could not be
    delivered, the ``yield`` raises the reason.

    In the second, each hook is called with the `Outcome`. *on* says after
    which: ``"success"``, ``"error"`` or ``"always"``.

    Raises:
        TypeError: It was used in another way.
        ValueError: *on* is none of the three.
    """
    if on not in ("success", "error", "always"):
        raise ValueError(f"after_response takes on='success', 'error' or 'always', not {on!r}")
    if len(hooks) == 1 and hasattr(hooks[0], BLOCKING):
        raise TypeError("@blocking goes above @after_response: below it, it would stream what the handler yields")
    if len(hooks) == 1 and callable(hooks[0]) and is_generator_function(unwrapped(hooks[0])):
        return _with_continuation(hooks[0])
    for hook in hooks:
        if not callable(hook) or is_generator_function(unwrapped(hook)):
            raise TypeError(f"after_response takes functions that are called with the outcome, not {hook!r}")
    if not hooks:
        raise TypeError("after_response needs the hooks to call: @after_response(send_receipt)")
    return _WithHooks(hooks, on)


class _WithHooks:
    """The decorator that names hooks; says so when it is taken for the handler."""

    def __init__(self, hooks: tuple[Hook, ...], on: str) -> None:
        self._hooks = hooks
        self._on = on

    def __call__(self, *args: Any) -> Any:
        if len(args) != 1 or not callable(args[0]):
            name = getattr(self._hooks[0], "__name__", "handler")
            raise TypeError(
                f"@after_response was put on {name!r}, which does not yield. Yield the response and go on after it, "
                f"or name the hooks: @after_response(send_receipt)"
            )
        handler = args[0]

        @functools.wraps(handler)
        def with_hooks(*args: Any, **kwargs: Any) -> Any:
            serving_of("a handler with @after_response").follow_up.call_hooks(self._hooks, self._on)
            return handler(*args, **kwargs)

        return with_hooks


def _with_continuation(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def with_continuation(*args: Any, **kwargs: Any) -> Any:
        serving = serving_of("a handler with @after_response")
        generator = handler(*args, **kwargs)
        name = getattr(handler, "__name__", "handler")
        if hasattr(generator, "__anext__"):
            return _first_of_async(generator, serving, name)
        if not hasattr(generator, "send") or is_awaitable(generator):
            return generator
        try:
            response = next(generator)
        except StopIteration as stop:
            return stop.value
        serving.follow_up.go_on_with(name, functools.partial(_go_on, generator))
        return response

    return with_continuation


async def _first_of_async(generator: AsyncGenerator[Any, None], serving: Serving, name: str) -> Any:
    try:
        response = await anext(generator)
    except StopAsyncIteration:
        return None
    event_loop = serving.event_loop
    context = event_loop.context

    def go_on(outcome: Outcome) -> Any:
        # A decorator may have set variables since, or reset them.
        return event_loop.go_on_with(_go_on_async(generator, outcome), context)

    serving.follow_up.go_on_with(name, go_on)
    return response


def _go_on(generator: Generator[Any, None, Any], outcome: Outcome) -> None:
    try:
        if outcome.error is None:
            next(generator)
        else:
            generator.throw(outcome.error)
    except StopIteration:
        return
    except BaseException as error:
        if error is not outcome.error:  # that one has been told already
            raise
        return
    generator.close()
    raise RuntimeError(_YIELDED_TWICE)


async def _go_on_async(generator: AsyncGenerator[Any, None], outcome: Outcome) -> None:
    try:
        if outcome.error is None:
            await anext(generator)
        else:
            await generator.athrow(outcome.error)
    except StopAsyncIteration:
        return
    except BaseException as error:
        if error is not outcome.error:
            raise
        return
    await generator.aclose()
    raise RuntimeError(_YIELDED_TWICE)


_YIELDED_TWICE = "an @after_response handler yields once, its response: what it yielded after that goes nowhere"
