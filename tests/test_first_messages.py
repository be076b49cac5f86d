"""
The messages of the first hour: each says what is wrong in the words of who reads it, and what to do.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lambda_ric import after_response, blocking, wait_until
from lambda_ric.errors import HandlerNameError, HandlerNotCallableError
from lambda_ric.handlers import load_handler
from lambda_ric.testing import invoke
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import FakeRuntimeAPI

APPLICATIONS = """
class Framework:
    async def __call__(self, scope, receive, send): ...

class Older:
    def __call__(self, environ, start_response): ...

    def wsgi_app(self, environ, start_response): ...

async def function(scope, receive, send): ...

app, older = Framework(), Older()
bound = older.wsgi_app
"""


@pytest.mark.parametrize(("name", "meant"), [("shop:handler", "shop.handler"), ("a.shop:handler", "a.shop.handler")])
def test_name_in_the_notation_of_servers_is_written_as_lambda_has_it(name: str, meant: str) -> None:
    """uvicorn and gunicorn write a colon."""
    with pytest.raises(HandlerNameError, match=f"it is written with a point, {meant}"):
        load_handler(name)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("app", "A handler is written as module.function, such as app.handler"),
        ("app.hander", "Did you mean app.handler?"),
        ("ap.handler", "Did you mean app.handler?"),
        ("app.py", "A handler is written as module.function, such as app.handler"),
    ],
)
def test_name_that_was_misspelt_is_told_with_the_one_that_was_meant(serve: Serve, name: str, note: str) -> None:
    """In the log, where people read it: the error itself keeps the words that AWS's runtime has."""
    served = serve("def handler(event, context): ...", None, handler=name)

    assert note in served.stdout
    assert note not in served.answers[0]["errorMessage"]


@pytest.mark.parametrize(
    ("name", "kind"), [("app", "ASGI"), ("function", "ASGI"), ("older", "WSGI"), ("bound", "WSGI")]
)
def test_application_is_no_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    """Its parameters tell it from one; the text shows the line that is missing."""
    (tmp_path / "applications.py").write_text(APPLICATIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "applications", raising=False)

    with pytest.raises(HandlerNotCallableError, match=f"handler = {kind}Handler.{name}.*applications.handler"):
        load_handler(f"applications.{name}")


@pytest.mark.parametrize("result", [None, {}, 17, "text"])
def test_work_that_was_called_already_is_shown_without_its_brackets(result: Any) -> None:
    """The most common mistake with it."""
    invoked = invoke(lambda event, context: wait_until(result))

    with pytest.raises(TypeError, match=r'wait_until\(send_receipt, "o-17"\), and not'):
        _ = invoked.response


def one(event: Any) -> Any:
    return event


class Handlers:
    def three(self, event: Any, context: Any, more: Any) -> None: ...

    def __call__(self, event: Any) -> None: ...


class Made:
    def __init__(self, event: Any) -> None: ...


@after_response
def continued(event: Any) -> Any:
    yield event


@after_response(print)
def followed(event: Any) -> None: ...


@blocking
async def waited_for(event: Any) -> None: ...


@pytest.mark.parametrize("handler", [one, Handlers().three])
def test_handler_that_does_not_take_two_arguments_is_named_with_its_line(handler: Any) -> None:
    """Python says the number only, and there is no traceback: no line of it has run."""
    invoked = invoke(handler)

    with pytest.raises(TypeError, match=rf"takes an event and a context; .*{handler.__name__} in .*{__file__}, line"):
        _ = invoked.response


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (Handlers(), "Handlers.__call__"),
        (Made, "Made.__init__"),
        (functools.partial(one), "one"),
        (continued, "continued"),
        (followed, "followed"),
        (waited_for, "waited_for"),
    ],
)
def test_function_that_is_called_in_the_end_is_the_one_that_is_named(handler: Any, name: str) -> None:
    """Whatever stands around it, the decorators of this package among them."""
    invoked = invoke(handler)

    with pytest.raises(TypeError, match=rf"takes an event and a context; {name} in {__file__}, line"):
        _ = invoked.response


def test_handler_behind_the_consumer_of_tasks_is_named(serve: Serve) -> None:
    """A function whose tasks have a queue: what Lambda calls then is the consumer, which nobody has written."""
    source = """
    from lambda_ric import task
    from lambda_ric.overflow import lambda_async

    @task(overflow=lambda_async("other", region="eu-west-1"))
    def work(): ...

    def handler(event): ...
    """
    served = serve(textwrap.dedent(source), None)

    assert "takes an event and a context; handler in" in served.stdout


def test_type_error_inside_of_a_handler_stays_as_it_is() -> None:
    """It has a traceback."""
    invoked = invoke(after_response(print)(lambda event, context: one()))  # type: ignore[call-arg]

    with pytest.raises(TypeError) as raised:
        _ = invoked.response
    assert "takes an event and a context" not in str(raised.value)


def test_error_without_a_traceback_has_no_head_of_one(serve: Serve) -> None:
    """"Traceback (most recent call last):" with nothing below it reads like something that was cut off."""
    served = serve("def handler(event): ...", None)

    assert "takes an event and a context" in served.stdout
    assert "Traceback" not in served.stdout


def test_event_that_has_no_json_form_is_no_response() -> None:
    """The test's author has passed it."""
    with pytest.raises(TypeError, match="the event has no JSON form: Object of type object"):
        invoke(lambda event, context: None, {"id": object()})


def test_function_on_another_runtime_is_told_so(tmp_path: Path) -> None:
    """AWS's own, which we have not met in its init: the variable was forgotten, or the build has lost `bootstrap`."""
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n    from lambda_ric import wait_until\n    wait_until(print, 'late')\n"
    )
    with FakeRuntimeAPI({}) as api:
        subprocess.run(
            [sys.executable, "-m", "awslambdaric", "app.handler"],
            cwd=tmp_path,
            env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address},
            capture_output=True,
            timeout=30,
            check=False,
        )

    message = api.posts[0].json()["errorMessage"]
    assert "set the variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/bootstrap" in message
    assert "when lambda_ric is imported with the function" in message


def test_call_at_import_is_not_taken_for_another_runtime(serve: Serve) -> None:
    """Our own loop is there, and no invocation yet."""
    served = serve("from lambda_ric import wait_until\nwait_until(print)\ndef handler(event, context): ...", None)

    assert "outside of any invocation" in served.posts[0].json()["errorMessage"]
