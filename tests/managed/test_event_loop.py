"""
Asynchronous handlers: many events at once on one event loop.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Serve
from tests.managed.conftest import Environment, Run, finished, said
from tests.support.fakes import reply

# Handlers wait for each other, and for files that the test writes: for events, and never for an amount of time.
SOURCE = """
    import asyncio, contextvars, functools, logging, os, pathlib, sys, threading, time

    from lambda_ric import after_invoke, after_response, before_invoke, on_shutdown, on_startup, task, wait_until

    seen = contextvars.ContextVar("seen", default=None)
    hooked = contextvars.ContextVar("hooked", default=None)
    logger = logging.getLogger("orders")
    logger.setLevel(logging.INFO)
    here = []

    async def meet(together):
        here.append(None)
        while len(here) < together:
            await asyncio.sleep(0.005)

    async def wait_for(path):
        while not os.path.exists(path):
            await asyncio.sleep(0.005)

    def write(path, text="done"):
        pathlib.Path(path + ".part").write_text(text)
        os.rename(path + ".part", path)

    async def work(name, path=None):
        logger.info("work of %s", name)
        if path:
            await wait_for(path)

    async def say(name, lines):
        for number in range(lines):
            logger.info("%s %d", name, number)
            print(name, end=" ")
            await asyncio.sleep(0)
            print(number)

    async def handler(event, context):
        name = event.get("name")
        before = seen.get()
        seen.set(name)
        if event.get("meet"):
            await meet(event["meet"])
        if event.get("say"):
            await say(name, event["say"])
            await asyncio.create_task(say(name, 1))
            await asyncio.to_thread(logger.info, "thread of %s", name)
            wait_until(work, name)
        if event.get("work"):
            wait_until(write, event["work"])
        if event.get("behind"):
            wait_until(work(name, event["behind"]))
        if event.get("hang"):
            await wait_for(event["hang"])
        if event.get("block"):
            while not os.path.exists(event["block"]):
                time.sleep(0.005)
        if event.get("die"):
            os._exit(3)
        if event.get("exit"):
            sys.exit(4)
        if event.get("fail"):
            raise LookupError(name)
        if event.get("unfit"):
            return object()
        if event.get("stream"):
            async def chunks():
                yield "a"
                await asyncio.sleep(0)
                yield "b"
            return chunks()
        return {
            "name": name, "pid": os.getpid(), "thread": threading.current_thread().name, "before": before,
            "loop": id(asyncio.get_running_loop()), "trace": os.environ.get("_X_AMZN_TRACE_ID"),
            "own": context.trace_id, "hooked": hooked.get(),
        }
    """


@pytest.mark.parametrize("mode", ["", "async", "thread"])
def test_every_event_is_a_task_with_an_identity_of_its_own(run: Run, mode: str) -> None:
    """In its context, its log, its tasks, threads and background work; on one loop, in the main thread."""

    async def scenario(environment: Environment) -> None:
        sent = [environment.send({"name": name, "meet": 3, "say": 30}) for name in "abc"]
        answers = [await environment.answer_of(invocation) for invocation in sent]
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]
        assert {answer["before"] for answer in answers} == {None}
        assert {answer["trace"] for answer in answers} == {None}
        assert len({answer["own"] for answer in answers}) == 3
        assert len({(answer["pid"], answer["loop"]) for answer in answers}) == 1
        assert {answer["thread"] for answer in answers} == {"MainThread"}
        await finished(environment, *sent)
        for name, invocation in zip("abc", sent, strict=True):
            lines = said(invocation)
            assert {line["requestId"] for line in lines} == {invocation.request_id}
            messages = [line["message"] for line in lines if line["message"] != "BACKGROUND"]
            numbered = [f"{name} {number}" for number in [*range(30), 0] for _ in range(2)]
            assert messages == [*numbered, f"thread of {name}", f"work of {name}"]

    run(SOURCE, scenario, mode=mode)


def test_error_of_one_event_is_that_of_no_other(run: Run) -> None:
    """What it raises, and what it returns that is no JSON; in the answer and in the log."""

    async def scenario(environment: Environment) -> None:
        events: list[dict[str, Any]] = [{"name": "a", "fail": True}, {"name": "b"}, {"name": "c", "unfit": True}]
        sent = [environment.send({**event, "meet": 3}) for event in events]
        answers = [await environment.answer_of(invocation) for invocation in sent]
        assert [answer.get("errorType") for answer in answers] == ["LookupError", None, "Runtime.MarshalError"]
        assert answers[0]["stackTrace"][-1].endswith("raise LookupError(name)\n")
        for answer, invocation in zip(answers, sent, strict=True):
            errors = [line["errorType"] for line in said(invocation) if "errorType" in line]
            assert errors == ([answer["errorType"]] if "errorType" in answer else [])

    run(SOURCE, scenario)


def test_handler_whose_time_is_up_is_told_of_and_not_cancelled(run: Run) -> None:
    """
    What it shares with others, it cannot leave half-read: its result is lost, its slot is not, and what it has handed
    over runs.
    """

    async def scenario(environment: Environment) -> None:
        end, work = str(environment.directory / "end"), str(environment.directory / "work")
        late = environment.send({"name": "late", "hang": end, "work": work})
        answer = await environment.answer_of(late)
        assert answer["errorType"] == "Function.Timeout"
        assert any("wait_for" in line for line in answer["stackTrace"])
        answers = await environment.answers(*[{"name": name, "meet": 3} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]
        assert (environment.directory / "work").read_text() == "done"
        (environment.directory / "end").touch()
        while not any("has ended after" in line.get("message", "") for line in said(late)):
            await environment.answer({"name": "again"})

    run(SOURCE, scenario, timeout=2.0)


def test_handler_that_blocks_the_loop_costs_the_others_no_more_than_their_time(run: Run) -> None:
    """Their callers are told, it is named by its line, and another process takes the place of this one."""

    async def scenario(environment: Environment) -> None:
        before = (await environment.answer({}))["pid"]
        end = str(environment.directory / "end")
        waiting = environment.send({"name": "waits", "meet": 2})
        blocking = environment.send({"name": "blocks", "meet": 2, "block": end})
        answer = await environment.answer_of(blocking)
        assert answer["errorType"] == "Function.Timeout"
        assert any(", in handler" in line for line in answer["stackTrace"])
        assert (await environment.answer_of(waiting))["errorType"] == "Function.Timeout"
        # Each connection that had asked for an event takes one more, which nobody reads.
        while (await environment.answer({})).get("pid", before) == before:
            pass
        (environment.directory / "end").touch()

    run(SOURCE, scenario, timeout=2.0)


def test_process_that_dies_takes_nobody_else_along(run: Run) -> None:
    """All callers whose events it had are answered, and a new one serves the next."""

    async def scenario(environment: Environment) -> None:
        end = str(environment.directory / "end")
        waiting = [environment.send({"name": "waits", "hang": end, "meet": 3}) for _ in range(2)]
        dying = environment.send({"die": True, "meet": 3})
        for invocation in [*waiting, dying]:
            assert (await environment.answer_of(invocation))["errorType"] == "Runtime.ExitError"
        answers = await environment.answers(*[{"name": name, "meet": 3} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]

    run(SOURCE, scenario)


@pytest.mark.parametrize("background", ["hold", "detach"])
@pytest.mark.parametrize("mode", ["", "thread"])
def test_process_that_dies_with_background_work_leaves_every_slot_served(run: Run, mode: str, background: str) -> None:
    """The caller has its answer and keeps it; the work dies with the process, and holds no slot of the next one."""

    async def scenario(environment: Environment) -> None:
        never = str(environment.directory / "never")
        working = environment.send({"name": "working", "behind": never})
        before = await environment.answer_of(working)
        died = await environment.answer({"name": "dies", "die": True})
        assert (before["name"], died["errorType"]) == ("working", "Runtime.ExitError")
        answers = await environment.answers(*[{"name": name, "meet": 3} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]
        assert {answer["pid"] for answer in answers} != {before["pid"]}
        assert not any(line.get("message") == "BACKGROUND" for line in said(working))

    run(SOURCE, scenario, mode=mode, env={"LAMBDA_RIC_BACKGROUND": background})


def test_exit_that_a_handler_asks_for_ends_the_process_and_no_other_event(run: Run) -> None:
    """Its caller is told; who is at work ends in peace."""

    async def scenario(environment: Environment) -> None:
        end = environment.directory / "end"
        before = (await environment.answer({}))["pid"]
        waiting = environment.send({"name": "waits", "hang": str(end), "meet": 2})
        assert (await environment.answer({"exit": True, "meet": 2}))["errorType"] == "SystemExit"
        end.touch()
        assert (await environment.answer_of(waiting))["name"] == "waits"
        while (await environment.answer({}))["pid"] == before:
            pass

    run(SOURCE, scenario)


def test_stream_is_sent_while_others_run(run: Run) -> None:
    """By a thread; what makes it runs on the loop."""

    async def scenario(environment: Environment) -> None:
        invocation = environment.send({"stream": True})
        await invocation.finished()
        assert invocation.answer is not None
        assert invocation.answer.payload == b"ab"
        assert (await environment.answer({"name": "next"}))["name"] == "next"

    run(SOURCE, scenario, slots=1)


HOOKS = (
    SOURCE
    + """
    @before_invoke
    async def begin(event, context):
        await asyncio.sleep(0)
        hooked.set(event.get("name"))

    @after_invoke
    def end(outcome):
        logger.info("hook after %s", hooked.get() or outcome.result["name"])

    answering = handler

    @after_response
    async def handler(event, context):
        yield await answering(event, context)
        logger.info("continued for %s", event.get("name"))
    """
)


def test_hooks_and_the_rest_of_a_generator_belong_to_their_event(run: Run) -> None:
    """One after the other, behind the answer."""

    async def scenario(environment: Environment) -> None:
        sent = [environment.send({"name": name, "meet": 3}) for name in "abc"]
        answers = [await environment.answer_of(invocation) for invocation in sent]
        assert [answer["hooked"] for answer in answers] == ["a", "b", "c"]
        await finished(environment, *sent)
        for name, invocation in zip("abc", sent, strict=True):
            messages = [line["message"] for line in said(invocation) if line["message"] != "BACKGROUND"]
            assert messages == [f"continued for {name}", f"hook after {name}"]

    run(HOOKS, scenario)


def test_detached_background_work_outlives_its_slot(run: Run) -> None:
    """`LAMBDA_RIC_BACKGROUND=detach`: the next event is served while the work of the one before waits for it."""

    async def scenario(environment: Environment) -> None:
        behind = str(environment.directory / "behind")
        first = environment.send({"name": "first", "behind": behind})
        await environment.answer_of(first)
        assert (await environment.answer({"name": "next", "work": behind}))["name"] == "next"
        await finished(environment, first)
        (summary,) = [line for line in said(first) if line["message"] == "BACKGROUND"]
        assert summary["background"]["succeeded"] == 1

    run(SOURCE, scenario, slots=1, env={"LAMBDA_RIC_BACKGROUND": "detach"})


ORPHANS = """
    import asyncio, pathlib

    orphans = []

    async def left_behind(path, event):
        pathlib.Path(path + "-has-begun").touch()
        try:
            await event.wait()
            pathlib.Path(path).write_text("went on")
        except asyncio.CancelledError:
            pathlib.Path(path).write_text("cancelled")
            raise

    async def handler(event, context):
        if "path" not in event:
            for _, ends in orphans if event["end"] else ():
                ends.set()
            return None
        ends = asyncio.Event()
        orphans.append((asyncio.create_task(left_behind(event["path"], ends)), ends))
        await asyncio.sleep(0)
        return event["path"]
    """


def test_tasks_that_a_handler_has_left_are_cancelled_where_that_is_wanted(run: Run) -> None:
    """`LAMBDA_RIC_ORPHANS=cancel`: those of this invocation, and no others."""

    async def scenario(environment: Environment) -> None:
        path = str(environment.directory / "orphan")
        left = environment.send({"path": path})
        assert await environment.answer_of(left) == path
        while not any("was not awaited: cancelled" in line["message"] for line in said(left)):
            await environment.answer({"end": False})
        assert (environment.directory / "orphan").read_text() == "cancelled"

    run(ORPHANS, scenario, env={"LAMBDA_RIC_ORPHANS": "cancel"})


def test_tasks_that_a_handler_has_left_count_as_handed_over_where_that_is_wanted(run: Run) -> None:
    """`LAMBDA_RIC_ORPHANS=adopt`: their slot waits for them, and they are told in its summary."""

    async def scenario(environment: Environment) -> None:
        path = environment.directory / "orphan"
        left = environment.send({"path": str(path)})
        await environment.answer_of(left)
        await environment.answer({"end": True})
        await finished(environment, left)
        assert path.read_text() == "went on"
        (summary,) = [line for line in said(left) if line["message"] == "BACKGROUND"]
        assert summary["background"]["succeeded"] == 1

    run(ORPHANS, scenario, env={"LAMBDA_RIC_ORPHANS": "adopt"})


def test_task_in_a_message_is_run_beside_the_loop(run: Run) -> None:
    """The consumer waits for it, which would hold the loop up."""
    source = (
        SOURCE
        + """
    @task(name="send")
    async def send(order):
        logger.info("sent %s", order)
    """
    )

    async def scenario(environment: Environment) -> None:
        body = '{"v": 1, "task": "send", "args": ["o-17"], "kwargs": {}, "id": "1", "attempt": 1, "origin": {}}'
        arn = "arn:aws:sqs:eu-west-1:123456789012:tasks"
        record = {"messageId": "m", "eventSource": "aws:sqs", "eventSourceARN": arn, "body": body}
        invocation = environment.send({"Records": [record]})
        assert await environment.answer_of(invocation) == {"batchItemFailures": []}
        assert "sent o-17" in [line["message"] for line in said(invocation)]

    run(source, scenario, env={"LAMBDA_RIC_TASK_SOURCES": "arn:aws:sqs:eu-west-1:123456789012:tasks"})


ASGI = """
    import asyncio

    from lambda_ric.asgi import ASGIHandler

    here = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        here.append(None)
        while len(here) < 3:
            await asyncio.sleep(0.005)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    handler = ASGIHandler(app)
    """


def test_requests_to_an_asgi_application_run_at_once(run: Run) -> None:
    """Its adapter counts as an asynchronous handler."""

    async def scenario(environment: Environment) -> None:
        paths = ["/a", "/b", "/c"]
        events = [
            {
                "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {}, "isBase64Encoded": False,
                "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}, "stage": "a"},
            }
            for path in paths
        ]  # fmt: skip
        answers = await environment.answers(*events)
        assert [answer["body"] for answer in answers] == paths

    run(ASGI, scenario)


def test_answer_whose_acknowledgement_was_lost_is_a_success(serve: Serve) -> None:
    """Lambda does not know its id any more, since it has the answer."""
    unknown = reply(400, b'{"errorType":"InvalidRequestID"}')
    answers = iter([b""])
    served = serve(
        """
        from lambda_ric import after_invoke

        @after_invoke
        def tell(outcome):
            print("it succeeded" if outcome.succeeded else "it failed")

        async def handler(event, context):
            return "fine"
        """,
        None,
        intercept=lambda request: next(answers, unknown) if request.name == "response" else None,
        env={"AWS_LAMBDA_MAX_CONCURRENCY": "1"},
    )

    assert [post.body for post in served.posts] == [b'"fine"'] * 2
    assert "it succeeded" in served.stdout
    assert "InvalidRequestID" not in served.stdout
