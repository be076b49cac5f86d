"""
What the tests of sinks on AWS share: credentials, envelopes, and the signature that a request has to have.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambda_ric.tasks.envelope import Envelope
from tests.support.fakes import Request

KEY = "AKID"
SECRET = "secret-of-the-key"
TOKEN = "token-of-the-session"

_CONFIGURED = ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_LAMBDA")
_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def set_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment that of a function: a region and credentials, and nothing else."""
    for name in _CONFIGURED + _ENDPOINTS + _PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def envelopes(count: int = 1, text: str = "", **members: Any) -> list[Envelope]:
    """Return envelopes with the ids id-0, id-1, ..."""
    return [Envelope("app:send_receipt", [number, text], {}, f"id-{number}", **members) for number in range(count)]


def authorization(request: Request, service: str, region: str) -> str:
    """Return the header that *request*, as it was received, has to have for *service*; botocore computes it."""
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {header: request.headers[header] for header in signed}
    expected = AWSRequest(request.method, f"http://local{request.path}", headers=headers, data=request.body)
    expected.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEY, SECRET, TOKEN), service, region)
    text = auth.string_to_sign(expected, auth.canonical_request(expected))
    scope, signature = auth.scope(expected), auth.signature(text, expected)
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"
