"""
Everything under ``/_/``: the page, its scripts, its feed, the events that its form offers, and who may have them.
"""

from __future__ import annotations

import json
from pathlib import Path

from lambda_ric.emulator.function import examples
from lambda_ric.emulator.http.messages import JSON, NOT_FOUND, Reply, Request, json_reply
from lambda_ric.emulator.http.origin import same_site

from .feed import Feed

_BROWSER = Path(__file__).with_name("browser")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# The page may load what is served beside it, and run nothing else: what got into it would be inert.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Page:
    """Serves ``/_/``, what it loads, ``/_/feed`` and ``/_/examples``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._files = _files()

    async def serve(self, request: Request) -> Reply:
        """Answer *request*, whose first segment is ``_``."""
        if not same_site(request):
            return json_reply(
                403, {"errorType": "AccessDeniedException", "errorMessage": "only for pages and programs of localhost"}
            )
        match request.segments[1:]:
            case () | ("",):
                found = self._files[""] if request.path == "/_/" else _moved()
            case (name,) if name in self._files:
                found = self._files[name]
            case ("feed",):
                found = Reply(200, self._feed.subscribe(), {**_HEADERS, "Content-Type": "text/event-stream"})
            case ("examples",):
                events = {name: json.loads(examples.example(name)) for name in examples.example_names()}
                found = Reply(200, json.dumps(events).encode(), {**_HEADERS, "Content-Type": JSON})
            case _:
                return NOT_FOUND
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b"405 method not allowed\n", {"Content-Type": "text/plain", "Allow": "GET, HEAD"})
        return found


def _moved() -> Reply:
    return Reply(308, headers={"Location": "/_/"})


def _files() -> dict[str, Reply]:
    """Return what the browser loads, by the last part of its path; the page itself has none."""
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    found = {}
    for path in _BROWSER.iterdir():
        headers = {**_HEADERS, "Content-Type": f"{types[path.suffix]}; charset=utf-8"}
        if path.suffix == ".html":
            headers["Content-Security-Policy"] = _POLICY
        found["" if path.suffix == ".html" else path.name] = Reply(200, path.read_bytes(), headers)
    return found
