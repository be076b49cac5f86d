"""Sentry: its decorator for serverless functions, which needs no integration, over every form of handler."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from tests.conftest import Serve
from tests.proofs.decorators.daemons import SentryServer

SETUP = """
import asyncio, os
import sentry_sdk
from sentry_sdk.integrations.serverless import serverless_function
from lambda_ric import after_response, wait_until

# Else it imports each of the many libraries that are installed for these tests, to see whether it is there.
sentry_sdk.init(dsn=os.environ["SENTRY_DSN"], auto_enabling_integrations=False)
"""

FORMS = (
    SETUP
    + """
from lambda_ric import blocking

@serverless_function
def plain(event, context):
    raise ValueError("plain")

@serverless_function
@after_response
def continued(event, context):
    raise ValueError("continued")
    yield

@serverless_function
@blocking
async def awaited(event, context):
    await asyncio.sleep(0)
    raise ValueError("awaited")

@serverless_function
@blocking
def streamed(event, context):
    yield "do"
    raise ValueError("streamed")

@serverless_function
@blocking
async def awaited_and_streamed(event, context):
    yield "do"
    await asyncio.sleep(0)
    raise ValueError("awaited_and_streamed")

def handler(event, context):
    return globals()[event](event, context)
"""
)
NAMES = ["plain", "continued", "awaited", "streamed", "awaited_and_streamed"]


def with_setup(source: str) -> str:
    return SETUP + dedent(source)


def reports(sentry: SentryServer) -> list[Any]:
    """Return what was reported, but for the runtime's last words: that its script has ended."""
    return [event for event in sentry.events if event.get("logger") != "lambda_ric.entry"]


def reported(sentry: SentryServer) -> list[Any]:
    """Return the type and text of each error that was reported."""
    errors = [event["exception"]["values"][-1] for event in reports(sentry)]
    return [(error["type"], error["value"]) for error in errors]


def test_errors_are_reported_once_and_fail_the_invocation_all_the_same(serve: Serve, sentry: SentryServer) -> None:
    """The decorator reports, flushes and raises again."""
    served = serve(FORMS, *NAMES, env={"SENTRY_DSN": sentry.dsn})

    assert reported(sentry) == [("ValueError", name) for name in NAMES]
    assert [post.name for post in served.posts] == ["error"] * 3 + ["response"] * 2
    assert [post.json()["errorMessage"] for post in served.posts[:3]] == NAMES[:3]
    assert [post.trailers["lambda-runtime-function-error-type"] for post in served.posts[3:]] == [
        "Function.ValueError"
    ] * 2


def test_report_shows_the_functions_own_line(serve: Serve, sentry: SentryServer) -> None:
    """The innermost frame is that of the coroutine, and is marked as the function's own."""
    serve(FORMS, "awaited", env={"SENTRY_DSN": sentry.dsn})

    (event,) = reports(sentry)
    frame = event["exception"]["values"][-1]["stacktrace"]["frames"][-1]
    assert (frame["filename"], frame["function"], frame["in_app"]) == ("app.py", "awaited", True)
    assert frame["context_line"].strip() == 'raise ValueError("awaited")'


def test_error_of_a_bare_async_handler_is_not_reported(serve: Serve, sentry: SentryServer) -> None:
    """The decorator has seen a coroutine, and no error."""
    served = serve(
        with_setup(
            """
            @serverless_function
            async def handler(event, context):
                raise ValueError("unseen")
            """
        ),
        None,
        env={"SENTRY_DSN": sentry.dsn},
    )

    assert reported(sentry) == []
    assert [post.json()["errorMessage"] for post in served.posts] == ["unseen"]


def test_errors_after_the_response_are_reported_from_the_log(serve: Serve, sentry: SentryServer) -> None:
    """They fail no call that a decorator could see; the runtime logs them, and Sentry reports what is logged."""
    served = serve(
        with_setup(
            """
            def mail():
                raise ValueError("mail")

            @serverless_function
            @after_response
            def handler(event, context):
                wait_until(mail)
                yield "done"
                raise ValueError("rest")
            """
        ),
        None,
        env={"SENTRY_DSN": sentry.dsn},
    )

    assert served.answers == ["done"]
    assert sorted(reported(sentry)) == [("ValueError", "mail"), ("ValueError", "rest")]


def test_breadcrumbs_and_tags_stay_in_their_invocation(serve: Serve, sentry: SentryServer) -> None:
    """The decorator gives each call a scope of its own, which its coroutine works in."""
    serve(
        with_setup(
            """
            from lambda_ric import blocking

            @serverless_function
            @blocking
            async def handler(event, context):
                await asyncio.sleep(0)
                sentry_sdk.set_tag(event, event)
                raise ValueError(event)
            """
        ),
        "first",
        "second",
        env={"SENTRY_DSN": sentry.dsn},
    )

    assert [event["tags"] for event in reports(sentry)] == [{"first": "first"}, {"second": "second"}]
