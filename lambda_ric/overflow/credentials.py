"""
The credentials that requests are signed with: those of the environment, of the container endpoint, or botocore's.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import json
import os
import threading
import time

from .failure import ServiceError
from .http_client import HTTPClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FETCHING = 2.0
"""Seconds that the container endpoint has to answer, as with botocore."""

_RENEWED = 300.0
"""How many seconds before their end credentials are renewed: a request that hangs must not outlive them."""

_ECS = "http://169.254.170.2"
# The hosts that may be asked without TLS: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
_TRUSTED = ("127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]")


class Credentials:
    """A key, its secret and the session's token, if there is one; *expires_at* is in seconds since 1970."""

    __slots__ = ("expires_at", "key_id", "secret", "token")

    def __init__(self, key_id: str, secret: str, token: str | None, expires_at: float | None = None) -> None:
        self.key_id: str = key_id
        self.secret: str = secret
        self.token: str | None = token
        self.expires_at: float | None = expires_at

    def last(self, seconds: float) -> bool:
        """Say whether they are valid in *seconds* from now."""
        return self.expires_at is None or time.time() + seconds < self.expires_at


class CredentialChain:
    """
    Finds credentials in the order of every SDK, and renews those that expire. Several threads may ask.

    The environment is read each time: a snapshot, a test and a reloading server change it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: Credentials | None = None
        self._session: Any = None

    def current(self, within: float) -> Credentials:
        """
        Return valid ones, in *within* seconds.

        Raises:
            ServiceError: There are none, or the container endpoint did not give any.
        """
        environ = os.environ
        if environ.get("AWS_ACCESS_KEY_ID"):
            return _of_environment(environ)
        with self._lock:
            uri = _container_uri(environ)
            return self._of_container(uri, environ, within) if uri else self._of_botocore()

    def _of_container(self, uri: str, environ: Mapping[str, str], within: float) -> Credentials:
        if self._kept is None or not self._kept.last(_RENEWED):
            try:
                self._kept = _fetched(uri, environ, within)
            except ServiceError:
                if self._kept is None or not self._kept.last(0.0):
                    raise
        return self._kept

    def _of_botocore(self) -> Credentials:
        # Profiles, SSO, assumed roles: what a developer's machine has, and Lambda never.
        if self._session is None:
            try:
                from botocore.session import Session
            except ImportError:
                text = f"{_NONE}; for a profile of this machine, pip install botocore"
                raise ServiceError(text, again=False) from None
            session = Session()
            # No function runs on an instance of its own; where there is none, seconds pass until that is known.
            session.get_component("credential_provider").remove("iam-role")
            self._session = session
        found = self._session.get_credentials()
        if found is None:
            raise ServiceError(_NONE, again=False)
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


_NONE = (
    "there are no AWS credentials: Lambda sets those of the function's role; on this machine, give lambda-ric some: "
    "--env AWS_ACCESS_KEY_ID=test --env AWS_SECRET_ACCESS_KEY=test, or real ones"
)


def _of_environment(environ: Mapping[str, str]) -> Credentials:
    secret = environ.get("AWS_SECRET_ACCESS_KEY")
    if not secret:
        raise ServiceError("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not", again=False)
    return Credentials(environ["AWS_ACCESS_KEY_ID"], secret, environ.get("AWS_SESSION_TOKEN"))


def _container_uri(environ: Mapping[str, str]) -> str:
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    return f"{_ECS}{relative}" if relative else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")


def _fetched(uri: str, environ: Mapping[str, str], within: float) -> Credentials:
    origin, slash, path = _split(uri)
    headers = {"Accept": "application/json"}
    token = _token(environ)
    if token:
        headers["Authorization"] = token
    try:
        endpoint = HTTPClient(origin, proxied=False)
    except ValueError:  # a port that is no number
        raise ServiceError(_NO_ENDPOINT, again=False) from None
    try:
        reply = endpoint.send("GET", slash + path or "/", headers, b"", time.monotonic() + min(within, _FETCHING))
    except ServiceError as error:
        raise ServiceError(f"{_ENDPOINT}: {error}", again=error.again) from None
    finally:
        endpoint.close()
    if reply.status != 200:
        raise ServiceError(f"{_ENDPOINT} answered with status {reply.status}", again=reply.status >= 500)
    try:
        document = json.loads(reply.body)
        expiration = document.get("Expiration")
        return Credentials(
            document["AccessKeyId"],
            document["SecretAccessKey"],
            document.get("Token"),
            None if expiration is None else _seconds(expiration),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ServiceError(f"{_ENDPOINT} answered with no credentials", again=True) from None


_ENDPOINT = "the endpoint of the container's credentials"
_NO_ENDPOINT = "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https:// nor the address of a container's own endpoint"


def _split(uri: str) -> tuple[str, str, str]:
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
    trusted = name in _TRUSTED or (name.startswith("127.") and name.replace(".", "").isdigit())
    if not name or "@" in host or not (scheme == "https" or (scheme == "http" and trusted)):
        raise ServiceError(_NO_ENDPOINT, again=False)
    return f"{scheme}://{host}", slash, path


def _token(environ: Mapping[str, str]) -> str:
    name = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if not name:
        return environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    try:
        with open(name, encoding="utf-8") as file:  # each time: it is rotated
            return file.read().strip()
    except (OSError, ValueError) as error:
        kind = type(error).__name__
        raise ServiceError(f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: {kind}", again=False) from None


def _seconds(text: str) -> float:
    from datetime import UTC, datetime  # only credentials that end need it

    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
