"""
An AWS service that speaks JSON: signed requests, and what its refusals mean.

Loaded when the first task that may need it is handed over.
"""

from __future__ import annotations

import json
import time

from .credentials import CredentialChain
from .failure import ServiceError
from .http_client import HTTPClient
from .signature import signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .credentials import Credentials

_TRANSIENT = {
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "TooManyRequestsException",
}
_LONGEST_REASON = 300
# Of these statuses a gateway says that it has not heard either.
_UNHEARD = (502, 504)


class Service:
    """
    The service *name* of *region* at *endpoint*.

    Its connections and its credentials outlive the invocations. Several threads may use it.
    """

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        scheme, _, rest = endpoint.partition("://")
        host, slash, path = rest.partition("/")
        self._client = HTTPClient(f"{scheme}://{host}")
        self._prefix = (slash + path).rstrip("/")
        self._name = name
        self._region = region
        self._chain = CredentialChain()
        self._signed_by: Credentials | None = None

    def prepare(self, within: float) -> None:
        """
        Find the credentials and load what sending needs, in *within* seconds, without sending anything.

        Raises:
            ServiceError: There are no credentials, or the proxy or the certificates of the environment are none.
        """
        self._client.prepare()
        self._signed_by = self._chain.current(within)

    def post(
        self,
        path: str,
        headers: dict[str, str],
        body: bytes,
        until: float,
        sending: Callable[[], object],
        *,
        method: str = "POST",
        expected: int = 200,
    ) -> Any:
        """
        Send a request; return the document of its answer, None if that is empty.

        *until* is the end of the time, in seconds of the monotonic clock. *sending* is called right before anything is
        sent, and raises if nothing may be sent any more.

        Raises:
            ServiceError: The answer has another status than *expected* or is no JSON, or there is none.
        """
        path = self._prefix + path
        try:
            credentials = self._signed_by = self._chain.current(until - time.monotonic())
            headers = {"Host": self._client.host, **headers}
            headers = signed(method, path, headers, body, credentials, self._name, self._region)
            reply = self._client.send(method, path, headers, body, until, sending)
        except ServiceError as error:
            raise ServiceError(self.told(str(error)), again=error.again, heard=error.heard) from None
        try:
            document = json.loads(reply.body) if reply.body else None
        except (ValueError, RecursionError):
            if reply.status == expected:
                raise ServiceError("the answer is not JSON", again=True, heard=False) from None
            document = None
        if reply.status != expected:
            raise self._refusal(reply.status, reply.headers.get("x-amzn-errortype", ""), document)
        return document

    def told(self, text: str) -> str:
        """Return what may be logged of *text*, which is the service's or a library's."""
        # After the first line AWS quotes what it had wanted to be signed, the token included; others quote the token
        # where it suits them.
        if self._signed_by is not None:
            for secret in (self._signed_by.secret, self._signed_by.token):
                text = text.replace(secret.strip(), "***") if secret and secret.strip() else text
        return text.strip().partition("\n")[0].rstrip()[:_LONGEST_REASON]

    def close(self) -> None:
        """Close the connections; the next request opens another one."""
        self._client.close()

    def _refusal(self, status: int, error_type: str, document: Any) -> ServiceError:
        document = document if isinstance(document, dict) else {}
        # On the wire: com.amazonaws.sqs#QueueDoesNotExist, ThrottlingException:http://…
        code = str(error_type or document.get("__type") or "").rpartition("#")[2].partition(":")[0]
        message = document.get("message") or document.get("Message")
        text = f"status {status}{f' {code}' if code else ''}{f': {message}' if message else ''}"
        again = status >= 500 or status in (408, 429) or is_transient(code)
        return ServiceError(self.told(text), again=again, heard=status not in _UNHEARD, status=status)


def is_transient(code: str) -> bool:
    """Return whether *code* is that of an error which a later attempt may not have."""
    return code in _TRANSIENT or "throttl" in code.lower()
