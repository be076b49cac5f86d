"""
Every URL that an environment serves, on one screen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from lambda_ric.emulator.http.messages import NOT_FOUND, Later, RefusedError, Reply, Request
from lambda_ric.emulator.http.origin import same_site

from .extensions_api import ExtensionsAPI
from .metadata_api import MetadataAPI
from .runtime_side import RuntimeSide
from .telemetry_api import LOGS_NOT_SUPPORTED, TelemetryAPI

Answer = Callable[[], Reply | Later | Awaitable[Reply]]


class Routes:
    """The four APIs of an environment under one address; another runtime may be put in the place of the first."""

    def __init__(
        self, runtime: RuntimeSide, extensions: ExtensionsAPI, telemetry: TelemetryAPI, metadata: MetadataAPI
    ) -> None:
        self.runtime = runtime
        self._extensions = extensions
        self._telemetry = telemetry
        self._metadata = metadata

    def dispatch(self, request: Request) -> Reply | Later | Awaitable[Reply]:
        """
        Answer *request*, or say that there is no such page.

        Raises:
            RefusedError: It comes from a web page of somebody else, which must not have the event of a function.
        """
        if not same_site(request):
            raise RefusedError(403, "AccessDeniedException", "only for programs of this machine, under a local name")
        answer = self._route(request.method, request)
        if answer is not None:
            return answer()
        allowed = [method for method in ("GET", "POST", "PUT") if self._route(method, request)]
        return Reply(405, b"", {"Allow": allowed}) if allowed else NOT_FOUND

    def _route(self, method: str, request: Request) -> Answer | None:
        runtime, extensions = self.runtime, self._extensions
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
                return partial(self._telemetry.subscribe, request)
            case "PUT", "2020-08-15", "logs":
                return lambda: LOGS_NOT_SUPPORTED
            case "GET", "2026-01-15", "metadata", "execution-environment":
                return partial(self._metadata.describe, request)
        return None
