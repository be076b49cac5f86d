"""
Every URL that an environment serves, on one screen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from .messages import NOT_FOUND, Later, Reply, Request, json_reply
from .telemetry_api import LOGS_NOT_SUPPORTED

if TYPE_CHECKING:
    from .sandbox import Sandbox

Answer = Callable[[], Reply | Later | Awaitable[Reply]]


def dispatch(sandbox: Sandbox, request: Request) -> Reply | Later | Awaitable[Reply]:
    """Answer *request*, or say that there is no such page."""
    answer = _route(sandbox, request.method, request)
    if answer is not None:
        return answer()
    allowed = [method for method in ("GET", "POST", "PUT") if _route(sandbox, method, request)]
    return Reply(405, b"", {"Allow": allowed}) if allowed else NOT_FOUND


def _route(sandbox: Sandbox, method: str, request: Request) -> Answer | None:
    runtime, extensions = sandbox.runtime_api, sandbox.extensions_api
    match method, *request.segments:
        case "GET", "2018-06-01", "ping":
            return runtime.ping
        case "GET", "2018-06-01", "runtime", "invocation", "next":
            return runtime.next
        case "POST", "2018-06-01", "runtime", "invocation", request_id, "response":
            return partial(runtime.response, request_id, request)
        case "POST", "2018-06-01", "runtime", "invocation", request_id, "error":
            return partial(runtime.error, request_id, request)
        case "POST", "2018-06-01", "runtime", "init", "error":
            return partial(runtime.init_error, request)
        case "GET", "2018-06-01", "runtime", "restore", "next":
            return runtime.restore_next
        case "POST", "2018-06-01", "runtime", "restore", "error":
            return partial(runtime.restore_error, request)
        case "POST", "2020-01-01", "extension", "register":
            return partial(extensions.register, request)
        case "GET", "2020-01-01", "extension", "event", "next":
            return partial(extensions.next, request)
        case "POST", "2020-01-01", "extension", "init", "error":
            return partial(extensions.init_error, request)
        case "POST", "2020-01-01", "extension", "exit", "error":
            return partial(extensions.exit_error, request)
        case "PUT", "2022-07-01", "telemetry":
            return partial(sandbox.telemetry_api.subscribe, request)
        case "PUT", "2020-08-15", "logs":
            return lambda: LOGS_NOT_SUPPORTED
        case "GET", "2026-01-15", "metadata", "execution-environment":
            return partial(_metadata, request, sandbox.metadata_token)
    return None


def _metadata(request: Request, token: str) -> Reply:
    if request.headers.get("authorization") != f"Bearer {token}":
        return json_reply(401, {"message": "Unauthorized"})
    caching = {"Cache-Control": "private, max-age=43200, immutable"}
    return json_reply(200, {"AvailabilityZoneID": "use1-az1"}, caching)
