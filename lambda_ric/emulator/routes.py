"""
Every URL that an environment serves, on one screen.
"""

from __future__ import annotations

from .runtime_api import RefusedError, RuntimeAPI
from .server import Reply, Request


async def dispatch(api: RuntimeAPI, request: Request) -> Reply:
    """Answer *request* by *api*, or say that there is no such page."""
    try:
        match request.method, *request.segments:
            case "GET", "2018-06-01", "ping":
                return api.ping()
            case "GET", "2018-06-01", "runtime", "invocation", "next":
                return await api.next()
            case "POST", "2018-06-01", "runtime", "invocation", request_id, "response":
                return await api.response(request_id, request)
            case "POST", "2018-06-01", "runtime", "invocation", request_id, "error":
                return await api.error(request_id, request)
            case "POST", "2018-06-01", "runtime", "init", "error":
                return await api.init_error(request)
    except RefusedError as refused:
        return refused.reply()
    return Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
