"""The rows: what one invocation does, the event it gets and the answer it must give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HTTP_EVENT = {
    "version": "2.0",
    "routeKey": "POST /orders/{id}",
    "rawPath": "/prod/orders/o-17",
    "rawQueryString": "expand=lines&locale=en-GB&locale=de-DE",
    "cookies": ["session=4c1f0a6e7e0a4f7d9a3d5b1c2e8f6071", "consent=analytics%3Dno", "theme=dark"],
    "headers": {
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, deflate, br, zstd",
        "accept-language": "en-GB,en;q=0.9,de;q=0.8",
        "authorization": "Bearer " + 20 * "0123",
        "content-length": "154",
        "content-type": "application/json",
        "host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
        "origin": "https://shop.example.com",
        "referer": "https://shop.example.com/checkout/review",
        "sec-ch-ua": '"Chromium";v="129", "Not=A?Brand";v="8"',
        "sec-ch-ua-mobile": "?0",
        "sec-ch-ua-platform": '"Linux"',
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-site",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/129.0 Safari/537.36",
        "priority": "u=1, i",
        "via": "2.0 3f9c1e0d5b7a4c2e8f60a1b2c3d4e5f6.cloudfront.net (CloudFront)",
        "x-amzn-trace-id": "Root=1-6740a1b2-0d3c5e7f9a1b2c3d4e5f6071",
        "x-csrf-token": 16 * "4567",
        "x-request-id": "8d0f5a52-1c3e-4b7a-9f61-2e5d7c9b0a13",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    },
    "queryStringParameters": {"expand": "lines", "locale": "en-GB,de-DE"},
    "pathParameters": {"id": "o-17"},
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "a1b2c3d4e5",
        "authorizer": {"jwt": {"claims": {"sub": "42", "iss": "https://id.example.com", "scope": "orders"}}},
        "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
        "domainPrefix": "a1b2c3d4e5",
        "http": {
            "method": "POST",
            "path": "/prod/orders/o-17",
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.7",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/129.0 Safari/537.36",
        },
        "requestId": "JKJaXmPLvHcESHA=",
        "routeKey": "POST /orders/{id}",
        "stage": "prod",
        "time": "21/Nov/2026:02:05:01 +0000",
        "timeEpoch": 1795226701000,
    },
    "body": '{"lines": [{"sku": "kettle-0001", "quantity": 1}], "pay": 1, "note": "Ring the bell, twice."}',
    "isBase64Encoded": False,
}


@dataclass(frozen=True, slots=True)
class Case:
    """
    One kind of invocation.

    *answer* holds what the body posted back must contain; with an `errorType` in it, it must go to `/error`.
    """

    name: str
    title: str
    handler: str
    answer: dict[str, Any]
    event: Any = None
    ours_alone: bool = False
    streamed: bool = False

    @property
    def endpoint(self) -> str:
        return "error" if "errorType" in self.answer else "response"


OK = {"ok": True}
EMPTY = Case("empty", "empty handler", "app.empty", OK)
CASES = {
    case.name: case
    for case in (
        EMPTY,
        Case("http", "API Gateway event (2 KB), dict of 1.3 KB", "app.order", {"order": "o-17"}, HTTP_EVENT),
        Case("logging", "one `log.warning`, one `print`", "chatty.handler", OK),
        Case("error", "handler raises", "app.failing", {"errorType": "OrderError"}),
        Case("wait-until", "`wait_until(callable)`", "deferring.callable_afterwards", OK, ours_alone=True),
        Case("async", "`async def` handler", "deferring.asynchronous", OK, ours_alone=True),
    )
}
SOAK = Case("soak", "work of every kind", "soaking.handler", OK, ours_alone=True)
# What of the soak's function runs in one invocation, by its own count.
RUNS_ONCE = ("function", "coroutine", "retried function", "retried coroutine", "failing", "overflowed", "rest")
RUNS = dict.fromkeys(RUNS_ONCE, 1) | {"failed attempt": 2, "one of two with the same key": 1, "one at a time": 2}
