"""The environment's event loop: one for life, current on the main thread, idle during synchronous code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest

from lambda_ric.event_loop import EventLoop
from lambda_ric.interrupt import Interrupt, TimeUp
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import Event


def test_async_handlers_result_is_the_response(serve: Serve) -> None:
    """Parity 114: `async def` is a handler like any other."""
    served = serve(
        """
        import asyncio

        async def handler(event, context):
            await asyncio.sleep(0)
            return {"got": event, "id": context.aws_request_id}
        """,
        1,
        2,
    )

    assert served.answers == [
        {"got": 1, "id": served.api.events[0].request_id},
        {"got": 2, "id": served.api.events[1].request_id},
    ]
    assert served.stderr == ""


def test_async_handlers_error_is_the_invocations(serve: Serve) -> None:
    """With the function's own frames only."""
    served = serve(
        """
        import asyncio

        async def handler(event, context):
            await asyncio.create_task(inner())

        async def inner():
            raise ValueError("no")
        """,
        None,
    )

    (error,) = served.answers
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no")
    assert ["in handler" in error["stackTrace"][0], "in inner" in error["stackTrace"][-1]] == [True, True]
    assert "/lambda_ric/" not in "".join(error["stackTrace"])


@pytest.mark.parametrize(
    "returned",
    [
        "work()",
        "asyncio.get_event_loop().create_task(work())",
        "asyncio.gather(work(), work())",
        "Later()",
        "nested()",
        "old_style()",
    ],
)
def test_whatever_awaitable_a_handler_returns_is_awaited(serve: Serve, returned: str) -> None:
    """Parity 115: the returned object decides; a plain function may return an awaitable of any kind."""
    served = serve(
        f"""
        import asyncio, types

        async def work():
            await asyncio.sleep(0)
            return "done"

        async def nested():
            return work()

        @types.coroutine
        def old_style():
            return (yield from work())

        class Later:
            def __await__(self):
                return work().__await__()

        def handler(event, context):
            return {returned}
        """,
        None,
        None,
    )

    assert served.answers in (["done"] * 2, [["done", "done"]] * 2)
    assert served.stderr == ""


def test_handler_behind_a_synchronous_decorator_is_awaited(serve: Serve) -> None:
    """Parity 115, 142: `iscoroutinefunction` is False behind most decorators, so it is not asked."""
    served = serve(
        """
        import functools

        def logged(inner):
            @functools.wraps(inner)
            def wrapper(event, context):
                print("called")
                return inner(event, context)
            return wrapper

        @logged
        async def handler(event, context):
            return "done"
        """,
        None,
    )

    assert served.answers == ["done"]


def test_generator_is_no_awaitable(serve: Serve) -> None:
    """Parity 115: a generator that nobody marked has no JSON form, and says so."""
    served = serve("def handler(event, context): yield 1", None)

    assert served.answers[0]["errorType"] == "Runtime.MarshalError"


def test_one_loop_lives_as_long_as_the_environment(serve: Serve) -> None:
    """Edge 12: clients and tasks of the function's stay with it; it is never closed."""
    served = serve(
        """
        import asyncio
        from lambda_ric import after_invoke, before_invoke, wait_until

        loops = []

        async def note(*_):
            loops.append(asyncio.get_running_loop())

        before_invoke(note)
        after_invoke(note)

        async def handler(event, context):
            await note()
            wait_until(note)
            return [len(loops), len(set(map(id, loops))), loops[0].is_closed()]
        """,
        None,
        None,
        None,
    )

    assert served.answers == [[2, 1, False], [6, 1, False], [10, 1, False]]


def test_client_of_the_first_invocation_serves_the_second(serve: Serve) -> None:
    """A lock, a queue or a connection pool at module level is bound to one loop."""
    served = serve(
        """
        import asyncio

        queue = asyncio.Queue()

        async def consume():
            while True:
                event, answer = await queue.get()
                answer.set_result(event)

        consumer = None

        async def handler(event, context):
            global consumer
            consumer = consumer or asyncio.create_task(consume())
            answer = asyncio.get_running_loop().create_future()
            await queue.put((event, answer))
            return await answer
        """,
        "first",
        "second",
    )

    assert served.answers == ["first", "second"]


def test_synchronous_handler_finds_a_current_loop_that_is_idle(serve: Serve) -> None:
    """Parity 113, 144: what Mangum and Powertools do, on the first invocation and on later ones."""
    served = serve(
        """
        import asyncio, threading, warnings
        warnings.simplefilter("error")

        class Adapter:
            def __call__(self, event, context):
                loop = asyncio.get_event_loop()
                task = loop.create_task(self.run(event))
                loop.run_until_complete(task)
                return [task.result(), id(loop), threading.current_thread() is threading.main_thread()]

            async def run(self, event):
                await asyncio.sleep(0)
                return event

        handler = Adapter()
        """,
        1,
        2,
        3,
    )

    results = served.answers
    assert [result[0] for result in results] == [1, 2, 3]
    assert len({result[1] for result in results}) == 1
    assert all(result[2] for result in results)


@pytest.mark.parametrize(
    "used",
    ["asyncio.run(nothing())", "asyncio.Runner().__enter__().close()", "asyncio.set_event_loop(None)"],
)
def test_current_loop_comes_back_after_asyncio_run(serve: Serve, used: str) -> None:
    """Parity 113: `asyncio.run` clears the current loop; the next invocation has it again."""
    served = serve(
        f"""
        import asyncio

        async def nothing(): ...

        def handler(event, context):
            loop = asyncio.get_event_loop()
            {used}
            return id(loop)
        """,
        None,
        None,
    )

    assert served.answers[0] == served.answers[1]


def test_asyncio_run_works_in_a_synchronous_handler(serve: Serve) -> None:
    """No loop is running while synchronous code does (Parity 113)."""
    served = serve(
        """
        import asyncio

        async def work():
            await asyncio.sleep(0)
            return "done"

        def handler(event, context):
            return asyncio.run(work())
        """,
        None,
        None,
    )

    assert served.answers == ["done", "done"]


def test_loop_is_the_current_one_for_startup_hooks_too(serve: Serve) -> None:
    """Clients are often made there."""
    served = serve(
        """
        import asyncio
        from lambda_ric import on_startup

        loops = []

        @on_startup
        async def connect():
            loops.append(asyncio.get_running_loop())

        @on_startup
        def prepare():
            loops.append(asyncio.get_event_loop())

        async def handler(event, context):
            return loops == [asyncio.get_running_loop()] * 2
        """,
        None,
    )

    assert served.answers == [True]


AT_IMPORT = {
    "set": "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop)",
    "of a runner": "runner = asyncio.Runner(); loop = runner.get_loop(); runner.run(asyncio.sleep(0))",
}
if sys.version_info < (3, 14):  # which makes none any more
    AT_IMPORT["got"] = "warnings.simplefilter('ignore'); loop = asyncio.get_event_loop_policy().get_event_loop()"

USES = {
    "synchronous": "def handler(event, context): return asyncio.get_event_loop().run_until_complete(query())",
    "asynchronous": "async def handler(event, context): return await query()",
    "awaitable": "def handler(event, context): return connected",
    "stream": """
async def handler(event, context):
    yield (await query()).join('""')
""",
    "ASGI": """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    rows = await query()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": rows.encode()})

from lambda_ric.asgi import ASGIHandler
asgi = ASGIHandler(app, lifespan="off")
def handler(event, context):
    return asgi(EVENT, context)
""",
    "background": """
async def work():
    print("background got", await query())
def handler(event, context):
    wait_until(work)
    return "rows"
""",
    "hook": """
@before_invoke
async def look(event, context):
    looked.append(await query())
looked = []
def handler(event, context):
    return looked[-1]
""",
    "same": "def handler(event, context): return 'rows' if asyncio.get_event_loop() is loop else 'another loop'",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("made", AT_IMPORT.values(), ids=AT_IMPORT)
def test_loop_that_the_module_made_the_current_one_is_the_environments(serve: Serve, made: str, use: str) -> None:
    """Clients, locks and tasks that are made at import belong to it."""
    served = serve(
        f"""
import asyncio, json, warnings
from lambda_ric import before_invoke, wait_until

{made}
connected = loop.create_future()
loop.call_later(0.01, connected.set_result, "rows")
lock = asyncio.Lock()
EVENT = json.loads({EVENT!r})

async def query():
    async with lock:
        return await asyncio.shield(connected)

{use}
""",
        None,
        None,
    )

    assert [post.name for post in served.posts] == ["response"] * 2, served
    assert all("rows" in post.body.decode() for post in served.posts)
    assert "failed" not in served.stdout.replace("asking for the next event failed", "")


EVENT = json.dumps(
    {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}},
        "isBase64Encoded": False,
    }
)


@pytest.mark.parametrize(
    "made",
    [
        "asyncio.run(asyncio.sleep(0))",
        "asyncio.set_event_loop(asyncio.new_event_loop()); asyncio.get_event_loop().close()",
        "asyncio.set_event_loop(None)",
        "asyncio.set_event_loop(in_a_thread())",
    ],
)
def test_loop_that_cannot_be_run_is_not_the_environments(serve: Serve, made: str) -> None:
    """It was closed, or runs in a thread already: a new one is made, without a warning."""
    served = serve(
        f"""
        import asyncio, threading, warnings
        warnings.simplefilter("error")

        def in_a_thread():
            loop = asyncio.new_event_loop()
            running = threading.Event()
            loop.call_soon(running.set)
            threading.Thread(target=loop.run_forever, daemon=True).start()
            running.wait()
            return loop

        {made}

        async def handler(event, context):
            await asyncio.sleep(0)
            return event
        """,
        1,
        2,
    )

    assert served.answers == [1, 2]
    assert served.stderr == ""


FACTORIES = {
    "that knows no context": "def factory(loop, coroutine): return asyncio.Task(coroutine, loop=loop)",
    "that raises": "def factory(loop, coroutine, **options): raise RuntimeError('no')",
    "that traces": """
def factory(loop, coroutine, **options):
    traced.append(coroutine.__qualname__)
    return asyncio.Task(coroutine, loop=loop, **options)
""",
    "of a subclass": """
class Task(asyncio.Task): pass
def factory(loop, coroutine, **options): return Task(coroutine, loop=loop, **options)
""",
}

SET = {
    "at import": "LOOP = asyncio.new_event_loop(); asyncio.set_event_loop(LOOP); LOOP.set_task_factory(factory)",
    "at startup": "@on_startup\nasync def start(): asyncio.get_running_loop().set_task_factory(factory)",
    "in the handler": "",
}


@pytest.mark.parametrize("set_at", SET.values(), ids=SET)
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_task_factory_of_the_functions_makes_no_task_of_the_runtimes(serve: Serve, factory: str, set_at: str) -> None:
    """It may know nothing of contexts: `create_task` passes one on only if its caller gave one."""
    served = serve(
        f"""
import asyncio, json
from lambda_ric import after_response, on_startup, wait_until
from lambda_ric.asgi import ASGIHandler

traced = []

{factory}

{set_at}

async def work(): print("worked")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            phase = (await receive())["type"]
            await send({{"type": phase + ".complete"}})
            if phase == "lifespan.shutdown":
                return
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"fine"}})

asgi = ASGIHandler(app)

@after_response
async def coroutine(event, context):
    asyncio.get_running_loop().set_task_factory(factory)
    wait_until(work)
    yield "fine"
    print("went on")

async def chunks():
    yield "fine"

def handler(event, context):
    if event == "stream":
        return chunks()
    return asgi(json.loads({EVENT!r}), context) if event == "ASGI" else coroutine(event, context)
""",
        "coroutine",
        "coroutine",
        "ASGI",
        "stream",
    )

    answers = [post for post in served.posts if post.name != "register"]
    assert [post.name for post in answers] == ["response"] * 4, served
    assert all("fine" in post.body.decode() for post in answers)
    assert (served.lines.count("worked"), served.lines.count("went on")) == (2, 2)


def test_exception_of_a_task_that_nobody_asked_for_is_told_for_its_invocation(serve: Serve) -> None:
    """asyncio tells of it when the task is collected, which may be in another invocation."""
    served = serve(
        """
        import asyncio, gc

        kept = []

        async def fail():
            raise ValueError("no")

        async def handler(event, context):
            if event == "fail":
                kept.append(asyncio.create_task(fail()))
                await asyncio.sleep(0)
            else:
                kept.clear()
                gc.collect()
        """,
        "fail",
        "collect",
    )

    (line,) = [line for line in served.lines if "never retrieved" in line]
    assert line.split("\t")[2] == served.api.events[0].request_id
    assert "ValueError: no" in line


def test_exception_handler_of_the_functions_is_left_alone(serve: Serve) -> None:
    """At import or later."""
    served = serve(
        """
        import asyncio

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda loop, told: print("handled", told["message"]))

        async def handler(event, context):
            asyncio.get_running_loop().call_exception_handler({"message": "it"})
        """,
        None,
    )

    assert "handled it" in served.lines


def test_loop_that_the_function_closes_is_replaced_with_a_warning(serve: Serve) -> None:
    """What belonged to it is lost: that is said, and the next invocation works."""
    served = serve(
        """
        import asyncio

        def handler(event, context):
            loop = asyncio.get_event_loop()
            assert not loop.is_closed()
            if event:
                loop.close()
        """,
        True,
        False,
        False,
    )

    assert [post.name for post in served.posts] == ["response"] * 3
    assert served.stdout.count("the event loop was closed by the function's code") == 1


def test_loop_closed_with_work_on_it_fails_that_work_only(serve: Serve) -> None:
    """A task of the closed loop cannot be awaited on the new one."""
    served = serve(
        """
        import asyncio
        from lambda_ric import wait_until

        async def work():
            await asyncio.sleep(0)

        def handler(event, context):
            loop = asyncio.get_event_loop()
            wait_until(loop.create_task(work()))
            wait_until(work)
            loop.close()
        """,
        None,
        None,
        env={"LAMBDA_RIC_ORPHANS": "adopt"},
    )

    assert [post.name for post in served.posts] == ["response"] * 2
    assert "Tasks: 2\tSucceeded: 1\tFailed: 1 (work)" in served.summaries[0]


def test_system_exit_of_an_async_handler_ends_the_process_after_the_answer(serve: Serve) -> None:
    """As in a synchronous one; asyncio does not tell it once more."""
    served = serve(
        """
        import asyncio, sys

        async def handler(event, context):
            await asyncio.sleep(0)
            sys.exit(7)
        """,
        None,
    )

    assert served.exit_code == 7
    assert [post.name for post in served.posts] == ["error"]
    assert served.answers[0]["errorType"] == "SystemExit"
    assert "never retrieved" not in served.stdout + served.stderr


def test_system_exit_of_a_task_beside_the_handler_does_not_end_the_process(serve: Serve) -> None:
    """It is a task of its own: the handler goes on, and the log tells it once."""
    served = serve(
        """
        import asyncio, sys
        from lambda_ric import wait_until

        async def exiting():
            await asyncio.sleep(0)
            sys.exit(3)

        async def handler(event, context):
            task = asyncio.create_task(exiting())
            if event == "handed over":
                wait_until(task)
            await asyncio.sleep(0.01)
            return "done"
        """,
        "handed over",
        "orphan",
    )

    assert served.answers == ["done", "done"]
    assert served.stdout.count("SystemExit: 3") == 2
    assert served.stdout.count("background task exiting failed") == 1
    assert served.stdout.count("a task on the event loop raised") == 1
    assert "never retrieved" not in served.stdout + served.stderr


def test_system_exit_of_a_task_that_the_handler_awaits_is_the_handlers(serve: Serve) -> None:
    """It goes where every exception goes."""
    served = serve(
        """
        import asyncio, sys

        async def exiting():
            sys.exit(3)

        async def handler(event, context):
            await asyncio.create_task(exiting())
        """,
        None,
    )

    assert served.exit_code == 3
    assert served.answers[0]["errorType"] == "SystemExit"
    assert served.stdout.count("SystemExit: 3") == 1


def test_loop_is_left_behind_without_a_word_when_the_process_ends(serve: Serve) -> None:
    """What still stands on it does not spoil the log."""
    served = serve(
        """
        import asyncio
        from lambda_ric import wait_until

        async def ignoring():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass

        def handler(event, context):
            wait_until(ignoring)
        """,
        Event(None, timeout=0.4),
    )

    assert "Abandoned: 1 (ignoring)" in served.summaries[0]
    assert served.stderr == ""
    assert "failed" not in served.stdout.replace("next event failed", "")


@pytest.mark.timeout(method="thread")
def test_code_after_a_run_of_the_loop_is_interrupted_at_the_first_alarm() -> None:
    """A coroutine is asked to stop first; nobody asks one that has ended."""
    interrupt = Interrupt()
    event_loop = EventLoop(interrupt)
    started_at = time.monotonic()
    event_loop.run(asyncio.sleep(0))
    try:
        with pytest.raises(TimeUp), interrupt.at(time.time() + 0.05, again=20):
            time.sleep(40)
    finally:
        event_loop.close()

    assert time.monotonic() - started_at < 10


def test_invocations_without_asyncio_make_no_loop() -> None:
    """It costs a cold start more than the rest of the runtime together."""
    code = """
import sys
from lambda_ric.event_loop import EventLoop
from lambda_ric.interrupt import Interrupt

event_loop = EventLoop(Interrupt())
event_loop.begin_invocation()
assert event_loop._loop is None
assert "asyncio" not in sys.modules
import asyncio
event_loop.begin_invocation()
assert event_loop._loop is not None
event_loop.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=20, env=CLEAN_ENVIRONMENT)
