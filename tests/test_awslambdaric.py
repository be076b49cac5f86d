"""The names of AWS's own runtime that others import or replace: what they do here, and what they say they cannot."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve, Served
from tests.support.fakes import Event
from tests.support.reference import serve_on_awslambdaric

SAY = """
import sys

def say(*words):
    print("said", *words, flush=True)
"""

Either = Callable[..., Served]


@pytest.fixture(params=["ours", "awss"])
def serve_on_either(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Either:
    """Serve on this runtime, and on AWS's own."""

    def on_ours(source: str, *events: Any) -> Served:
        return serve(SAY + textwrap.dedent(source), *events)

    def on_theirs(source: str, *events: Any) -> Served:
        (tmp_path / "app.py").write_text(SAY + textwrap.dedent(source))
        return serve_on_awslambdaric(tmp_path, *events)

    return on_ours if request.param == "ours" else on_theirs


@pytest.fixture
def served(serve: Serve) -> Either:
    """Serve on this runtime."""
    return lambda source, *events, **options: serve(SAY + textwrap.dedent(source), *events, **options)


def said(served: Served) -> list[str]:
    return [line.removeprefix("said ") for line in served.lines if line.startswith("said ")]


# As there...


def test_replaced_handle_event_request_serves_the_invocation(serve_on_either: Either) -> None:
    """It is looked up for every event, and gets what AWS's runtime gives it. Parity 136, 147."""
    served = serve_on_either(
        """
        from awslambdaric import bootstrap

        original = bootstrap.handle_event_request

        def replacement(client, handler, invoke_id, body, content_type, *rest):
            say("before", invoke_id, body, content_type, len(rest))
            original(client, handler, invoke_id, body, content_type, *rest)
            say("after")

        def handler(event, context):
            say("handler")
            bootstrap.handle_event_request = replacement
            return event
        """,
        Event("first"),
        Event({"n": 2}, request_id="the-second"),
    )

    assert said(served) == ["handler", """before the-second b'{"n": 2}' application/json 7""", "handler", "after"]
    assert served.answers == ["first", {"n": 2}]


def test_replacement_may_give_another_handler_and_another_body(serve_on_either: Either) -> None:
    """Wrappers of handlers come in that way. Parity 147."""
    served = serve_on_either(
        """
        from awslambdaric import bootstrap

        original = bootstrap.handle_event_request

        def replacement(client, handler, invoke_id, body, *rest):
            original(client, lambda event, context: [handler(event, context)], invoke_id, b'"other"', *rest)

        bootstrap.handle_event_request = replacement

        def handler(event, context):
            return event
        """,
        "event",
    )

    assert served.answers == [["other"]]


def test_replacement_may_answer_by_the_client(serve_on_either: Either) -> None:
    """A ping, say, which the handler is not to see."""
    served = serve_on_either(
        """
        import awslambdaric.bootstrap

        def replacement(client, handler, invoke_id, *rest):
            client.post_invocation_result(invoke_id, '"pong"')

        awslambdaric.bootstrap.handle_event_request = replacement

        def handler(event, context):
            say("handler")
        """,
        "ping",
    )

    assert (served.answers, said(served)) == (["pong"], [])


def test_marshaller_of_ones_own_reads_events_and_writes_results(serve_on_either: Either) -> None:
    """A class attribute of the client. Parity 68."""
    served = serve_on_either(
        """
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
        from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

        class Marshaller(LambdaMarshaller):
            def unmarshal_request(self, request, content_type="application/json"):
                return [super().unmarshal_request(request, content_type), content_type]

            def marshal_response(self, response):
                text, content_type = super().marshal_response(response)
                return text.upper(), content_type

        LambdaRuntimeClient.marshaller = Marshaller()

        def handler(event, context):
            return event
        """,
        "event",
    )

    assert served.answers == [["EVENT", "APPLICATION/JSON"]]


def test_fault_of_awss_runtime_has_the_type_and_the_stack_that_it_names(serve_on_either: Either) -> None:
    """Parity 78."""
    served = serve_on_either(
        """
        from awslambdaric.lambda_runtime_exception import FaultException

        def handler(event, context):
            raise FaultException("Shop.SoldOut", "no more", ["at the till"])
        """,
        None,
    )

    (answer,) = served.answers
    assert (answer["errorType"], answer["errorMessage"], answer["stackTrace"]) == (
        "Shop.SoldOut", "no more", ["at the till"],
    )  # fmt: skip


def test_names_that_are_imported_for_types_and_helpers_are_there(serve_on_either: Either) -> None:
    """`import awslambdaric` succeeds, and the context is of the class that it names."""
    served = serve_on_either(
        """
        import awslambdaric.bootstrap, logging
        from awslambdaric.bootstrap import _get_handler, make_error, to_json
        from awslambdaric.lambda_context import Client, ClientContext, CognitoIdentity, LambdaContext
        from awslambdaric.lambda_runtime_log_utils import JsonFormatter

        def handler(event, context):
            record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "levelno": 20})
            return [
                isinstance(context, LambdaContext), _get_handler("app.handler") is handler, to_json({"n": 1}),
                make_error("m", "t", None, "id"), awslambdaric.__version__,
                '"message": "x"' in JsonFormatter().format(record),
                type(logging.getLogger().handlers[0]) is awslambdaric.bootstrap.LambdaLoggerHandler,
            ]
        """,
        None,
    )

    error = {"errorMessage": "m", "errorType": "t", "requestId": "id", "stackTrace": []}
    assert served.answers == [[True, True, '{"n": 1}', error, "4.2.2", True, True]]


# ...and otherwise: what replaces a method flushes, and nobody waits for that...


def test_replaced_methods_are_called_when_the_caller_has_its_answer_and_the_background_work_is_done(
    served: Either, tmp_path: Path
) -> None:
    """AWS's runtime calls them before. Parity 137."""
    order: list[str] = []
    came = served(
        """
        import pathlib
        from awslambdaric.bootstrap import LambdaRuntimeClient as Client
        from lambda_ric import wait_until

        def replace(name):
            original = getattr(Client, name)

            def replacement(*args):
                say(name, *args[2:3])
                pathlib.Path("flushed").touch()
                return original(*args)

            setattr(Client, name, replacement)

        replace("post_invocation_result")
        replace("post_invocation_error")
        replace("wait_next_invocation")

        def handler(event, context):
            wait_until(say, "work")
            return {"done": event} if event else 1 / event
        """,
        1,
        0,
        intercept=lambda request: order.append(f"{request.name} {(tmp_path / 'flushed').exists()}"),
    )

    assert order[:3] == ["next False", "response False", "next True"]
    assert said(came)[:3] == ["work", """post_invocation_result b'{"done": 1}'""", "wait_next_invocation"]
    assert said(came)[3] == "work"
    assert said(came)[4].startswith('post_invocation_error {"errorMessage": "division by zero", "errorType": "ZeroDiv')
    assert said(came)[5:] == ["wait_next_invocation"]


def test_result_that_is_changed_when_the_caller_has_it_is_told_of(served: Either) -> None:
    """With what to do instead."""
    came = served(
        """
        from awslambdaric.bootstrap import LambdaRuntimeClient as Client

        original = Client.post_invocation_result
        Client.post_invocation_result = lambda self, invoke_id, result, *rest: original(self, invoke_id, b"0", *rest)

        def handler(event, context):
            return event
        """,
        17,
    )

    assert came.answers == [17]
    assert [line for line in came.lines if "post_invocation_result was given another result" in line]


@pytest.mark.parametrize(
    ("before", "after", "answer", "told"),
    [
        ("raise ValueError('no')", "pass", "no", "[ERROR] ValueError: no"),
        ("return", "pass", "app.replacement has replaced handle_event_request", "returned without an answer"),
        ("pass", "raise ValueError('late')", None, "app.replacement failed after the answer"),
        ("original(*args)", "pass", None, "handle_event_request was called twice"),
    ],
    ids=["fails before", "does not answer", "fails after", "answers twice"],
)
def test_replacement_that_goes_wrong_is_told_of(
    served: Either, before: str, after: str, answer: str | None, told: str
) -> None:
    """Its caller gets an error, unless it has its answer; and the next event is served."""
    came = served(
        f"""
        from awslambdaric import bootstrap

        original = bootstrap.handle_event_request

        def replacement(*args):
            bootstrap.handle_event_request = original
            {before}
            original(*args)
            {after}

        bootstrap.handle_event_request = replacement

        def handler(event, context):
            return event
        """,
        "first",
        "second",
    )

    if answer is None:
        assert came.answers == ["first", "second"]
    else:
        assert answer in came.answers[0]["errorMessage"]
        assert came.answers[1] == "second"
    assert [line for line in came.lines if told in line]


def test_replacement_that_hangs_is_interrupted_before_and_after_the_answer(served: Either) -> None:
    """Its caller gets a timeout; and what hangs behind the answer ends in time for the next event."""
    came = served(
        """
        import time
        from awslambdaric import bootstrap

        original = bootstrap.handle_event_request

        def replacement(client, handler, invoke_id, body, *rest):
            if body == b'"before"':
                time.sleep(60)
            original(client, handler, invoke_id, body, *rest)
            time.sleep(60)

        bootstrap.handle_event_request = replacement

        def handler(event, context):
            return event
        """,
        Event("before", timeout=1.5),
        Event("after", timeout=1.5),
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert came.answers[0]["errorType"] == "Function.Timeout"
    assert came.answers[1:] == ["after"]
    assert [line for line in came.lines if "app.replacement was stopped after the answer" in line]


@pytest.mark.parametrize("name", ["run", "on_init_complete", "create_log_sink", "update_xray_env_variable"])
def test_name_that_cannot_do_what_it_does_there_can_be_imported_and_says_what_to_do(served: Either, name: str) -> None:
    """Where it is called."""
    came = served(
        f"""
        from awslambdaric.bootstrap import {name}

        def handler(event, context):
            {name}()
        """,
        None,
    )

    assert came.answers[0]["errorMessage"].startswith(f"awslambdaric's {name} is not to be called under lambda_ric: ")


@pytest.mark.parametrize(
    "statement", ["import awslambdaric.lambda_runtime_hooks_runner", "from awslambdaric.bootstrap import Unbuffered"]
)
def test_name_that_is_not_offered_is_not_found(served: Either, statement: str) -> None:
    """So that code which asks for it sees that."""
    came = served(f"try:\n    {statement}\nexcept ImportError: say('none')\ndef handler(event, context): pass")

    assert said(came) == ["none"]


def test_method_of_a_client_of_ones_own_says_which_client_to_use(served: Either) -> None:
    """It belongs to no invocation."""
    came = served(
        """
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

        def handler(event, context):
            client = LambdaRuntimeClient("127.0.0.1:9001")
            errors = []
            for call in (
                lambda: client.post_invocation_result("id", "1"), lambda: client.post_invocation_error("id", "{}", ""),
                lambda: client.post_init_error({}),
            ):
                try:
                    call()
                except RuntimeError as error:
                    errors.append(str(error))
            return errors
        """,
        None,
    )

    assert [error.partition(" ")[0] for error in came.answers[0]] == [
        "post_invocation_result", "post_invocation_error", "post_init_error",
    ]  # fmt: skip
