"""
`AWS_LAMBDA_CONCURRENCY_MODE=thread` and `hybrid`: many events at once in one process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.managed.conftest import Environment, Run, finished, said

# Handlers wait for each other, and for files that the test writes: for events, and never for an amount of time.
SOURCE = """
    import asyncio, contextvars, logging, os, pathlib, threading, time

    from lambda_ric import after_response, on_shutdown, wait_until

    meeting = threading.Barrier(3)
    seen = contextvars.ContextVar("seen", default=None)
    logger = logging.getLogger("orders")
    logger.setLevel(logging.INFO)

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.005)

    def write(path, text="done"):
        pathlib.Path(path + ".part").write_text(text)
        os.rename(path + ".part", path)

    def task(name, path=None):
        logger.info("task of %s", name)
        if path:
            wait_for(path)

    def handler(event, context):
        name = event.get("name")
        before = seen.get()
        seen.set(name)
        if event.get("meet"):
            meeting.wait()
        if event.get("say"):
            for number in range(event["say"]):
                logger.info("%s %d", name, number)
                print(name, number)
                print(name, end=" ")
                print(number)
            inner = threading.Thread(target=logger.info, args=("thread of %s", name))
            inner.start()
            inner.join()
            wait_until(task, name)
        if event.get("work"):
            wait_until(write, event["work"])
        if event.get("behind"):
            wait_until(task, name, event["behind"])
        if event.get("hang"):
            wait_for(event["hang"])
        if event.get("die"):
            os._exit(3)
        if event.get("fail"):
            raise LookupError(name)
        return {
            "name": name, "pid": os.getpid(), "thread": threading.get_ident(), "before": before,
            "id": context.aws_request_id, "trace": os.environ.get("_X_AMZN_TRACE_ID"), "own": context.trace_id,
        }
    """


@pytest.mark.parametrize("mode", ["thread", "hybrid"])
def test_every_event_has_a_thread_and_an_identity_of_its_own(run: Run, mode: str) -> None:
    """In its context, its log, its threads and its background work; and nothing of it is process-wide. Parity 131."""

    async def scenario(environment: Environment) -> None:
        sent = [environment.send({"name": name, "meet": mode == "thread", "say": 30}) for name in "abc"]
        answers = [await environment.answer_of(invocation) for invocation in sent]
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]
        assert {answer["before"] for answer in answers} == {None}
        assert len({answer["own"] for answer in answers}) == 3
        assert {answer["trace"] for answer in answers} == {None}
        if mode == "thread":
            assert len({answer["pid"] for answer in answers}) == 1
            assert len({answer["thread"] for answer in answers}) == 3
        await finished(environment, *sent)
        for name, invocation in zip("abc", sent, strict=True):
            lines = said(invocation)
            assert {line["requestId"] for line in lines} == {invocation.request_id}
            messages = [line["message"] for line in lines if line["message"] != "BACKGROUND"]
            numbered = [f"{name} {number}" for number in range(30) for _ in range(3)]
            assert messages == [*numbered, f"thread of {name}", f"task of {name}"]

    run(SOURCE, scenario, mode=mode)


def test_handler_whose_time_is_up_is_told_of_and_left_to_its_end(run: Run) -> None:
    """
    Nothing interrupts it, and nothing of it is left half-done: its result is lost, its slot is not, and what it has
    handed over runs.
    """

    async def scenario(environment: Environment) -> None:
        end, work = str(environment.directory / "end"), str(environment.directory / "work")
        late = environment.send({"name": "late", "hang": end, "work": work})
        answer = await environment.answer_of(late)
        assert answer["errorType"] == "Function.Timeout"
        assert "wait_for" in answer["stackTrace"][-1]
        answers = await environment.answers(*[{"name": name, "meet": True} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]
        assert (environment.directory / "work").read_text() == "done"
        (environment.directory / "end").touch()
        # The line is written when the handler has ended, which the next events need not wait for.
        while not any("has ended after" in line.get("message", "") for line in said(late)):
            await environment.answer({"name": "again"})

    run(SOURCE, scenario, mode="thread", timeout=2.0)


def test_process_with_as_many_late_handlers_as_slots_is_replaced(run: Run) -> None:
    """It would serve nobody else well; another one takes its place meanwhile."""

    async def scenario(environment: Environment) -> None:
        end = str(environment.directory / "end")
        before = (await environment.answer({}))["pid"]
        answers = await environment.answers(*[{"hang": end}] * 3)
        assert {answer["errorType"] for answer in answers} == {"Function.Timeout"}
        while (await environment.answer({}))["pid"] == before:
            pass  # each thread that waited for an event already takes one more
        (environment.directory / "end").touch()

    run(SOURCE, scenario, mode="thread", timeout=2.0)


def test_process_that_dies_takes_nobody_else_along(run: Run) -> None:
    """All callers whose events it had are answered, and a new one serves the next."""

    async def scenario(environment: Environment) -> None:
        end = str(environment.directory / "end")
        waiting = [environment.send({"name": "waits", "hang": end, "meet": True}) for _ in range(2)]
        dying = environment.send({"die": True, "meet": True})
        for invocation in [*waiting, dying]:
            answer = await environment.answer_of(invocation)
            assert answer["errorType"] == "Runtime.ExitError"
            assert answer["errorMessage"].endswith("exit status 3")
        answers = await environment.answers(*[{"name": name, "meet": True} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]

    run(SOURCE, scenario, mode="thread")


def test_error_of_one_event_is_that_of_no_other(run: Run) -> None:
    """In the answer and in the log."""

    async def scenario(environment: Environment) -> None:
        sent = [environment.send({"name": name, "meet": True, "fail": name != "b"}) for name in "abc"]
        answers = [await environment.answer_of(invocation) for invocation in sent]
        assert [answer.get("errorMessage") for answer in answers] == ["a", None, "c"]
        for name, invocation in zip("abc", sent, strict=True):
            errors = [line for line in said(invocation) if "errorType" in line]
            assert [error["errorMessage"] for error in errors] == ([] if name == "b" else [name])

    run(SOURCE, scenario, mode="thread")


def test_slot_is_held_until_its_background_work_is_done(run: Run) -> None:
    """The default, `LAMBDA_RIC_BACKGROUND=hold`: with one slot the next event waits."""

    async def scenario(environment: Environment) -> None:
        first = environment.send({"name": "first", "behind": str(environment.directory / "behind")})
        await environment.answer_of(first)
        following = environment.send({"name": "next"})
        (environment.directory / "behind").touch()
        assert (await environment.answer_of(following))["name"] == "next"
        (summary,) = [line for line in said(first) if line["message"] == "BACKGROUND"]
        assert summary["background"]["succeeded"] == 1

    run(SOURCE, scenario, mode="thread", slots=1)


def test_detached_background_work_outlives_its_slot(run: Run) -> None:
    """`LAMBDA_RIC_BACKGROUND=detach`: the next event is served while the work of the one before waits for it."""

    async def scenario(environment: Environment) -> None:
        behind = environment.directory / "behind"
        first = environment.send({"name": "first", "behind": str(behind)})
        await environment.answer_of(first)
        assert (await environment.answer({"name": "next", "work": str(behind)}))["name"] == "next"
        await finished(environment, first)
        (summary,) = [line for line in said(first) if line["message"] == "BACKGROUND"]
        assert summary["background"]["succeeded"] == 1

    run(SOURCE, scenario, mode="thread", slots=1, env={"LAMBDA_RIC_BACKGROUND": "detach"})


def test_work_is_drained_at_the_end_of_the_environment(run: Run, tmp_path: Path) -> None:
    """SIGTERM: what is at work ends first, then the on_shutdown hooks run."""
    closing = """
    @on_shutdown
    def close():
        write(os.environ["HERE"] + "/closed", str(os.path.exists(os.environ["HERE"] + "/work")))
    """

    async def scenario(environment: Environment) -> None:
        await environment.answer({"work": str(environment.directory / "work")})

    run(SOURCE + closing, scenario, mode="thread", env={"HERE": str(tmp_path)})
    assert (tmp_path / "closed").read_text() == "True"


WRAPPED = (
    SOURCE
    + """
    async def answer(event):
        return {"main": threading.current_thread().name}

    def handler(event, context):
        return answer(event)  # as some decorators do: nobody can tell before the call
    """
)


def test_what_a_handler_returns_to_be_awaited_runs_on_the_one_event_loop(run: Run) -> None:
    """It is made on the main thread when it is first needed."""

    async def scenario(environment: Environment) -> None:
        assert await environment.answers({}, {}, {}) == [{"main": "MainThread"}] * 3

    run(WRAPPED, scenario, mode="thread")


def test_events_that_a_process_had_asked_for_when_it_died_are_served(run: Run) -> None:
    """On connections that outlive it; else the platform would give them to nobody."""

    async def scenario(environment: Environment) -> None:
        for _ in range(3):
            assert (await environment.answer({"die": True}))["errorType"] == "Runtime.ExitError"
        answers = await environment.answers(*[{"name": name, "meet": True} for name in "abc"])
        assert [answer["name"] for answer in answers] == ["a", "b", "c"]

    run(SOURCE, scenario, mode="thread")
    run(SOURCE.replace("def handler", "async def handler").replace("meeting.wait()", "pass"), scenario, mode="thread")
