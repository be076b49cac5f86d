"""
`AWS_LAMBDA_CONCURRENCY_MODE=process`, AWS's default: a process for each event.
"""

from __future__ import annotations

import pytest

from lambda_ric.emulator import LogLine
from tests.managed.conftest import Environment, Run, said

MEETING = """
    import os, pathlib, signal, sys, time

    def meet(event):
        here = pathlib.Path(event["meet"])
        here.mkdir(exist_ok=True)
        (here / str(os.getpid())).touch()
        while len(list(here.iterdir())) < event["together"]:
            time.sleep(0.005)

    def handler(event, context):
        if "meet" in event:
            meet(event)
        if event.get("die") == "exit":
            os._exit(3)
        if event.get("die") == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event.get("die") == "system exit":
            sys.exit(4)
        if event.get("hang"):
            time.sleep(60)
        return {"pid": os.getpid(), "trace": os.environ.get("_X_AMZN_TRACE_ID", "").partition(";")[0]}
    """


def test_as_many_events_run_at_once_each_in_a_process_of_its_own(run: Run) -> None:
    """Without the variable, too: the first process sees that the handler is not asynchronous. Parity 9, 123, 129."""

    async def scenario(environment: Environment) -> None:
        events = [{"meet": str(environment.directory / "meet"), "together": 3} for _ in range(3)]
        answers = await environment.answers(*events)
        assert len({answer["pid"] for answer in answers}) == 3
        # One event at a time in a process: there the variable is right.
        assert len({answer["trace"] for answer in answers}) == 3

    run(MEETING, scenario, mode="process")
    run(MEETING.replace('event["meet"]', 'event["meet"] + "2"'), scenario)


def test_process_that_dies_is_replaced_and_its_caller_is_answered(run: Run) -> None:
    """By the supervisor, which knows what the process had: exit, signal, or an exit that was asked for. Parity 125."""

    async def scenario(environment: Environment) -> None:
        killed, exited = await environment.answers({"die": "kill"}, {"die": "exit"})
        assert (killed["errorType"], exited["errorType"]) == ("Runtime.ExitError", "Runtime.ExitError")
        assert killed["errorMessage"].endswith("Error: Runtime exited with error: signal SIGKILL")
        assert exited["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")

        asked = environment.send({"die": "system exit"})
        assert (await environment.answer_of(asked))["errorType"] == "SystemExit"

        # The slots of all three are there again.
        meeting = {"meet": str(environment.directory / "meet"), "together": 3}
        answers = await environment.answers(meeting, meeting, meeting)
        assert len({answer["pid"] for answer in answers}) == 3

    run(MEETING, scenario, mode="process")


def test_interrupted_process_is_replaced(run: Run) -> None:
    """As in the ordinary loop; here there is always time for it."""

    async def scenario(environment: Environment) -> None:
        before = (await environment.answer({}))["pid"]
        late = environment.send({"hang": True})
        assert (await environment.answer_of(late))["errorType"] == "Function.Timeout"
        assert [record["errorType"] for record in said(late) if "errorType" in record] == ["Function.Timeout"]
        assert (await environment.answer({}))["pid"] != before

    run(MEETING, scenario, mode="process", slots=1, timeout=3.0)


def test_function_that_cannot_be_loaded_is_told_of_as_such(run: Run) -> None:
    """By the first worker that finds out."""

    async def scenario(environment: Environment) -> None:
        answer = await environment.answer({})
        assert answer["errorType"] == "Runtime.ImportModuleError"

    run("import no_such_module", scenario, mode="process")
    run("import no_such_module", scenario)


def test_setting_that_is_not_understood_is_an_init_error(run: Run) -> None:
    """The text names the variable, its value and what is expected."""

    async def scenario(environment: Environment) -> None:
        answer = await environment.answer({})
        assert answer["errorMessage"] == (
            "AWS_LAMBDA_CONCURRENCY_MODE='fibers' is not understood: expected process, thread, hybrid, async"
        )

    run(MEETING, scenario, mode="fibers")


def test_size_of_the_pool_is_told_at_debug_level(run: Run) -> None:
    """The same event as that of AWS's own runtime. Parity 122."""

    async def scenario(environment: Environment) -> None:
        await environment.answer({})

    lines: list[LogLine] = []
    run(MEETING, scenario, mode="process", env={"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, on_log=lines.append)
    assert any("runtime_worker_pool_initializing" in line.text for line in lines)


DYING_AS_IT_ASKS = """
    import os, signal
    from lambda_ric.connection import Connection
    from lambda_ric.managed import loop_connection
    from lambda_ric.managed.ledger import Ledger

    def die(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    exchange = Connection._exchange

    def poll_and_die(self, connected, request):
        if request is self._poll:
            connected.sendall(request)
            die()
        return exchange(self, connected, request)

    asks = Ledger.asks

    def ask_and_die(*args):
        asks(*args)
        die()

    send = loop_connection._Wire.send

    def send_poll_and_die(self, request, *callbacks):
        send(self, request, *callbacks)
        if request.startswith(b"GET"):
            die()

    {handler}(event, context):
        if event.get("die") == "before it asks":
            Ledger.asks = die
        if event.get("die") == "before it has sent that":
            Ledger.asks = ask_and_die
        if event.get("die") == "before it reads a reply":
            Connection._exchange = poll_and_die
            loop_connection._Wire.send = send_poll_and_die
        return os.getpid()
    """


@pytest.mark.parametrize("die", ["before it asks", "before it has sent that", "before it reads a reply"])
@pytest.mark.parametrize(("handler", "mode"), [("def handler", "process"), ("async def handler", "async")])
def test_next_event_is_served_at_whatever_instruction_of_its_poll_a_process_dies(
    run: Run, handler: str, mode: str, die: str
) -> None:
    """It is either the dead one's, over a connection that outlives it, or asked for by the one in its place."""

    async def scenario(environment: Environment) -> None:
        for _ in range(3):
            pid = await environment.answer({"die": die})
            assert await environment.answer({}) != pid

    run(DYING_AS_IT_ASKS.replace("{handler}", handler), scenario, mode=mode, slots=1)
