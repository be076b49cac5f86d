"""
Who may speak to a port of the emulator: programs of this machine, and no web page of somebody else.
"""

from __future__ import annotations

import re

from .messages import Request

_LOCAL_HOST = re.compile(r"(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def same_site(request: Request) -> bool:
    """
    Say whether *request* may come from a program of the developer, or from our own page.

    A web page of somebody else can reach this port through the browser: by
    its own name made to point here, so the Host must be a local one, and by
    posting to localhost, so an Origin must be the address that was asked. A
    browser never leaves the Host out, which HTTP/1.0 allows.
    """
    host = request.headers.get("host")
    if host is not None and not _LOCAL_HOST.fullmatch(host):
        return False
    origin = request.headers.get("origin")
    return origin is None or (host is not None and origin.lower() == f"http://{host.lower()}")
