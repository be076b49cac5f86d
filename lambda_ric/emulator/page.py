"""
Everything under ``/_/``: the page, its feed, the events that its form offers, and who may have them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from . import examples
from .feed import Feed
from .messages import JSON, NOT_FOUND, Reply, Request, json_reply

_PAGE = Path(__file__).with_name("page.html")
_LOCAL_HOST = re.compile(r"(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def same_site(request: Request) -> bool:
    """
    Say whether *request* may come from a program of the developer, or from our own page.

    A web page of somebody else can reach this port through the browser: by
    its own name made to point here, so the Host must be a local one, and by
    posting to localhost, so an Origin must be the address that was asked.
    """
    host = request.headers.get("host", "")
    if not _LOCAL_HOST.fullmatch(host):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin.lower() == f"http://{host.lower()}"


class Page:
    """Serves ``/_/``, ``/_/feed`` and ``/_/examples``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._html = _PAGE.read_bytes()
        self._headers = {
            **_HEADERS,
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _policy(self._html.decode()),
        }

    async def serve(self, request: Request) -> Reply:
        """Answer *request*, whose first segment is ``_``."""
        if not same_site(request):
            return json_reply(
                403, {"errorType": "AccessDeniedException", "errorMessage": "only for pages and programs of localhost"}
            )
        match request.segments[1:]:
            case () | ("",):
                found = Reply(200, self._html, self._headers) if request.path == "/_/" else _moved()
            case ("feed",):
                found = Reply(200, self._feed.subscribe(), {**_HEADERS, "Content-Type": "text/event-stream"})
            case ("examples",):
                events = {name: json.loads(examples.example(name)) for name in examples.names()}
                found = Reply(200, json.dumps(events).encode(), {**_HEADERS, "Content-Type": JSON})
            case _:
                return NOT_FOUND
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b"405 method not allowed\n", {"Content-Type": "text/plain", "Allow": "GET, HEAD"})
        return found


def _moved() -> Reply:
    return Reply(308, headers={"Location": "/_/"})


def _policy(html: str) -> str:
    """Return the Content-Security-Policy that allows the page its own style and script, and nothing else."""
    style, script = (_hash(html, tag) for tag in ("style", "script"))
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {style}",
            f"script-src {script}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(html: str, tag: str) -> str:
    inline = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
