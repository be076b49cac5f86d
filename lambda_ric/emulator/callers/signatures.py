"""
What the signature of a request says without being checked: the service that the request is meant for.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
"""

from __future__ import annotations

import re
from urllib.parse import unquote
from xml.sax.saxutils import escape

from lambda_ric.emulator.http.messages import Reply, Request, json_reply

# The last two parts of a credential scope, which has no region in the asymmetric kind of signature.
_SCOPE = re.compile(r"(?:^AWS4-|[?&]X-Amz-)\S*.*?Credential=[^,\s&]*?/([^/,\s&]+)/aws4_request")

LAMBDA = "lambda"
_TAKEN = (LAMBDA, "execute-api")
_CODE = "UnknownOperationException"


def service_of(request: Request) -> str | None:
    """Return the service that *request* is signed for, in a header or in the query; None without a signature."""
    for text in (request.headers.get("authorization", ""), unquote(f"?{request.query}")):
        if "/aws4_request" in text and (match := _SCOPE.search(text)):
            return match[1]
    return None


def refusal(service: str, request: Request) -> Reply | None:
    """Return what a request for another *service* is told, so that the SDKs show it; None if it is for a function."""
    if service in _TAKEN:
        return None
    text = (
        f"This is a local Lambda, and the request is signed for the service {service!r}: it was not passed on. "
        "AWS_ENDPOINT_URL sends the requests of all services here, AWS_ENDPOINT_URL_LAMBDA those of Lambda alone."
    )
    headers = {"x-amzn-ErrorType": _CODE}
    if "json" in request.headers.get("content-type", ""):
        return json_reply(400, {"__type": _CODE, "message": text}, headers)
    error = f"<Error><Type>Sender</Type><Code>{_CODE}</Code><Message>{escape(text)}</Message></Error>"
    body = error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
    return Reply(400, body.encode(), {"Content-Type": "text/xml", **headers})
