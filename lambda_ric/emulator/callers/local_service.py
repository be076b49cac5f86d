"""
An AWS service of a server on this machine, such as moto or LocalStack: its requests and what its refusals say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from lambda_ric.errors import LambdaRICError

from .loopback import loopback_url

# A local server takes any, but reads the region and the service from it.
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=local/20000101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=none"
)
_JSON_1_0 = ("dynamodb", "sqs")
# Seconds that a call may take beyond the wait that it asks for.
_PATIENCE = 10.0


def region_of(text: str) -> str | None:
    """Return the region that *text* names, if it is an ARN with one."""
    parts = text.split(":")
    return parts[3] or None if len(parts) > 5 and parts[0] == "arn" else None


class LocalServiceError(LambdaRICError):
    """The server did not do what it was asked for; the text has its reason."""


class LocalService:
    """
    The service *name* of the server at *endpoint*; an async context manager.

    Raises:
        ConfigurationError: *endpoint* is not on this machine.
    """

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        self._endpoint = loopback_url(endpoint, "the endpoint of the local server").geturl().rstrip("/")
        self._content_type = f"application/x-amz-json-{'1.0' if name in _JSON_1_0 else '1.1'}"
        self._headers = {"Authorization": _AUTHORIZATION.format(region=region, service=name)}

    async def __aenter__(self) -> Self:
        # Proxies have no business between two programs of one machine, and there is no TLS to verify.
        self._client = httpx.AsyncClient(headers=self._headers, trust_env=False, verify=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def call(self, target: str, members: Mapping[str, Any], *, wait: float = 0) -> dict[str, Any]:
        """
        Call the operation *target*, such as ``AmazonSQS.SendMessage``, of a service that speaks JSON.

        *wait* is how many seconds the server is asked to wait.

        Raises:
            LocalServiceError: There is no good answer.
        """
        operation = target.rpartition(".")[2]
        headers = {"X-Amz-Target": target, "Content-Type": self._content_type}
        reply = await self._send(operation, "POST", "/", json.dumps(members).encode(), headers, _PATIENCE + wait)
        try:
            document = json.loads(reply.content or b"{}")
        except (ValueError, RecursionError) as exc:
            raise LocalServiceError(f"{operation}: {self._endpoint} answered {reply.status_code} without JSON") from exc
        if not isinstance(document, dict):
            raise LocalServiceError(f"{operation}: {self._endpoint} answered {reply.status_code} without a JSON object")
        if reply.status_code != 200:
            reason = str(document.get("message") or document.get("Message") or document.get("__type") or "no reason")
            raise LocalServiceError(f"{operation}: status {reply.status_code}: {reason[:500]}")
        return document

    async def query(self, action: str, version: str, members: Mapping[str, str]) -> str:
        """
        Call *action* of a service that speaks the query protocol in *version*; return its XML.

        Raises:
            LocalServiceError: There is no good answer.
        """
        form = str(httpx.QueryParams({"Action": action, "Version": version, **members})).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = await self._send(action, "POST", "/", form, headers, _PATIENCE)
        return _checked(action, reply)

    async def put(self, path: str, content: bytes) -> None:
        """
        Put *content* at *path*, which begins with a slash.

        Raises:
            LocalServiceError: It was not taken.
        """
        headers = {"Content-Type": "application/json"}
        _checked(f"PUT {path}", await self._send("PUT", "PUT", path, content, headers, _PATIENCE))

    async def _send(
        self, what: str, method: str, path: str, content: bytes, headers: Mapping[str, str], timeout: float
    ) -> httpx.Response:
        try:
            return await self._client.request(
                method, self._endpoint + path, content=content, headers=headers, timeout=timeout
            )
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise LocalServiceError(f"{what}: {self._endpoint} cannot be reached: {exc or type(exc).__name__}") from exc


def _checked(what: str, reply: httpx.Response) -> str:
    if reply.status_code != 200:
        reason = re.search(r"<Message>([^<]*)</Message>", reply.text)
        raise LocalServiceError(f"{what}: status {reply.status_code}: {reason[1][:500] if reason else 'no reason'}")
    return reply.text


class LocalResource:
    """
    *name*, perhaps an ARN, of the *service* at *endpoint*; an async context manager, in which it can be asked.

    Raises:
        ConfigurationError: *endpoint* is not on this machine.
    """

    def __init__(self, service: str, name: str, endpoint: str, region: str) -> None:
        self.name: str = name
        """As it was given."""
        self._service = LocalService(service, endpoint, region_of(name) or region)

    async def __aenter__(self) -> Self:
        await self._service.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._service.__aexit__(kind, exc, traceback)
