"""Functions under a stable name, with a policy."""

from __future__ import annotations

import functools
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_ric.callables import is_coroutine_function
from lambda_ric.tasks import policy as tasks
from lambda_ric.tasks.policy import TASKS, Task, task


@pytest.fixture(autouse=True)
def none_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is the process's; each test has its own."""
    monkeypatch.setattr(tasks, "TASKS", {})


def send(order_id: str, *, copy: bool = False) -> str:
    """Send it."""
    return f"{order_id} {copy}"


async def index(document: str) -> str:
    return document


class Sink:
    def check(self, envelope: object) -> None: ...

    def send(self, envelopes: object, within: float) -> list[Any]:
        return []


# A function still...


def test_task_is_called_as_the_function_is() -> None:
    """Called directly it runs at once, here, without the policy."""
    assert task(send)("o-17", copy=True) == "o-17 True"


def test_task_looks_like_its_function() -> None:
    """Its documentation, its name and its signature stay."""
    registered = task(send)

    assert (registered.__name__, registered.__doc__) == ("send", "Send it.")
    assert inspect.signature(registered) == inspect.signature(send)


def test_task_of_an_async_function_is_one() -> None:
    """Else it would be called in a thread first."""
    assert is_coroutine_function(task(index))
    assert not is_coroutine_function(task(send))


def test_decorator_takes_a_policy() -> None:
    """In its second form it is called before it decorates."""
    sink = Sink()

    registered = task(name="send", timeout=20, retries=3, max_concurrency=2, overflow=sink, on="success")(send)

    assert isinstance(registered, Task)
    assert (registered.name, registered.timeout, registered.retries) == ("send", 20, 3)
    assert (registered.max_concurrency, registered.overflow, registered.on) == (2, sink, "success")


def test_task_is_pickled_by_its_name() -> None:
    """As a function is, so that a pool of processes takes it."""
    assert pickle.loads(pickle.dumps(module_task)) is module_task


# ...under a stable name...


def test_name_is_where_the_function_is_defined() -> None:
    """Any process with the same code knows it by that name."""
    registered = task(send)

    assert registered.name == "tests.tasks.test_policy:send"
    assert tasks.TASKS["tests.tasks.test_policy:send"] is registered
    assert repr(registered) == "<Task 'tests.tasks.test_policy:send'>"


def test_name_that_is_taken_is_refused() -> None:
    """Else a message would call whichever was imported last."""
    task(name="send")(send)

    with pytest.raises(ValueError, match="the task name 'send' is taken by another function"):
        task(name="send")(index)


def test_module_that_is_executed_again_replaces_its_tasks() -> None:
    """importlib.reload makes new functions of the same name at the same place."""
    source = "from lambda_ric.tasks.policy import task\n@task\ndef send(): ...\n"
    first: dict[str, Any] = {"__name__": "app"}
    again: dict[str, Any] = {"__name__": "app"}
    exec(source, first)

    exec(source, again)

    assert tasks.TASKS["app:send"] is again["send"]


def test_functions_of_one_factory_do_not_share_a_name() -> None:
    """Each has values of its own: which one a message means is not known."""

    def registered() -> Task:
        @task(name="send")
        def inner() -> None: ...

        return inner

    registered()

    with pytest.raises(ValueError, match="taken"):
        registered()


def _nested() -> Any:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize("function", [_nested(), lambda: None, functools.partial(send, "o-17")])
def test_function_without_a_stable_name_needs_one(function: Any) -> None:
    """Nothing finds it by a message otherwise."""
    with pytest.raises(ValueError, match="has no name by which another process would find it"):
        task(function)

    assert task(name="given")(function).name == "given"


def test_method_is_refused() -> None:
    """Its object cannot travel, and `self.send` would be called without it."""
    # Up to Python 3.11 wrapped in a RuntimeError.
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Orders:
            @task(name="send")
            def send(self) -> None: ...

    assert "Orders.send is a method" in str(caught.value.__cause__ or caught.value)
    assert tasks.TASKS == {}


def test_static_method_is_a_function() -> None:
    """It is found by its class."""

    class Orders:
        @staticmethod
        @task(name="send")
        def send(order_id: str) -> str:
            return order_id

        also = task(index)

    assert Orders().send("o-17") == "o-17"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 251])
def test_unusable_name_is_refused(name: str) -> None:
    """It goes into messages and into the log."""
    with pytest.raises(ValueError, match="a task's name is printable text"):
        task(name=name)(send)


# ...with a policy


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    "wrong", [17, "send", Task, generator, async_generator, functools.wraps(generator)(lambda: None)]
)
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    """A generator would be made, and never run."""
    with pytest.raises(TypeError):
        task(wrong)


def test_task_of_a_task_is_refused() -> None:
    """There is one policy."""
    with pytest.raises(TypeError, match="is a task already"):
        task(name="again")(task(send))


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": float("inf")}, ValueError),
        ({"timeout": "20"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"retries": -1}, ValueError),
        ({"retries": 1.5}, TypeError),
        ({"backoff": -1}, ValueError),
        ({"backoff": None}, TypeError),
        ({"on": "failure"}, ValueError),
        ({"max_concurrency": 0}, ValueError),
        ({"max_concurrency": "2"}, TypeError),
        ({"dedupe_key": "order_id"}, TypeError),
        ({"overflow": "https://sqs.us-east-1.amazonaws.com/1/tasks"}, TypeError),
        ({"on_failure": 17.0}, TypeError),
        ({"name": 17}, TypeError),
        ({"retry": 3}, TypeError),
    ],
    ids=str,
)
def test_wrong_policy_is_refused_at_the_decoration(policy: dict[str, Any], error: type[Exception]) -> None:
    """That is at the start of the process, not when the deadline is near; and what is refused is not registered."""
    with pytest.raises(error, match=r"task|retry"):
        task(**policy)(send)

    assert tasks.TASKS == {}


def test_delays_double_up_to_a_minute() -> None:
    """Exponential back-off, counted from the first attempt."""
    registered = Task(send, backoff=0.5)

    delays = [registered.delay(attempt, lambda: 1.0) for attempt in (1, 2, 3, 4, 9, 10_000)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_delay_is_random_from_nothing_to_its_length() -> None:
    """Full jitter: those that failed together do not come back together."""
    registered = Task(send, backoff=100)

    assert [registered.delay(1, lambda: 0.0), registered.delay(1, lambda: 0.25)] == [0.0, 25.0]
    assert len({registered.delay(1) for _ in range(9)}) > 1


def test_expected_time_is_the_timeout() -> None:
    """It may take that long."""
    registered = Task(send, timeout=20)
    registered.record(1.0)

    assert registered.expected == 20


def test_expected_time_without_a_timeout_is_the_longest_of_the_last_runs() -> None:
    """Nothing else is known; and what was long ago is forgotten."""
    registered = Task(send)
    unknown = registered.expected
    for seconds in (9.0, 3.0, *[1.0] * 15):
        registered.record(seconds)

    assert (unknown, registered.expected) == (None, 3.0)


def test_envelope_of_a_task_has_its_name_and_an_id_of_its_own() -> None:
    """Two calls with the same arguments are two."""
    registered = Task(send, name="send")

    envelopes = [registered.envelope(("o-17",), {"copy": True}) for _ in range(2)]

    assert [(envelope.task, envelope.args, envelope.kwargs, envelope.attempt) for envelope in envelopes] == [
        ("send", ["o-17"], {"copy": True}, 1)
    ] * 2
    assert envelopes[0].id != envelopes[1].id


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("retry", "did you mean 'retries'?"),
        ("time_out", "did you mean 'timeout'?"),
        (
            "queue",
            "it takes name, timeout, retries, backoff, on, max_concurrency, dedupe_key, overflow, on_failure, redact",
        ),
    ],
)
def test_part_that_a_policy_does_not_have_is_refused_with_what_it_has(name: str, remedy: str) -> None:
    """The likest one, or all of them."""
    options: dict[str, Any] = {name: 3}

    with pytest.raises(TypeError) as refused:
        task(**options)

    assert str(refused.value) == f"task has no {name!r}: {remedy}"


def test_editors_and_help_show_the_parts_of_a_policy_with_their_defaults() -> None:
    """As of any other function."""
    parameters = inspect.signature(task).parameters

    shown = {name: parameter.default for name, parameter in parameters.items() if name not in ("function", "unknown")}
    assert shown == {
        "name": None,
        "timeout": None,
        "retries": 0,
        "backoff": 0.5,
        "on": "always",
        "max_concurrency": None,
        "dedupe_key": None,
        "overflow": None,
        "on_failure": None,
        "redact": False,
    }


def test_tasks_do_not_load_what_costs_a_cold_start() -> None:
    """A task is declared where the process starts, and has loaded what `logging` brings."""
    source = """if True:
        import logging, sys
        before = set(sys.modules)
        from lambda_ric import task
        @task
        def send(): ...
        print(*set(sys.modules) - before)
    """

    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()

    assert {"typing", "asyncio", "inspect", "random", "dataclasses"}.isdisjoint(loaded)


@task(name="of_module")
def module_task() -> None:
    """Stays registered, as tests of pickling need a module's."""


def test_registry_is_filled_as_the_module_is_imported() -> None:
    """The consumer knows all tasks of the code from its first event on."""
    assert TASKS["of_module"] is module_task
