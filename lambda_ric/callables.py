"""
What a function or a value is, told without calling or awaiting it.
"""

from __future__ import annotations

import functools
from types import FunctionType, GeneratorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any, TypeGuard


def name_of(work: Any) -> str:
    """Return the name of a function, a coroutine or a task, as the log has it."""
    if hasattr(type(work), "get_coro"):
        work = work.get_coro()
    while isinstance(work, functools.partial):
        work = work.func
    name = getattr(work, "__qualname__", None) or type(work).__qualname__
    return str(name).rpartition("<locals>.")[2]


# From inspect, whose import costs as much as the rest of this package.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def is_awaitable(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Say whether *value* can be awaited."""
    if hasattr(type(value), "__await__"):
        return True
    return isinstance(value, GeneratorType) and bool(value.gi_code.co_flags & _ITERABLE_COROUTINE)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """
    Say whether calling *function* does no more than to make a coroutine.

    A wrapper around a coroutine function may do anything, so it is not one.
    """
    return _has_flag(function, _COROUTINE | _ITERABLE_COROUTINE)


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Say whether *function* yields, synchronously or not; a wrapper around one need not."""
    return _has_flag(function, _GENERATOR | _ASYNC_GENERATOR)


def is_asynchronous_generator_function(function: Callable[..., Any]) -> bool:
    """Say whether *function* yields asynchronously."""
    return _has_flag(function, _ASYNC_GENERATOR)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `functools.wraps` says that *function* wraps, at the innermost."""
    for _ in range(64):  # a chain of wrappers can be a circle
        function = getattr(function, "__wrapped__", function)
    return function


def discard(work: Any) -> None:
    """Close *work* if it is a coroutine: one that nobody awaits warns when it is collected, far from its cause."""
    close = getattr(work, "close", None)
    if close is not None and hasattr(work, "send") and is_awaitable(work):
        close()


def _has_flag(function: Any, flags: int) -> bool:
    holder = code_holder(function)
    return holder is not None and bool(holder.__code__.co_flags & flags)


def code_holder(function: Any) -> Any:
    """Return the function whose code is run when *function* is called, as far as it is Python's; else None."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__"):
        method = "__init__" if isinstance(function, type) else "__call__"
        function = getattr(function, "__func__", None) or getattr(
            function if isinstance(function, type) else type(function), method, None
        )
    return function if hasattr(function, "__code__") else None


def application_kind(thing: Any) -> str:
    """Return ASGI or WSGI when the parameters of *thing* are those of such an application, else nothing."""
    names = _parameters(thing)
    if names[-3:] == ("scope", "receive", "send"):
        return "ASGI"
    return "WSGI" if names[-1:] == ("start_response",) else ""


def _parameters(thing: Any) -> tuple[str, ...]:
    """Return the names of what *thing* is called with by position, as far as its code says."""
    code = getattr(thing, "__code__", None) or getattr(type(thing).__call__, "__code__", None)
    return tuple(code.co_varnames[: code.co_argcount]) if code is not None else ()


def may_take(function: Any, count: int) -> bool:
    """Say whether *function* can be called with *count* arguments; of what is no plain function, that is not known."""
    if not isinstance(function, FunctionType) or function.__code__.co_flags & _VARIABLE_ARGUMENTS:
        return True
    most = function.__code__.co_argcount
    return most - len(function.__defaults__ or ()) <= count <= most


_VARIABLE_ARGUMENTS = 0x04  # from inspect, as above


def no_such_argument(whose: str, name: str, names: Iterable[str]) -> TypeError:
    """Return the error for the argument *name* of *whose*, which takes others: that which was meant, or all *names*."""
    from difflib import get_close_matches  # only for a mistake

    known = list(names)
    alike = get_close_matches(name, known, n=1)
    remedy = f"did you mean {alike[0]!r}?" if alike else f"it takes {', '.join(known)}"
    return TypeError(f"{whose} has no {name!r}: {remedy}")
