"""
The page as it is served, and to whom.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
import pytest

from lambda_ric.emulator.callers import page
from lambda_ric.emulator.callers.feed import Feed
from lambda_ric.emulator.callers.page import Page
from lambda_ric.emulator.function import examples
from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.messages import Reply, Request
from lambda_ric.emulator.http.origin import same_site

HOST = "localhost:9000"
IMPORT = re.compile(r'^import .*?"\./([\w.]+)";$', re.MULTILINE)


def request(target: str = "/_/", method: str = "GET", host: str = HOST, **headers: str) -> Request:
    return Request(method, target, {"host": host, **headers}, b"")


def serve(asked: Request) -> Reply:
    return anyio.run(Page(Feed(Function(handler="app.handler", caller={}))).serve, asked)


def text(reply: Reply) -> str:
    assert isinstance(reply.body, bytes)
    return reply.body.decode()


def policy_of(reply: Reply) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in str(reply.headers["Content-Security-Policy"]).split("; "))


def test_page_may_run_its_own_scripts_and_nothing_else() -> None:
    """
    They are files of their own: whatever else got into the page would be inert.
    """
    reply = serve(request())
    policy = policy_of(reply)

    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert (policy["script-src"], policy["style-src"]) == ("'self'", "'self'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert (reply.headers["X-Content-Type-Options"], reply.headers["Cache-Control"]) == ("nosniff", "no-store")


def test_page_holds_no_markup_that_its_policy_forbids() -> None:
    """
    No inline script or style, no attribute with either: those would be dropped without a word.
    """
    html = text(serve(request()))

    assert not re.search(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=)", html)
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_everything_that_the_page_loads_is_served() -> None:
    """
    Each file with its type; the scripts name each other, and never a place elsewhere.
    """
    wanted = re.findall(r'(?:href|src)="([\w.]+)"', text(serve(request())))
    found = {}
    while wanted:
        name = wanted.pop()
        reply = serve(request(f"/_/{name}"))
        assert reply.status == 200, name
        found[name] = reply.headers["Content-Type"]
        imported = IMPORT.findall(text(reply))
        wanted += [each for each in imported if each not in found]
        assert "innerHTML" not in text(reply)

    assert {"page.css", "page.js", "list.js", "logs.js"} <= set(found)
    assert {name.rpartition(".")[2]: kind for name, kind in found.items()} == {
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
    }


def test_scripts_import_from_rows_below_their_own() -> None:
    """
    The rows, from the page to its parts; each state has one writer, whose module the others read.
    """
    parts = ["banner examples list", "card share", "timeline", "invocation layout", "feed event_stream", "dom"]
    rows = ["page", "form logs", *parts]
    heights = {f"{name}.js": height for height, row in enumerate(reversed(rows)) for name in row.split()}
    directory = Path(page.__file__).with_name("browser")
    found = {path.name: set(IMPORT.findall(path.read_text())) for path in directory.glob("*.js")}

    assert found.keys() == heights.keys()
    upward = [(name, each) for name, imports in found.items() for each in imports if heights[each] >= heights[name]]
    assert upward == []


def test_examples_are_served_by_name() -> None:
    events = json.loads(text(serve(request("/_/examples"))))

    assert events == {name: json.loads(examples.example(name)) for name in examples.example_names()}


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
        (request("/_/page.html"), 404),
        (request("/_/page.js/more"), 404),
        (request("/_/%2e%2e%2fpage.py"), 404),
        (request("/_/page.js", "POST"), 405),
        (request("/_/page.js", host="attacker.example"), 403),
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
