"""
The page as it is served, and to whom.
"""

from __future__ import annotations

import base64
import hashlib
import json

import anyio
import pytest

from lambda_ric.emulator import examples
from lambda_ric.emulator.feed import Feed
from lambda_ric.emulator.function import Function
from lambda_ric.emulator.messages import Reply, Request
from lambda_ric.emulator.page import Page, same_site

HOST = "localhost:9000"


def request(target: str = "/_/", method: str = "GET", host: str = HOST, **headers: str) -> Request:
    return Request(method, target, {"host": host, **headers}, b"")


def serve(asked: Request) -> Reply:
    return anyio.run(Page(Feed(Function(handler="app.handler", caller={}))).serve, asked)


def text(reply: Reply) -> str:
    assert isinstance(reply.body, bytes)
    return reply.body.decode()


def test_page_may_run_its_own_script_and_nothing_else() -> None:
    """
    The policy names the script and the style by their hashes: whatever else got into the page would be inert.
    """
    reply = serve(request())
    policy = dict(part.split(" ", 1) for part in str(reply.headers["Content-Security-Policy"]).split("; "))

    def digest(tag: str) -> str:
        _, _, rest = text(reply).partition(f"<{tag}>")
        return base64.b64encode(hashlib.sha256(rest.partition(f"</{tag}>")[0].encode()).digest()).decode()

    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == f"'sha256-{digest('script')}'"
    assert policy["style-src"] == f"'sha256-{digest('style')}'"
    assert (reply.headers["X-Content-Type-Options"], reply.headers["Cache-Control"]) == ("nosniff", "no-store")


def test_page_holds_no_markup_that_its_policy_forbids() -> None:
    """
    One script, one style, no attribute with either: those would be dropped without a word.
    """
    html = text(serve(request()))

    assert (html.count("<script"), html.count("<style"), html.count("style=")) == (1, 1, 0)
    assert "innerHTML" not in html
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_examples_are_served_by_name() -> None:
    events = json.loads(text(serve(request("/_/examples"))))

    assert events == {name: json.loads(examples.example(name)) for name in examples.names()}


def test_feed_is_a_stream_of_events() -> None:
    reply = serve(request("/_/feed"))

    assert reply.headers["Content-Type"] == "text/event-stream"
    assert not isinstance(reply.body, bytes)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("/_"), 308),
        (request("/_/nothing"), 404),
        (request("/_/feed/more"), 404),
        (request("/_/", "POST"), 405),
        (request("/_/feed", "DELETE"), 405),
        (request("/_/", "HEAD"), 200),
        (request("/_/", host="attacker.example"), 403),
    ],
)
def test_other_requests_get_a_clear_answer(asked: Request, status: int) -> None:
    assert serve(asked).status == status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9000", "function.localhost:9000", "127.0.0.1:9000", "127.1.2.3", "[::1]:9000"],
)
def test_names_of_this_machine_are_ours(host: str) -> None:
    assert same_site(request(host=host))
    assert same_site(request(host=host, origin=f"http://{host}"))


@pytest.mark.parametrize(
    "host",
    ["", "example.org", "localhost.example.org", "127.0.0.1.example.org", "notlocalhost", "192.168.0.7:9000", "::1"],
)
def test_name_of_somebody_else_that_points_here_is_refused(host: str) -> None:
    """
    DNS rebinding: the browser takes us for that site, and lets its page read whatever we say.
    """
    assert not same_site(request(host=host))


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://localhost", "http://localhost:8080", "https://localhost:9000"]
)
def test_page_of_another_origin_is_refused(origin: str) -> None:
    """
    A browser sends a form's post to localhost without asking us, but it tells where the form came from.
    """
    assert not same_site(request(origin=origin))
