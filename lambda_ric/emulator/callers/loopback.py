"""
The only addresses that the emulator sends anything to: those of this machine.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from lambda_ric.errors import ConfigurationError

# By RFC 6761; and what LocalStack calls itself.
_LOCAL_NAMES = (".localhost", ".localhost.localstack.cloud")


def loopback_url(text: str, what: str) -> SplitResult:
    """
    Return the parts of the URL *text*, which *what* was set to; names that stand for this machine are its address then.

    Raises:
        ConfigurationError: It is not an ``http://`` URL, or not one of this machine: events must not leave it.
    """
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as exc:
        raise ConfigurationError(f"{what} {text!r} is not a URL: {exc}") from exc
    if url.scheme != "http" or not host or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(f"{what} {text!r} is not a URL of the form http://localhost:PORT")
    if url.username is not None or url.query or url.fragment:
        raise ConfigurationError(f"{what} {text!r} has a user, a query or a fragment, which mean nothing here")
    if host != "localhost" and f".{host}".endswith(_LOCAL_NAMES):
        # Without a look into the DNS, which might say something else.
        return url._replace(netloc=f"127.0.0.1:{port}" if port else "127.0.0.1")
    if not _is_loopback(host):
        raise ConfigurationError(f"{what} {text!r} is not on this machine: the emulator sends events to localhost only")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
