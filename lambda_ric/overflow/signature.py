"""
Signature Version 4 of AWS, for requests that are sent at once and have no query.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

Our own, over the standard library: botocore and `aws-sdk-signers` sign as well, and cost more memory and time to load
than a first hand-over may take before a deadline. `tests/overflow/test_signature.py` holds it against AWS's test suite,
and against botocore.
"""

from __future__ import annotations

import hashlib
import hmac
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "x-amzn-trace-id"
"""What is on the way may change it, so botocore does not sign it either."""


def signed(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    service: str,
    region: str,
    now: float | None = None,
) -> dict[str, str]:
    """
    Return *headers* and those that sign the request: the date, the token if there is one, and the signature.

    *path* is as it is sent. *headers*, all of which are signed but for the trace, have to contain the host. *now* is in
    seconds since 1970, by default the time of the clock.
    """
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    all_headers = {**headers, "X-Amz-Date": timestamp}
    if credentials.token:
        all_headers["X-Amz-Security-Token"] = credentials.token
    # Sorted by name, the values with single blanks.
    canonical = sorted(
        (name.lower(), " ".join(value.split())) for name, value in all_headers.items() if name.lower() != _UNSIGNED
    )
    names = ";".join(name for name, _ in canonical)
    lines = [method, _encoded(path), "", *(f"{name}:{value}" for name, value in canonical), "", names, _hash(body)]
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, timestamp, scope, _hash("\n".join(lines).encode())])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    all_headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={_mac(key, text).hex()}"
    )
    return all_headers


def _encoded(path: str) -> str:
    # What is encoded already is encoded once more: so all services but S3 have it.
    return "".join(chr(byte) if byte in _AS_IT_IS else f"%{byte:02X}" for byte in path.encode())


_AS_IT_IS = frozenset(b"/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
