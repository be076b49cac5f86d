"""
What a function or a value is, told without calling or awaiting it.
"""

from __future__ import annotations

import functools
from types import GeneratorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__"):
        function = getattr(function, "__func__", None) or getattr(type(function), "__call__", None)  # noqa: B004
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & flags)
