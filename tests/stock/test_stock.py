"""
What is special on AWS's own runtime: the extension, what is seen of the runtime, and what cannot be had there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Emulator, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import Event, Request, reply

from .conftest import OnEmulator

WORKING = """
    import sys
    from lambda_ric import after_response, wait_until

    def send(number):
        print("sent", number)

    async def index(number):
        print("indexed", number)

    def handler(event, context):
        if event == "nothing":
            return event
        wait_until(send, event)
        wait_until(index, event)
        return event
    """


CALLING = """
    import http.client, os, time

    def call(path):
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        connection.request("GET", path)
        connection.getresponse().read()
    """


def calls(served: Any) -> list[str]:
    """The requests in their order; those of the extension begin with an x."""
    return [("x " if request.is_of_extension else "") + request.name for request in served.api.requests]


# The extension...


def test_extension_is_registered_for_invocations_before_the_first_event_is_asked_for(serve: Serve) -> None:
    """Registration is closed by the runtime's first poll, and init is not over before the extension has asked."""
    served = serve(WORKING)

    register = served.api.requests[0]
    assert calls(served)[:2] == ["x register", "x next"]
    assert register.json() == {"events": ["INVOKE"]}
    assert register.headers["lambda-extension-name"] == "lambda-ric"


@pytest.mark.parametrize("event", ["nothing", "work"])
def test_extension_asks_once_for_every_invocation(serve: Serve, event: str, polling: dict[str, str]) -> None:
    """Once too often would end the next invocation early, once too seldom would hang it."""
    served = serve(WORKING, event, event, event, env=polling)

    assert served.answers == [event] * 3
    assert calls(served).count("x next") == 1 + 3


def test_work_begins_when_the_answer_was_accepted_and_the_extension_asks_when_it_is_done(
    serve: Serve, polling: dict[str, str]
) -> None:
    """So Lambda waits for it, and the caller does not."""
    served = serve(
        CALLING + """
    from lambda_ric import wait_until

    def work():
        time.sleep(0.1)
        call("/worked")

    def handler(event, context):
        wait_until(work)
    """,
        None,
        env=polling,
        intercept=lambda request: reply(200) if request.name == "worked" else None,
    )

    called = [call for call in calls(served) if call != "next"]
    assert called == ["x register", "x next", "response", "worked", "x next"]


@pytest.mark.parametrize("refusal", ["Extension.TooManyExtensions", "Extension.RegistrationClosed"])
def test_poll_of_the_runtime_waits_for_the_work_where_the_extension_is_refused(serve: Serve, refusal: str) -> None:
    """Nothing is lost then but the announcement of the end."""

    def refuse(request: Request) -> bytes | None:
        return reply(403, json.dumps({"errorType": refusal}).encode()) if request.name == "register" else None

    served = serve(WORKING, "work", "nothing", intercept=refuse)

    assert served.answers == ["work", "nothing"]
    assert refusal in served.lines[0]
    assert "the runtime waits for it instead" in served.lines[0]
    assert sorted(served.lines[1:3]) == ["indexed work", "sent work"]


def test_import_in_a_handler_is_too_late_for_that_event_and_good_for_the_next(serve: Serve) -> None:
    """Nobody holds the environment for the first; from then on the runtime does."""
    served = serve(
        """
        def handler(event, context):
            from lambda_ric import wait_until
            wait_until(print, "sent", event)
            return event
        """,
        1,
        2,
    )

    assert "when lambda_ric is imported with the function" in served.answers[0]["errorMessage"]
    assert served.answers[1] == 2
    assert "sent 2" in served.lines


ANOTHER_RUNTIME = """
import http.client, importlib, json, os, sys
from awslambdaric.lambda_context import LambdaContext

class Client:
    def __init__(self):
        self.connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(self, method, path, body=None):
        self.connection.request(method, "/2018-06-01/runtime/invocation/" + path, body)
        reply = self.connection.getresponse()
        return reply, reply.read()

    def wait_next_invocation(self):
        reply, body = self.call("GET", "next")
        return None if reply.status != 200 else (reply.headers, json.loads(body))

def run(client, module, name):
    handler = getattr(importlib.import_module(module), name)
    while (event := client.wait_next_invocation()) is not None:
        request_id = event[0]["Lambda-Runtime-Aws-Request-Id"]
        deadline = int(event[0]["Lambda-Runtime-Deadline-Ms"])
        try:
            what, body = "response", handler(event[1], LambdaContext(request_id, {}, {}, deadline))
        except Exception as error:
            what, body = "error", {"errorMessage": str(error), "errorType": type(error).__name__}
        client.call("POST", f"{request_id}/{what}", json.dumps(body))

run(Client(), *os.environ["_HANDLER"].rsplit(".", 1))
"""


def test_work_begins_when_the_handler_has_returned_where_the_posts_of_a_runtime_cannot_be_seen(
    serve: Serve, tmp_path: Path
) -> None:
    """A runtime made after AWS's, with a loop and a client of its own; the extension asks when the work is done."""
    (tmp_path / "another.py").write_text(ANOTHER_RUNTIME)
    served = serve(
        CALLING
        + """
    from lambda_ric import after_invoke, on_startup, wait_until

    returned = []

    @on_startup
    def start():
        print("started")

    @after_invoke
    def tell(outcome):
        print("after", outcome.event, type(outcome.error).__name__)

    def work(event):
        call("/worked")
        print("worked for", event)

    def handler(event, context):
        if event != "nothing":
            wait_until(work, event)
        if event == "fail":
            raise LookupError("no such order")
        return event
    """,
        "first",
        "fail",
        "nothing",
        "last",
        runtime="another",
        intercept=lambda request: reply(200) if request.name == "worked" else None,
    )

    assert [post.name for post in served.posts] == ["response", "error", "response", "response"], served.stderr
    assert served.answers[1] == {"errorMessage": "no such order", "errorType": "LookupError"}
    asked = [call for call in calls(served) if call in ("worked", "x next")]
    assert asked == ["x next", "worked", "x next", "worked", "x next", "x next", "worked", "x next"]
    assert [line for line in served.lines if not line.startswith("BACKGROUND")] == [
        "started", "after first NoneType", "worked for first", "after fail LookupError", "worked for fail",
        "after nothing NoneType", "after last NoneType", "worked for last",
    ]  # fmt: skip


# ...the runtime...


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('no')", "return object()", "return {'a': event}", "return undefined", "raise KeyError(event)"],
)
def test_answer_and_error_document_are_those_of_the_runtime_without_us(serve: Serve, body: str) -> None:
    """To the byte, but for the request id: the stack has no frame of ours."""
    source = """
        {first}

        def handler(event, context):
            {body}
        """
    documents = [
        served.posts[0].body.replace(served.posts[0].request_id.encode(), b"")
        for first in ("import lambda_ric", "import json")
        for served in [serve(source.format(first=first, body=body), "event")]
    ]

    assert documents[0] == documents[1]


def test_error_of_encoding_is_the_outcome_for_hooks(serve: Serve) -> None:
    """The handler has succeeded, and its caller has an error."""
    served = serve(
        """
        from lambda_ric import after_invoke

        @after_invoke
        def tell(outcome):
            print(outcome.succeeded, outcome.error)

        def handler(event, context):
            return object()
        """,
        None,
    )

    assert "False Unable to marshal response: Object of type object is not JSON serializable" in served.stdout


def test_handler_that_ends_the_process_is_told_to_its_caller_and_its_work_is_done(serve: Serve) -> None:
    """Then the process ends, with the handler's code."""
    served = serve(
        """
        import sys
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(print, "sent")
            sys.exit(3)
        """,
        1,
        2,
    )

    (answer,) = served.answers
    assert answer["errorType"] == "SystemExit"
    assert "sent" in served.lines
    assert served.exit_code == 3


def test_answer_that_lambda_refuses_ends_the_process_after_its_work(serve: Serve) -> None:
    """As the runtime does without us."""

    def refuse(request: Request) -> bytes | None:
        return reply(413, b"too large") if request.name == "response" else None

    served = serve(
        """
        from lambda_ric import after_response, wait_until

        @after_response(lambda outcome: print("not sent:", type(outcome.error).__name__), on="error")
        def handler(event, context):
            wait_until(print, "done")
        """,
        1,
        2,
        intercept=refuse,
    )

    assert len(served.posts) == 1
    assert {"not sent: AnswerRefusedError", "done"} <= set(served.lines)


def test_event_that_cannot_be_read_lets_go_of_its_invocation(serve: Serve) -> None:
    """No handler is called, and the extension has to ask all the same."""
    served = serve(WORKING, b"no JSON", "work")

    assert served.answers[0]["errorType"] == "Runtime.UnmarshalError"
    assert served.answers[1] == "work"
    assert "sent work" in served.lines


def test_child_that_comes_back_from_the_handler_answers_nobody(serve: Serve, polling: dict[str, str]) -> None:
    """Nor does it end the work of its parent when it is told to end."""
    served = serve(
        """
        import os, signal, time
        from lambda_ric import wait_until

        def work(child):
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            print("sent")

        def handler(event, context):
            wait_until(int)
            if os.fork() == 0:
                return "of the child"
            child = os.fork()
            if child == 0:
                time.sleep(60)
            wait_until(work, child)
            return event
        """,
        1,
        2,
        env=polling,
    )

    assert served.answers == [1, 2]
    assert served.lines.count("sent") == 2


# ...what takes too long...


def test_hanging_handler_is_interrupted_and_another_process_serves_the_next_event(
    on_emulator: OnEmulator, polling: dict[str, str]
) -> None:
    """Its caller has an error with the line, and its work has been done."""
    source = """
        import os, time
        from lambda_ric import wait_until

        def handler(event, context):
            if event == "hang":
                wait_until(print, "sent")
                time.sleep(60)
            return os.getpid()
        """
    with on_emulator(source, polling, timeout=1.5) as (emulator, lines):
        first, hanging, last = (emulator.invoke(event) for event in ("before", "hang", "after"))

    assert "time.sleep(60)" in json.loads(hanging.payload)["stackTrace"][0]
    assert json.loads(first.payload) != json.loads(last.payload)
    assert "sent" in lines


def test_hook_that_hangs_is_given_up_and_what_follows_is_named(on_emulator: OnEmulator) -> None:
    """Off the main thread nobody can interrupt it, so the process ends."""
    source = """
        import os, time
        from lambda_ric import after_response, wait_until

        def hang(outcome):
            time.sleep(60)

        def later(outcome): ...

        @after_response(hang, later)
        def handler(event, context):
            wait_until(print)
            return os.getpid()
        """
    with on_emulator(source, {}, timeout=1.5) as (emulator, lines):
        answers = [json.loads(emulator.invoke(None).payload) for _ in range(2)]

    log = "\n".join(lines)
    assert len(set(answers)) == 2
    assert "Abandoned: 1 (hang)\tDropped: 2 (print, later)" in log
    assert "the process ends, and Lambda starts a new one" in log


def test_coroutine_that_never_awaits_costs_the_others_nothing_where_the_process_is_kept(serve: Serve) -> None:
    """Its thread has the event loop for good: the next invocation gets another one."""
    served = serve(
        """
        import time
        from lambda_ric import wait_until

        async def block():
            time.sleep(3600)

        async def send(): print("sent")

        async def handler(event, context):
            wait_until(block if event == 1 else send)
            return event
        """,
        Event(1, timeout=0.8),
        Event(2),
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert served.answers == [1, 2]
    assert "Abandoned: 1 (block)" in served.summaries[0]
    assert "sent" in served.lines


# ...the end of the environment...


QUEUED = (
    CALLING
    + """
    from lambda_ric import on_shutdown, task, wait_until

    class Queue:
        def check(self, envelope): ...
        def send(self, envelopes, within):
            for envelope in envelopes:
                print(f"queued {envelope.args[0]}\\n", end="")  # two threads may be here
            return []

    @on_shutdown
    def close():
        print("closed")

    @task(overflow=Queue())
    def long(number):
        call(f"/{os.getpid()}/started")
        time.sleep(60)

    @task(overflow=Queue())
    def other(number): ...

    def handler(event, context):
        wait_until(long, 1)
        {hang}
    """
)


@pytest.mark.parametrize("hang", ["", "wait_until(other, 1)\n        call(f'/{os.getpid()}/started'); time.sleep(60)"])
def test_end_in_the_middle_of_work_hands_tasks_over_and_runs_the_hooks(
    serve: Serve, polling: dict[str, str], hang: str
) -> None:
    """Also when the handler hangs, and when the main thread is in a call of the runtime's."""

    def end(request: Request) -> bytes | None:
        if request.name != "started":
            return None
        os.kill(int(request.path.split("/")[1]), signal.SIGTERM)
        return reply(200)

    # As much time as is needed: nobody kills the process here.
    environment = {"LAMBDA_RIC_DEADLINE_MARGIN_MS": "8000", **polling}
    served = serve(QUEUED.replace("{hang}", hang), 1, env=environment, intercept=end)

    assert "queued 1" in served.lines
    assert ("queued 1" if hang else "closed") in served.lines
    assert served.lines[-1] == "closed"
    assert served.exit_code == 0


def test_end_of_the_environment_runs_the_hooks_also_while_the_runtime_polls(
    on_emulator: OnEmulator, polling: dict[str, str]
) -> None:
    """On the main thread no handler of a signal would run then, if the runtime polls there."""
    source = """
        from lambda_ric import on_shutdown

        @on_shutdown
        def close(): print("closed")

        def handler(event, context): ...
        """
    with on_emulator(source, polling) as (emulator, lines):
        emulator.invoke(None)

    assert "closed" in lines


def test_function_with_a_handler_for_sigterm_keeps_it(serve: Serve) -> None:
    """A warning says once what that means."""
    served = serve(
        """
        import signal
        from lambda_ric import wait_until

        def own(*_): ...
        signal.signal(signal.SIGTERM, own)

        def handler(event, context):
            wait_until(int)
            return signal.getsignal(signal.SIGTERM) is own
        """,
        1,
        2,
    )

    assert served.answers == [True, True]
    assert served.stdout.count("it has a handler of the function's own, which is kept") == 1


# ...and what cannot be had there.


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context):\n    yield 'a'",
        "async def handler(event, context):\n    yield 'a'",
        "def handler(event, context):\n    return StreamingResponse(iter('ab'))",
    ],
)
def test_stream_is_refused_with_the_way_to_have_it(serve: Serve, source: str) -> None:
    """AWS's runtime cannot send one."""
    served = serve(f"from lambda_ric import StreamingResponse\n{source}", None)

    assert "set the variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/bootstrap" in served.answers[0]["errorMessage"]


def test_async_handler_and_asgi_application_work(serve: Serve) -> None:
    """On one event loop, which goes on with the work on the extension's thread."""
    served = serve(
        """
        from lambda_ric import wait_until
        from lambda_ric.asgi import ASGIHandler
        import asyncio

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": b"created"})
            await asyncio.sleep(0)
            print("behind the answer")

        web = ASGIHandler(app, lifespan="off")

        async def direct(event, context):
            task = asyncio.create_task(asyncio.sleep(0, "a task of the handler's loop"))
            task.add_done_callback(lambda task: print(task.result()))
            wait_until(task)
            return "direct"

        def handler(event, context):
            return web(event, context) if event else direct(event, context)
        """,
        None,
        {"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "GET", "path": "/"}}},
    )

    assert served.answers[0] == "direct"
    assert (served.answers[1]["statusCode"], served.answers[1]["body"]) == (201, "created")
    assert {"a task of the handler's loop", "behind the answer"} <= set(served.lines)


def test_managed_instances_are_refused_with_the_alternative(tmp_path: Path) -> None:
    """No internal extension is told of invocations there; nor does the function break that only imports us."""
    (tmp_path / "app.py").write_text(
        "from lambda_ric import wait_until\ndef handler(event, context):\n    wait_until(print) if event else None\n"
    )
    lines: list[str] = []
    emulator = Emulator(
        command=[sys.executable, "-m", "awslambdaric", "app.handler"],
        task_root=tmp_path,
        environment={"PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"]},
        max_concurrency=1,
        on_log=lambda line: lines.append(line.text),
    )
    with in_thread(emulator) as served:
        assert json.loads(served.invoke(None).payload) is None
        error = json.loads(served.invoke(1).payload)["errorMessage"]

    for text in (error, "\n".join(lines)):
        assert "Lambda Managed Instances" in text
        assert "AWS_LAMBDA_EXEC_WRAPPER to /var/task/bootstrap" in text
