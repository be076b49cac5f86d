"""
How a handler hands work over: `wait_until` and `@after_response`.
"""

from __future__ import annotations

import functools
import threading
from contextvars import ContextVar

from .background import Background
from .background_task import BackgroundTask
from .event_loop import discard, is_awaitable, is_generator_function, unwrapped
from .hooks import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
    from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

    from .event_loop import EventLoop
    from .protocol import Invocation
    from .streaming import ResponseStream

    class Environment(Protocol):
        """What serves the invocations, and makes for each what it turns out to need."""

        event_loop: EventLoop

        def until(self, invocation: Invocation) -> float:
            """Return when work in the handler's time has to end, in seconds since 1970."""

        def make_background(self, invocation: Invocation) -> Background:
            """Return a registry for the work of *invocation*."""

        def make_stream(self, invocation: Invocation) -> ResponseStream:
            """Return the way to answer *invocation* piece by piece."""

    Handler = TypeVar("Handler", bound=Callable[..., Any])
    Hook = Callable[[Outcome], Any]
    Parameters = ParamSpec("Parameters")
else:  # typing is not worth its import at a cold start

    def overload(function):  # noqa: ANN001, ANN201
        return function


class Handover:
    """
    What one invocation hands over: a response in pieces, and work for the time after the response.

    Most invocations want neither, so what is needed for it is made when it is needed.
    """

    __slots__ = (
        "_background",
        "_unused",
        "answered",
        "continuations",
        "earlier",
        "environment",
        "hooks",
        "invocation",
        "response_stream",
        "rests",
    )

    def __init__(self, invocation: Invocation, environment: Environment) -> None:
        self.invocation = invocation
        self.environment = environment
        self.response_stream: ResponseStream | None = None
        self.answered = False
        self.earlier: list[Background] = []
        """Registries that were drained before the answer; what became of their work is told with the rest."""
        self.rests: list[Callable[[float], None]] = []
        """What is called before the drain, with the time at which that ends."""
        self.continuations: list[tuple[str, Callable[[Outcome], Any]]] = []
        """The rests of generator handlers."""
        self.hooks: list[tuple[str, Hook]] = []
        """The hooks that `@after_response` names, each behind the outcomes that it is for."""
        self._unused = False
        self._background: Background | None = None

    @property
    def background(self) -> Background:
        """The registry."""
        if self._background is None:
            with _making:
                if self._background is None:
                    background = self.environment.make_background(self.invocation)
                    if self._unused:
                        background.close()
                    self._background = background
        return self._background

    def stream(self, result: Any) -> None:
        """
        Answer with what *result*, an iterator or a `StreamingResponse`, gives, to its end.

        Raises:
            RuntimeError: This invocation has been answered in this way before.
            BaseException: What `ResponseStream.send` raises.
        """
        if self.answered or self.response_stream is not None:
            raise RuntimeError("this invocation has been answered already: there can be no second response")
        self.response_stream = self.environment.make_stream(self.invocation)
        self.response_stream.send(result)

    def close_unused(self) -> bool:
        """Close it if nothing was handed over, and say whether that is so."""
        with _making:
            self._unused = self._background is None
        return self._unused

    def hooks_after(self, outcome: Outcome) -> list[Hook]:
        """Return the hooks to call after this *outcome*."""
        return [hook for on, hook in self.hooks if on == "always" or (on == "success") == outcome.succeeded]


BLOCKING = "__lambda_ric_blocking__"
"""The attribute that `@blocking` leaves on a handler, and every decorator above it that uses `functools.wraps`."""

_making = threading.Lock()

current_handover: ContextVar[Handover | None] = ContextVar("lambda_ric.handover", default=None)


def handover_of(caller: str) -> Handover:
    """
    Return that of the invocation that is being served.

    Raises:
        RuntimeError: There is none; the text names *caller*.
    """
    handover = current_handover.get()
    if handover is None:
        raise RuntimeError(
            f"{caller} was called outside of any invocation: nobody would run the work. In a test, call the handler "
            "with lambda_ric.testing.invoke(handler, event)"
        )
    return handover


def wait_until(work: Any, /, *args: Any, **kwargs: Any) -> BackgroundTask:
    """
    Have *work* finished after the response, before this environment can be frozen.

    *work* is a function with its arguments, which is called in a worker
    thread; an ``async`` function or a coroutine, which runs on the
    environment's event loop; or a task or future that runs already and is
    awaited. It starts after the response was delivered, keeps the context
    variables of this moment, and ends at the latest shortly before the
    function's deadline. What it raises is logged and changes nothing else.

    Returns:
        A handle on it.

    Raises:
        TypeError: *work* can neither be called nor awaited.
        ValueError: It is a task of another event loop.
        RuntimeError: There is no invocation, or its background work has ended.
    """
    try:
        return handover_of("wait_until").background.hand_over(work, args, kwargs)
    except BaseException:
        discard(work)
        raise


@overload
def after_response(
    handler: Callable[Parameters, Iterator[Any] | AsyncIterator[Any]], /
) -> Callable[Parameters, Any]: ...
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
            handover = handover_of("a handler with @after_response")
            handover.hooks += [(self._on, hook) for hook in self._hooks]
            return handler(*args, **kwargs)

        return with_hooks


def _with_continuation(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def with_continuation(*args: Any, **kwargs: Any) -> Any:
        handover = handover_of("a handler with @after_response")
        generator = handler(*args, **kwargs)
        name = getattr(handler, "__name__", "handler")
        if hasattr(generator, "__anext__"):
            return _first_of_async(generator, handover, name)
        if not hasattr(generator, "send") or is_awaitable(generator):
            return generator
        try:
            response = next(generator)
        except StopIteration as stop:
            return stop.value
        handover.continuations.append((name, functools.partial(_go_on, generator)))
        return response

    return with_continuation


async def _first_of_async(generator: AsyncGenerator[Any, None], handover: Handover, name: str) -> Any:
    try:
        response = await anext(generator)
    except StopAsyncIteration:
        return None
    event_loop = handover.environment.event_loop
    context = event_loop.context

    def go_on(outcome: Outcome) -> Any:
        # A decorator may have set variables since, or reset them.
        return event_loop.go_on_with(_go_on_async(generator, outcome), context)

    handover.continuations.append((name, go_on))
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
