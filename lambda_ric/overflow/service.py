"""
An AWS service: requests signed by botocore, sent over httpx. Both are loaded with the first one.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from importlib.machinery import PathFinder

from lambda_ric.errors import ConfigurationError
from lambda_ric.protocol import USER_AGENT
from lambda_ric.threads import SENDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import httpx

_TRANSIENT = {
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "TooManyRequestsException",
}
_LONGEST_REASON = 300


class ServiceError(Exception):
    """The service did not do what it was asked for; the text has no secrets. *again*: it may do so the next time."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Service:
    """
    The service *name* of *region* at *endpoint*.

    Its connection and its credentials outlive the invocations. Several threads may use it.

    Raises:
        ConfigurationError: botocore is not installed.
    """

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        if PathFinder.find_spec("botocore") is None:
            raise ConfigurationError(
                "handing tasks over to AWS needs botocore, which is not installed: pip install 'lambda-ric[sqs]'"
            )
        self.endpoint = endpoint.rstrip("/")
        self._region = region
        self._name = name
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._credentials: Any = None
        self._signed_by: Any = None

    def prepare(self) -> None:
        """
        Load what sending needs: on a small function, seconds that had better not be those before a deadline.

        Raises:
            ServiceError: There are no credentials, or the proxy of the environment is none.
        """
        try:
            self._open()
        except Exception as error:
            raise self._failure(error) from None

    def post(self, path: str, headers: dict[str, str], body: bytes, timeout: float, *, expected: int = 200) -> Any:
        """
        Send a request; return the document of its answer, None if that is empty.

        Raises:
            ServiceError: The answer has another status than *expected* or is no JSON, or there is none.
        """
        try:
            reply = self._send(self.endpoint + path, headers, body, timeout)
        except Exception as error:
            raise self._failure(error) from None
        try:
            document = json.loads(reply.content) if reply.content else None
        except (ValueError, RecursionError):
            if reply.status_code == expected:
                raise ServiceError("the answer is not JSON", again=True) from None
            document = None
        if reply.status_code != expected:
            raise self._refusal(reply.status_code, reply.headers.get("x-amzn-errortype", ""), document)
        return document

    def told(self, text: str) -> str:
        """Return what may be logged of *text*, which is the service's or a library's."""
        # After the first line AWS quotes what it had wanted to be signed, the token included; others quote the token
        # where it suits them.
        if self._signed_by is not None:
            for secret in (self._signed_by.secret_key, self._signed_by.token):
                text = text.replace(secret.strip(), "***") if secret and secret.strip() else text
        return text.strip().partition("\n")[0].rstrip()[:_LONGEST_REASON]

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> httpx.Response:
        client = self._open()
        import httpx

        signed = self._signed(url, headers, body)
        request = client.build_request("POST", url, headers=signed, content=body, timeout=timeout)
        try:
            return client.send(request)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            # A connection does not survive every freeze. No more than one is kept, so this is a new one.
            return client.send(request)

    def _open(self) -> httpx.Client:
        import ssl

        import botocore.auth  # noqa: F401  # now, and not when there is something to sign
        import httpx
        from botocore.session import Session

        with self._lock:
            if self._credentials is None:
                for name in _TALKATIVE:
                    logging.getLogger(name).addFilter(_is_not_ours)
                self._credentials = Session().get_credentials()
            if self._credentials is None:
                raise ServiceError("there are no AWS credentials", again=False)
            if self._client is None:
                # Proxies and certificates are those of the environment, as with every SDK.
                bundle = os.environ.get("AWS_CA_BUNDLE")
                self._client = httpx.Client(
                    headers={"User-Agent": USER_AGENT},
                    limits=httpx.Limits(max_keepalive_connections=1),
                    verify=ssl.create_default_context(cafile=bundle) if bundle else True,
                )
            return self._client

    def _signed(self, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("POST", url, headers=headers, data=body)
        self._signed_by = self._credentials.get_frozen_credentials()
        SigV4Auth(self._signed_by, self._name, self._region).add_auth(request)
        return dict(request.headers.items())

    def _refusal(self, status: int, error_type: str, document: Any) -> ServiceError:
        document = document if isinstance(document, dict) else {}
        # On the wire: com.amazonaws.sqs#QueueDoesNotExist, ThrottlingException:http://…
        code = str(error_type or document.get("__type") or "").rpartition("#")[2].partition(":")[0]
        message = document.get("message") or document.get("Message")
        text = f"status {status}{f' {code}' if code else ''}{f': {message}' if message else ''}"
        again = status >= 500 or status in (408, 429) or is_transient(code)
        return ServiceError(self.told(text), again=again)

    def _failure(self, error: Exception) -> ServiceError:
        import httpx

        if isinstance(error, ServiceError):
            return error
        if isinstance(error, httpx.LocalProtocolError):  # which quotes the header
            return ServiceError("the credentials or the trace id have characters that no header may have", again=False)
        again = isinstance(error, (httpx.TransportError, httpx.DecodingError))
        again = again and not isinstance(error, httpx.UnsupportedProtocol)
        return ServiceError(self.told(f"{type(error).__name__}: {error}"), again=again)


def is_transient(code: str) -> bool:
    """Return whether *code* is that of an error which a later attempt may not have."""
    return code in _TRANSIENT or "throttl" in code.lower()


# botocore logs what it signs, which the session token is part of; the others, what every request is like.
_TALKATIVE = ("botocore.auth", "botocore.credentials", "httpx")


def _is_not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != SENDER


# Where a service is...


def region_of(given: str | None, found: str | None, environ: Mapping[str, str]) -> str:
    """
    Return the region *given*, else the one *found* in a name, else that of the environment.

    Raises:
        ConfigurationError: There is none.
    """
    region = given or found or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigurationError("the AWS region is not known: set AWS_REGION, or give it as region=")
    return region


def endpoint_of(service: str, given: str | None, default: str, environ: Mapping[str, str]) -> str:
    """
    Return the endpoint *given*, else that of the environment, else *default*.

    Raises:
        ConfigurationError: It is no URL.
    """
    ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    names = () if ignored else (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
    configured = [environ[name] for name in names if environ.get(name)]
    return checked_url(f"the endpoint of {service}", given or [*configured, default][0])


def checked_url(what: str, url: str) -> str:
    """
    Return *url*.

    Raises:
        ConfigurationError: It is none, or has parts that it must not have; the text begins with *what*.
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"{what} is empty: is the variable set that it comes from?")
    if "@" in url:
        raise ConfigurationError(f"{what} has an '@': credentials do not belong there")
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    port = host.rpartition("]")[2].partition(":")[2] or "443"
    if (
        scheme not in ("http", "https")
        or host[:1] in ("", ":")
        or not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536)
        or not (url.isascii() and url.isprintable())
        or any(character in ' "<>?#\\' for character in url)
    ):
        raise ConfigurationError(f"{what}, {url!r}, is not a URL such as https://sqs.eu-west-1.amazonaws.com")
    return url
