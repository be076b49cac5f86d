"""`current_invocation`: what code that is not handed the context is told of its invocation, wherever it runs."""

from __future__ import annotations

from lambda_ric import current_invocation
from tests.conftest import Serve
from tests.support.fakes import Event

TRACED = {"Lambda-Runtime-Trace-Id": "Root=1-2-3", "Lambda-Runtime-Aws-Tenant-Id": "acme"}


def test_there_is_none_outside_of_an_invocation() -> None:
    """While modules are imported, say."""
    assert current_invocation() is None


def test_invocation_is_told_wherever_its_code_runs(serve: Serve) -> None:
    """In the handler, its threads, pools and tasks, and in background work of every kind."""
    events = [Event(n, headers=TRACED) for n in range(2)]
    served = serve(
        """
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor
        from lambda_ric import after_invoke, current_invocation, wait_until

        pool = ThreadPoolExecutor(1)  # its thread is as old as the first invocation

        def say(where):
            invocation = current_invocation()
            print("said", where, invocation.request_id, invocation.trace_id, invocation.tenant_id, flush=True)

        async def say_soon(where):
            await asyncio.sleep(0)
            say(where)

        @after_invoke
        def hook(outcome):
            say("hook")

        async def handler(event, context):
            say("handler")
            thread = threading.Thread(target=say, args=("thread",))
            thread.start()
            thread.join()
            pool.submit(say, "pool").result()
            await asyncio.create_task(say_soon("task"))
            wait_until(say, "function")
            wait_until(say_soon, "coroutine")
        """,
        *events,
    )

    said = [line.split()[1:] for line in served.lines if line.startswith("said ")]
    places = ["coroutine", "function", "handler", "hook", "pool", "task", "thread"]
    for event in events:
        assert sorted(where for where, request_id, *_ in said if request_id == event.request_id) == places
    assert {(trace_id, tenant_id) for *_, trace_id, tenant_id in said} == {("Root=1-2-3", "acme")}


def test_values_last_as_long_as_the_invocation_and_are_shared_by_its_threads(serve: Serve) -> None:
    """Whoever comes next finds none; code that was left running has the ids of its own invocation, and no values."""
    served = serve(
        """
        import threading
        from lambda_ric import current_invocation, wait_until

        go_on, told = threading.Event(), threading.Event()
        left = []

        def count():
            values = current_invocation().values
            values["calls"] = values.get("calls", 0) + 1

        def leave_running():
            go_on.wait()
            invocation = current_invocation()
            left.append([invocation.request_id, invocation.values])
            told.set()

        def handler(event, context):
            if event == "second":
                go_on.set()
                told.wait()
            else:
                threading.Thread(target=leave_running, daemon=True).start()
            count()
            thread = threading.Thread(target=count)
            thread.start()
            thread.join()
            return [current_invocation().values, left]
        """,
        Event("first", request_id="the-first"),
        "second",
    )

    assert served.answers == [[{"calls": 2}, []], [{"calls": 2}, [["the-first", {}]]]]
