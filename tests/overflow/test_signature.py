"""
Signature Version 4: held against AWS's own test suite, and against botocore.
"""

from __future__ import annotations

import calendar
import string

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric.overflow.credentials import Credentials
from lambda_ric.overflow.signature import signed

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = calendar.timegm((2015, 8, 30, 12, 36, 0))
HOST = {"Host": "example.amazonaws.com"}
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
UNRESERVED = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {
    "Content-Type": "application/x-www-form-urlencoded",
    **HOST,
    "Content-Length": "13",
    "x-amz-content-sha256": "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
}

# https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4: those without a query.
SUITE = {
    "get-vanilla": ("GET", "/", HOST, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "post-vanilla": ("POST", "/", HOST, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "post-header-key-sort": (
        "POST",
        "/",
        {**HOST, "My-Header1": "value1"},
        b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "get-header-value-trim": (
        "GET",
        "/",
        {**HOST, "My-Header1": " value1", "My-Header2": ' "a   b   c"'},
        b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-x-www-form-urlencoded": (
        "POST",
        "/",
        FORM,
        b"Param1=value1",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
    "get-unreserved": (
        "GET",
        UNRESERVED,
        HOST,
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-utf8": ("GET", "/ሴ", HOST, b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    "get-space": (
        "GET",
        "/example space/",
        HOST,
        b"",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
}


@pytest.mark.parametrize("name", SUITE)
def test_signature_is_that_of_the_test_suite_of_aws(name: str) -> None:
    """To the character, with the names of what is signed."""
    method, path, headers, body, signature = SUITE[name]
    all_headers = signed(method, path, headers, body, Credentials(KEY, SECRET, None), "service", "us-east-1", NOW)

    names = ";".join(sorted([*(header.lower() for header in headers), "x-amz-date"]))
    assert all_headers["X-Amz-Date"] == "20150830T123600Z"
    assert all_headers["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, "
        f"Signature={signature}"
    )


def test_token_of_the_session_is_sent_and_signed() -> None:
    """As get-vanilla-with-session-token of the same suite has it."""
    all_headers = signed("GET", "/", HOST, b"", Credentials(KEY, SECRET, TOKEN), "service", "us-east-1", NOW)

    assert all_headers["X-Amz-Security-Token"] == TOKEN
    assert all_headers["Authorization"].endswith(
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
    )


@given(
    st.text(string.ascii_letters + string.digits + "-_.~%:$", min_size=1).filter(lambda part: part not in (".", "..")),
    st.text(string.ascii_letters + " ,;=\t"),
    st.binary(),
    st.none() | st.text(string.ascii_letters + "/+=", min_size=1),
)
def test_signature_is_that_of_botocore(part: str, value: str, body: bytes, token: str | None) -> None:
    """For whatever path, header, body and token; the trace is left out, as there."""
    headers = {"Host": "lambda.eu-west-1.amazonaws.com", "X-Amz-Target": value.strip(), "X-Amzn-Trace-Id": "Root=1"}
    ours = signed("POST", f"/functions/{part}", headers, body, Credentials(KEY, SECRET, token), "lambda", "eu-west-1")
    request = AWSRequest("POST", f"https://local/functions/{part}", headers=dict(ours), data=body)
    del request.headers["Authorization"]
    request.context["timestamp"] = ours["X-Amz-Date"]
    auth = SigV4Auth(BotocoreCredentials(KEY, SECRET, token), "lambda", "eu-west-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))

    assert ours["Authorization"].endswith(f"Signature={auth.signature(text, request)}")
