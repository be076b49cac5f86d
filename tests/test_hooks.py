"""Hooks around every invocation of a process: when they run, with what, and what their errors do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lambda_ric import Outcome, after_invoke, after_thaw, before_freeze, before_invoke, on_shutdown, on_startup
from lambda_ric.hooks import PROCESS_HOOKS, Hooks
from lambda_ric.testing import invoke
from tests.conftest import Serve, Served


def printed(served: Served) -> list[str]:
    """Return what the function printed."""
    return [line for line in served.lines if not line.startswith(("[", "BACKGROUND"))]


def test_everything_runs_in_its_order(serve: Serve) -> None:
    """Rest of the generator, named hooks, the process's hooks, then what was handed over (edge 17)."""
    served = serve(
        """
        import asyncio
        from lambda_ric import after_invoke, after_response, before_invoke, on_startup, wait_until

        @on_startup
        def first_startup(): print("startup 1")

        @on_startup
        async def second_startup():
            await asyncio.sleep(0)
            print("startup 2")

        @before_invoke
        def first_before(event, context): print("before 1", event, context.aws_request_id)

        @before_invoke
        async def second_before(event, context): print("before 2", event, context.aws_request_id)

        @after_invoke
        def first_after(outcome): print("after 1", outcome.result)

        @after_invoke
        async def second_after(outcome): print("after 2", outcome.result)

        def named(outcome): print("named 1", outcome.result)

        async def named_on_loop(outcome): print("named 2", outcome.result)

        async def work(): print("work 2\\n", end="")  # in one write, or the thread tears it on AWS's runtime

        @after_response(named, named_on_loop)
        @after_response
        def handler(event, context):
            wait_until(print, "work 1\\n", end="")
            print("handler")
            yield "accepted"
            wait_until(work)
            print("rest")
        """,
        "event",
        env={"LAMBDA_RIC_MAX_THREADS": "1"},
    )

    request_id = served.api.events[0].request_id
    lines = printed(served)
    assert lines[:-2] == [
        "startup 1", "startup 2",
        f"before 1 event {request_id}", f"before 2 event {request_id}",
        "handler",
        "rest",
        "named 1 accepted", "named 2 accepted",
        "after 1 accepted", "after 2 accepted",
    ]  # fmt: skip
    assert sorted(lines[-2:]) == ["work 1", "work 2"]


def test_startup_runs_once_and_before_the_first_poll(serve: Serve) -> None:
    """It is part of the initialisation: its time is not the first caller's."""
    served = serve(
        """
        from lambda_ric import on_startup

        calls = []
        on_startup(lambda: calls.append("startup"))

        def handler(event, context): return calls
        """,
        None,
        None,
    )

    assert served.answers == [["startup"], ["startup"]]


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("error", "error_type"), [("ValueError('no database')", "ValueError"), ("SystemExit(0)", "SystemExit")]
)
def test_startup_that_fails_is_an_init_error(serve: Serve, kind: str, error: str, error_type: str) -> None:
    """The environment is not started, and says why."""
    served = serve(
        f"""
        from lambda_ric import on_startup

        @on_startup
        {kind} connect():
            raise {error}

        def handler(event, context): ...
        """,
        None,
    )

    (post,) = served.posts
    assert served.api.polls == []
    assert post.path.endswith("/runtime/init/error")
    assert post.json()["errorType"] == error_type
    assert served.exit_code == 1
    assert "in connect" in served.stdout


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_before_hook_that_fails_fails_the_invocation(serve: Serve, kind: str) -> None:
    """The handler is not called, its own hooks are not either; the process's hooks see the error."""
    served = serve(
        f"""
        from lambda_ric import after_invoke, after_response, before_invoke

        @before_invoke
        {kind} authorise(event, context):
            if event == "intruder":
                raise PermissionError(event)

        @after_invoke
        def log(outcome): print(repr(outcome.error), outcome.result)

        @after_response(lambda outcome: print("named"), on="always")
        def handler(event, context): return "served"
        """,
        "intruder",
        "guest",
    )

    assert [post.name for post in served.posts] == ["error", "response"]
    assert served.answers[0]["errorType"] == "PermissionError"
    assert printed(served) == ["PermissionError('intruder') None", "named", "None served"]


def test_after_hook_runs_whatever_the_outcome(serve: Serve) -> None:
    """Edge 4: after a response, after an error, after an event that could not be read."""
    served = serve(
        """
        from lambda_ric import after_invoke

        @after_invoke
        def log(outcome):
            print(type(outcome.error).__name__, outcome.succeeded, outcome.context is not None, outcome.event)

        def handler(event, context):
            if event == "bad":
                raise ValueError(event)
        """,
        b"{",
        "bad",
        "good",
    )

    assert [post.name for post in served.posts] == ["error", "error", "response"]
    assert printed(served) == [
        "EventDecodeError False True None",
        "ValueError False True bad",
        "NoneType True True good",
    ]


def test_failing_after_hook_stops_neither_its_successor_nor_the_loop(serve: Serve) -> None:
    """Edge 17: every hook has its own try."""
    served = serve(
        """
        from lambda_ric import after_invoke

        @after_invoke
        def failing(outcome): raise ValueError("no")

        @after_invoke
        def log(outcome): print("logged")

        def handler(event, context): ...
        """,
        None,
        None,
    )

    assert printed(served) == ["logged", "logged"]
    assert [post.name for post in served.posts] == ["response", "response"]
    assert all("Tasks: 2\tSucceeded: 1\tFailed: 1 (failing)" in summary for summary in served.summaries)


def test_outcome_tells_how_the_invocation_went() -> None:
    """event, context, result, error, duration, succeeded, repr."""
    outcomes: list[Outcome] = []
    hooks = Hooks()
    hooks.after.append(outcomes.append)

    def handler(event: Any, context: Any) -> str:
        if event == "bad":
            raise ValueError(event)
        return str(context.aws_request_id)

    invoked = [invoke(handler, "good", hooks=hooks), invoke(handler, "bad", hooks=hooks)]
    succeeded, failed = outcomes
    assert [invocation.outcome for invocation in invoked] == outcomes
    assert succeeded.context is not None
    assert (succeeded.event, succeeded.result, succeeded.error) == ("good", succeeded.context.aws_request_id, None)
    assert succeeded.succeeded
    assert 0 <= succeeded.duration < 20
    assert repr(succeeded) == f"<Outcome: succeeded after {succeeded.duration:.3f} s>"
    assert (failed.event, failed.result, str(failed.error)) == ("bad", None, "bad")
    assert not failed.succeeded
    assert repr(failed) == f"<Outcome: failed with ValueError after {failed.duration:.3f} s>"


def test_result_in_the_outcome_is_the_handlers_own_object() -> None:
    """Not decoded from what was delivered: hooks may look at more than JSON has."""

    class Status(int):
        pass

    seen: list[Any] = []
    hooks = Hooks()
    hooks.after.append(lambda outcome: seen.append(outcome.result))
    result = Status(202)

    assert invoke(lambda event, context: result, hooks=hooks).response == 202
    assert seen[0] is result


def test_work_handed_over_by_hooks_is_drained() -> None:
    """Hooks may call wait_until: those before the handler, too."""
    from lambda_ric import wait_until

    hooks = Hooks()
    hooks.before.append(lambda event, context: wait_until(str.upper, "before"))
    hooks.after.append(lambda outcome: wait_until(str.upper, "after"))

    tasks = invoke(lambda event, context: None, hooks=hooks).tasks
    assert [task.result() for task in tasks if task.kind == "task"] == ["BEFORE", "AFTER"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_context_variables_that_a_hook_before_sets_reach_the_handler_and_the_hooks_after(
    serve: Serve, kind: str
) -> None:
    """One context for all parts of an invocation of the same kind, and none for the next invocation."""
    served = serve(
        f"""
        from contextvars import ContextVar
        from lambda_ric import after_invoke, before_invoke

        tenant = ContextVar("tenant", default="none")

        @before_invoke
        {kind} enter(event, context):
            print("found", tenant.get())
            tenant.set(event)

        @after_invoke
        {kind} leave(outcome):
            print("left", tenant.get())

        {kind} handler(event, context):
            return tenant.get()
        """,
        "a",
        "b",
    )

    assert served.answers == ["a", "b"]
    assert printed(served) == ["found none", "left a", "found none", "left b"]


@pytest.mark.parametrize("decorator", [on_startup, after_thaw, before_invoke, after_invoke, before_freeze, on_shutdown])
def test_decorator_returns_the_function_and_registers_it(decorator: Callable[[Any], Any]) -> None:
    """What is decorated can still be called, and tested, as it is."""

    def function(*_: Any) -> None: ...

    lists = [registered for registered in vars(PROCESS_HOOKS).values() if isinstance(registered, list)]
    try:
        assert decorator(function) is function
        assert sum(registered.count(function) for registered in lists) == 1
    finally:
        for registered in lists:
            registered[:] = [hook for hook in registered if hook is not function]


@pytest.mark.parametrize("decorator", [on_startup, after_thaw, before_invoke, after_invoke, before_freeze, on_shutdown])
def test_what_is_no_function_is_refused(decorator: Callable[[Any], Any]) -> None:
    """At import, where the mistake was made."""
    with pytest.raises(TypeError, match=f"@{decorator.__name__} takes a function, not 'str'"):
        decorator("log")
