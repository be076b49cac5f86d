"""Django's tasks, by its own interface: each function in a process of its own, since Django has one configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator.function.examples import example
from tests.conftest import ROOT, Serve
from tests.support.fakes import Event

REQUEST = json.loads(example("function-url"))

BEFORE = """
import datetime
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from lambda_ric import on_task_failed
from lambda_ric.wsgi import WSGIHandler

class Queue:
    source = "arn:aws:sqs:us-east-1:123456789012:tasks"

    def check(self, envelope):
        pass

    def send(self, envelopes, within):
        for envelope in envelopes:
            print("QUEUED", envelope.encode(), flush=True)
        return []

settings.configure(
    SECRET_KEY="none",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="app",
    USE_TZ=True,
    TASKS={"default": {"BACKEND": "lambda_ric.django_tasks.BackgroundBackend", "OPTIONS": %s}},
)
application = get_wsgi_application()
kept = []

from django.tasks import default_task_backend, task
from django.tasks.exceptions import InvalidTask

@on_task_failed
def alarm(report):
    print("ALARM", report.name)
"""
AFTER = """
    return JsonResponse({"status": kept[-1].status if kept else None})

urlpatterns = [path("orders/<order_id>", accept)]
handler = WSGIHandler(application)
"""
SEND = """
@task
def send_receipt(order_id):
    print("receipt for", order_id)
    return [order_id]
"""
ENQUEUE = """
def accept(request, order_id):
    if kept:
        print("then", kept[-1].status, kept[-1].attempts, len(kept[-1].errors))
    kept.append(send_receipt.enqueue(order_id))
"""


def function(tasks: str, view: str = ENQUEUE, options: str = "{}") -> str:
    """Return the source of a function with these *tasks*, and the *view* that enqueues them."""
    return BEFORE % options + tasks + view + AFTER


def statuses(done: Any) -> list[str]:
    """Return what the views have said of their tasks."""
    return [json.loads(answer["body"])["status"] for answer in done.answers]


def test_task_runs_after_the_response_and_its_result_follows_it(serve: Serve) -> None:
    """READY for the view, and later SUCCESSFUL, with its value."""
    view = ENQUEUE + "    if len(kept) > 1:\n        print('value', kept[0].return_value)\n"
    done = serve(function(SEND, view), REQUEST, REQUEST)

    assert statuses(done) == ["READY", "READY"]
    lines = [line for line in done.lines if line.startswith(("receipt", "then", "value"))]
    assert lines == ["receipt for o-17", "then SUCCESSFUL 1 0", "value ['o-17']", "receipt for o-17"]
    assert all("Tasks: 1\tSucceeded: 1" in line for line in done.summaries)


@pytest.mark.parametrize(
    "tasks",
    [
        SEND.replace("def send", "async def send"),
        SEND.replace("@task", "@task(takes_context=True)").replace("(order_id)", "(context, order_id)", 1),
    ],
    ids=["coroutine function", "takes context"],
)
def test_every_kind_of_task_runs(tasks: str, serve: Serve) -> None:
    """As Django's own backends run them."""
    done = serve(function(tasks), REQUEST, REQUEST)

    assert done.lines.count("receipt for o-17") == 2
    assert "then SUCCESSFUL 1 0" in done.lines


def test_failing_task_is_tried_again_and_told(serve: Serve) -> None:
    """By the policy in the options; the result has each error."""
    tasks = SEND.replace("return [order_id]", "raise ValueError(order_id)")
    done = serve(function(tasks, options='{"retries": 1, "backoff": 0}'), REQUEST, REQUEST)

    assert "then FAILED 2 2" in done.lines
    assert done.lines.count("receipt for o-17") == 4
    assert [line for line in done.lines if line.startswith("ALARM")] == ["ALARM app.send_receipt"] * 2


def test_what_cannot_be_is_refused_as_django_asks(serve: Serve) -> None:
    """A time in the future, a priority, a queue that is none, a result by its id."""
    view = """
def accept(request, order_id):
    for options in ({"run_after": datetime.datetime.now(datetime.UTC)}, {"priority": 5}, {"queue_name": "other"}):
        try:
            send_receipt.using(**options)
        except InvalidTask as error:
            print("refused:", error)
    try:
        send_receipt.get_result("a")
    except NotImplementedError:
        print("refused: results")
"""
    done = serve(function(SEND, view), REQUEST)

    assert len([line for line in done.lines if line.startswith("refused: ")]) == 4


def test_task_that_does_not_fit_goes_to_the_queue_and_comes_back(serve: Serve) -> None:
    """The message names the task; the function, its consumer, runs it with a result of its own."""
    source = function(SEND, options='{"timeout": 100, "overflow": Queue()}')
    done = serve(source, REQUEST)

    assert "receipt for o-17" not in done.lines
    (message,) = [line.removeprefix("QUEUED ") for line in done.lines if line.startswith("QUEUED")]
    assert json.loads(message)["task"] == "django.default:app.send_receipt"
    record = {
        "messageId": "m-1",
        "body": message,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:tasks",
    }
    consumed = serve(source, Event({"Records": [record]}, timeout=300))

    assert consumed.answers[-1] == {"batchItemFailures": []}
    assert "receipt for o-17" in consumed.lines


def test_function_of_the_page_answers_and_then_sends_the_receipt(serve: Serve, tmp_path: Path) -> None:
    """A reader copies it."""
    page = (ROOT / "docs/django-tasks.md").read_text(encoding="utf-8")
    for name, source in re.findall(r"^```py\n# ([\w/]+)\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    done = serve("", REQUEST, handler="shop_function.handler")

    assert json.loads(done.answers[0]["body"]) == {"accepted": "o-17", "receipt": "READY"}
    assert "receipt for o-17" in done.lines
