"""
`@task`: functions under a stable name, with a policy for how they are run.
"""

from __future__ import annotations

import functools
import os
from math import isfinite

from lambda_ric.callables import is_generator_function, no_such_argument, unwrapped

from .envelope import Envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Generic, Literal, TypedDict, Unpack, overload

    from typing_extensions import ParamSpec, TypeVar

    from .sink import Sink

    class Policy(TypedDict, total=False):
        """What `task` takes beside the function."""

        name: str | None
        timeout: float | None
        retries: int
        backoff: float
        on: Literal["always", "success", "error"]
        max_concurrency: int | None
        dedupe_key: Callable[..., str] | None
        overflow: Sink | None
        on_failure: Sink | None
        redact: bool

    Parameters = ParamSpec("Parameters", default=...)
    Result = TypeVar("Result", default=Any)
else:  # typing is not worth its import at a cold start
    Parameters = Result = None

    class Generic:
        def __class_getitem__(cls, parameters):  # noqa: ANN001, ANN204
            return object

    def overload(function):  # noqa: ANN001, ANN201
        return function


# Seconds. Nothing waits longer between two attempts, unless its first wait is longer already.
_LONGEST_DELAY = 60.0
_HISTORY = 16


class Task(Generic[Parameters, Result]):
    """
    A function that `task` has registered; to call it is to call the function.

    Raises:
        TypeError: *function* cannot be a task, or a part of the policy is of the wrong type.
        ValueError: *function* has no name that another process knows it by, or a part of the policy is out of range.
    """

    __name__: str

    def __init__(self, function: Callable[Parameters, Result], **policy: Unpack[Policy]) -> None:
        name, timeout, on = policy.get("name"), policy.get("timeout"), policy.get("on", "always")
        max_concurrency, dedupe_key = policy.get("max_concurrency"), policy.get("dedupe_key")
        redact = policy.get("redact", False)
        _check_function(function)
        self.name: str = _name_of(function) if name is None else _checked_name(name)
        self.function = function
        self._qualname = str(getattr(function, "__qualname__", self.name))
        self.timeout: float | None = None if timeout is None else _checked_number("timeout", timeout, above=0)
        self.retries: int = _checked_count("retries", policy.get("retries", 0), 0)
        self.backoff: float = _checked_number("backoff", policy.get("backoff", 0.5))
        if on not in ("always", "success", "error"):
            raise ValueError(f"a task's on is 'always', 'success' or 'error', not {on!r}")
        self.on = on
        self.max_concurrency: int | None = (
            None if max_concurrency is None else _checked_count("max_concurrency", max_concurrency, 1)
        )
        if dedupe_key is not None and not callable(dedupe_key):
            raise TypeError(f"a task's dedupe_key is a function of its arguments, not {dedupe_key!r}")
        self.dedupe_key = dedupe_key
        self.overflow: Sink | None = _checked_sink("overflow", policy.get("overflow"))
        self.on_failure: Sink | None = _checked_sink("on_failure", policy.get("on_failure"))
        if not isinstance(redact, bool):
            raise TypeError(f"a task's redact is True or False, not {redact!r}")
        self.redact = redact
        self._took: tuple[float, ...] = ()
        self._may_prepare = True
        functools.update_wrapper(self, function)
        # Where a bound method has its function: `is_coroutine_function` looks there.
        self.__func__ = function

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self.function(*args, **kwargs)

    def __set_name__(self, owner: type, name: str) -> None:
        if self._qualname == f"{owner.__qualname__}.{name}":
            if TASKS.get(self.name) is self:
                del TASKS[self.name]
            raise TypeError(
                f"{self._qualname} is a method, and a queue cannot carry its object: make the task a function, "
                "or put @staticmethod above @task"
            )

    def __reduce__(self) -> str:
        # As a function does, by its name: a pool of processes takes it.
        return self._qualname

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"

    @property
    def expected(self) -> float | None:
        """The seconds that it may take: its timeout, or the longest of its last runs here; None: not known."""
        return self.timeout if self.timeout is not None else max(self._took, default=None)

    def take_preparation(self) -> Callable[[], object] | None:
        """Return what makes its queue ready, the first time that it is asked for, if the queue has such a thing."""
        if not self._may_prepare:
            return None
        self._may_prepare = False
        prepare: Callable[[], object] | None = getattr(self.overflow, "prepare", None)
        return prepare if callable(prepare) else None

    def record(self, seconds: float) -> None:
        """Remember that a run succeeded, and took *seconds*."""
        self._took = (*self._took, seconds)[-_HISTORY:]

    def delay(self, attempt: int, random: Callable[[], float] | None = None) -> float:
        """
        Return the seconds to wait when *attempt*, counted from 1, has failed: exponential back-off with full jitter.

        *random* returns numbers from 0 to 1.
        """
        if random is None:
            from random import random as at_random  # which most functions never need

            random = at_random
        longest = max(self.backoff, _LONGEST_DELAY)
        return random() * min(self.backoff * 2.0 ** min(attempt - 1, 64), longest)

    def envelope(
        self,
        args: Iterable[Any],
        kwargs: dict[str, Any],
        *,
        attempt: int = 1,
        id: str | None = None,
        origin: dict[str, str] | None = None,
        trace: str | None = None,
        key: bytes | None = None,
    ) -> Envelope:
        """Return a call of this task as a queue carries it, under a new *id* unless there is one."""
        return Envelope(self.name, args, kwargs, id or os.urandom(16).hex(), attempt, origin, trace, key)

    def loggable(self, envelope: Envelope) -> str:
        """Return *envelope*, one of this task, for the log: without its arguments if these are to be kept out of it."""
        if self.redact:
            envelope = Envelope(self.name, (), {}, envelope.id, envelope.attempt, envelope.origin, envelope.trace)
        return envelope.encode()


TASKS: dict[str, Task] = {}
"""All tasks of this process by name, filled as modules are imported; what a message names is looked up only here."""


@overload
def task(function: Callable[Parameters, Result], /) -> Task[Parameters, Result]: ...
@overload
def task(**policy: Unpack[Policy]) -> Callable[[Callable[Parameters, Result]], Task[Parameters, Result]]: ...  # noqa: F811
def task(  # noqa: F811
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    retries: int = 0,
    backoff: float = 0.5,
    on: Literal["always", "success", "error"] = "always",
    max_concurrency: int | None = None,
    dedupe_key: Callable[..., str] | None = None,
    overflow: Sink | None = None,
    on_failure: Sink | None = None,
    redact: bool = False,
    **unknown: Any,
) -> Any:
    """
    Register a function, synchronous or not, as a task::

        @task(timeout=20, retries=3, overflow=sqs(os.environ["TASKS_QUEUE_URL"]))
        def send_receipt(order_id: str) -> None: ...


        wait_until(send_receipt, "o-17")

    Its *name*, by default ``module:qualname``, is what messages call it by, so it has to outlive deployments. It may
    run for *timeout* seconds; when it fails it is tried *retries* times more, first after *backoff* seconds, then
    twice as many, each times a random number from 0 to 1. *on* says after which outcome of the handler it runs, and
    *max_concurrency* how many of it at the same time. Of calls with the same *dedupe_key* in one invocation, a
    function of the arguments, the first is run. What does not fit before the deadline goes to *overflow*, and what
    has failed for good to *on_failure*. What is lost is logged with its arguments, unless *redact* is set.

    Raises:
        TypeError: It is a generator, a method or no function; or a part of the policy is of the wrong type.
        ValueError: It has no stable name: give it one; the name is taken; or a part of the policy is out of range.
    """
    if unknown:
        code = task.__code__
        names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        raise no_such_argument("task", next(iter(unknown)), names)
    policy: Policy = {
        "name": name,
        "timeout": timeout,
        "retries": retries,
        "backoff": backoff,
        "on": on,
        "max_concurrency": max_concurrency,
        "dedupe_key": dedupe_key,
        "overflow": overflow,
        "on_failure": on_failure,
        "redact": redact,
    }
    if function is not None:
        return _registered(Task(function, **policy))
    return lambda function: _registered(Task(function, **policy))


def _registered(task: Task) -> Task:
    known = TASKS.get(task.name)
    if known is not None and not _same_place(known.function, task.function):
        raise ValueError(
            f"the task name {task.name!r} is taken by another function of {known.function.__module__}: give one of "
            "them another name, @task(name=...)"
        )
    TASKS[task.name] = task
    return task


def _same_place(one: Any, other: Any) -> bool:
    """Say whether a module that was executed twice has defined both."""
    codes = [getattr(unwrapped(function), "__code__", None) for function in (one, other)]
    places = [code and (code.co_filename, code.co_firstlineno, code.co_qualname) for code in codes]
    return places[0] == places[1] is not None and "<locals>" not in one.__qualname__


def _check_function(function: object) -> None:
    if isinstance(function, Task):
        raise TypeError(f"{function!r} is a task already")
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"task takes a function, not {function!r}")
    if is_generator_function(unwrapped(function)):
        raise TypeError(f"{getattr(function, '__qualname__', function)} is a generator, which a task cannot be")


def _name_of(function: Callable[..., Any]) -> str:
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not qualname or "<" in qualname:
        raise ValueError(
            f"{qualname or repr(function)} has no name by which another process would find it: a task is a function "
            "of a module, or is given a name, @task(name=...)"
        )
    return _checked_name(f"{module}:{qualname}")


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a task's name is a string, not {name!r}")
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise ValueError(f"a task's name is printable text of 1 to {_LONGEST_NAME} characters, not {name!r}")
    return name


# What a message attribute of SQS, or a dimension of a metric, can hold; a longer one is a mistake anyway.
_LONGEST_NAME = 250


def _checked_number(what: str, value: object, above: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a task's {what} is a number of seconds, not {value!r}")
    if not isfinite(value) or value < 0 or value == above:
        raise ValueError(f"a task's {what} is a number of seconds {'above' if above == 0 else 'from'} 0, not {value!r}")
    return value


def _checked_count(what: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a task's {what} is a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"a task's {what} is at least {least}, not {value}")
    return value


def _checked_sink(what: str, sink: Any) -> Sink | None:
    if sink is not None and not (callable(getattr(sink, "check", None)) and callable(getattr(sink, "send", None))):
        raise TypeError(f"a task's {what} is a sink such as lambda_ric.overflow.sqs(queue_url), not {sink!r}")
    result: Sink | None = sink
    return result
