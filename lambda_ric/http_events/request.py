"""
HTTP events as requests, and the responses in the form that each source of them wants.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html

"Recorded" marks what these pages do not say, and was seen with the real services.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode

from lambda_ric.errors import UnsupportedEventError

from .fields import address, body, field, header_pairs, malformed, port, required, string_lists, strings, text
from .paths import below, decoded, mount_point, received, split_at_resource
from .responses import by_name, content, description, joined, joined_and_cookies, single_and_repeated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Document = Mapping[str, Any]

# Every visible character: what is in a query string stays as it is.
_QUERY = "".join(map(chr, range(0x21, 0x7F)))


class HTTPRequest:
    """
    The request of an HTTP event.

    ``path`` is decoded and begins with ``root_path``, as ASGI has it;
    ``raw_path`` and ``query_string`` are percent-encoded. The names of headers
    are in lower case, repeated ones are repeated, and all cookies are in one
    ``cookie``. ``can_stream`` is whether the source is of a kind that can pass
    on a streamed response; whether it is set to do so, no event tells.
    """

    source = ""
    can_stream = False

    @classmethod
    def of(cls, event: object, root_path: str | None = None) -> HTTPRequest:
        """
        Return the request that *event* describes.

        *root_path*, the path that the application is mounted at, replaces the
        one that the event shows. It is needed where no event shows it: behind
        a CDN that takes a prefix away, or an API mapping of an HTTP API.

        Raises:
            UnsupportedEventError: It is no HTTP event, or a malformed one.
        """
        return _source_of(event)(event, root_path)

    def __init__(self, event: Any, root_path: str | None) -> None:
        context: Document = event["requestContext"]
        named = [(name.lower(), value) for name, value in self._headers(event)]
        headers = dict(named)
        mount, path = self._location(event, context)
        if root_path is not None:
            mount = mount_point(root_path)
            path = below(mount, path) or path

        self.method = self._method(event, context).upper()
        self.path = unquote(mount + path)
        self.raw_path = (mount + path).encode()
        self.root_path = unquote(mount)
        self.query_string = self._query_string(event).encode()
        self.body = body(event)
        self.headers = list(header_pairs(named, self.body))
        self.scheme = "http" if headers.get("x-forwarded-proto", "").lower() == "http" else "https"
        self.http_version = {"HTTP/1.0": "1.0", "HTTP/2.0": "2"}.get(self._protocol(context), "1.1")
        # The port is known of load balancers only, if they are set to tell it.
        source_ip = self._source_ip(context, headers)
        self.client = address(source_ip, 0) if source_ip else None
        default_port = port(headers.get("x-forwarded-port", ""), 80 if self.scheme == "http" else 443)
        self.server = address(headers["host"], default_port) if headers.get("host") else None

    def response(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> dict[str, Any]:
        """
        Return what the handler has to return for this response.

        The answer to HEAD keeps the content-length that it was given; whether
        the client sees it is up to the source.

        Raises:
            ValueError: *status* is not one of 200 to 599; a function cannot send others.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"a function cannot answer with the status {status}, only with 200 to 599")
        named = by_name(headers)
        bodiless = self.method == "HEAD" or status in (204, 304)
        return {"statusCode": status, **self._head(status, named), **content(named, b"" if bodiless else body)}

    # What differs from source to source...

    def _method(self, event: Document, context: Document) -> str:
        return required(event, "httpMethod")

    def _headers(self, event: Document) -> list[tuple[str, str]]:
        return string_lists(event, "multiValueHeaders") or strings(event, "headers")

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        """Return where the application is mounted, and the path below it, both percent-encoded."""
        raise NotImplementedError

    def _query_string(self, event: Document) -> str:
        raise NotImplementedError

    def _parameters(self, event: Document) -> list[tuple[str, str]]:
        return string_lists(event, "multiValueQueryStringParameters") or strings(event, "queryStringParameters")

    def _protocol(self, context: Document) -> str:
        return text(context, "protocol")

    def _source_ip(self, context: Document, headers: dict[str, str]) -> str:
        raise NotImplementedError

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        raise NotImplementedError


class _RESTRequest(HTTPRequest):
    """Payload format 1.0, from a REST API."""

    source = "api-gateway-v1"
    can_stream = True

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        # Recorded: the path is encoded as it was received. The stage is in the context's path only; the base path of
        # a custom domain is in both, and so is the stage if the mapping leaves it to the URL.
        path, stage, whole = received(required(event, "path")), text(context, "stage"), text(context, "path")
        if stage and received(whole).rstrip("/") == f"/{stage}{path}".rstrip("/"):
            return f"/{stage}", path
        return _split_at_resource(event, path) if received(whole) == path else ("", path)

    def _query_string(self, event: Document) -> str:
        # They come decoded: encoded again they mean the same, but the order of different names is lost.
        return urlencode(self._parameters(event), errors="replace")

    def _source_ip(self, context: Document, headers: dict[str, str]) -> str:
        return text(field(context, "identity", dict) or {}, "sourceIp")

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        return single_and_repeated(headers)


class _HTTPAPIRequestV1(_RESTRequest):
    """Payload format 1.0, from an HTTP API: it cannot stream, and its path is like that of format 2.0."""

    can_stream = False

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        path = decoded(required(event, "path"))
        mount, rest = _split_at_resource(event, path)
        return (mount, rest) if mount else _split_at_stage(context, path)


class _FunctionURLRequest(HTTPRequest):
    """Payload format 2.0, from a function URL."""

    source = "function-url"
    can_stream = True

    def _method(self, event: Document, context: Document) -> str:
        return required(context["http"], "method")

    def _headers(self, event: Document) -> list[tuple[str, str]]:
        # Repeated ones come as one, joined by commas; that stays, since a comma may be part of a value.
        headers, cookies = strings(event, "headers"), field(event, "cookies", list)
        if not cookies:
            return headers
        if not all(isinstance(cookie, str) for cookie in cookies):
            raise malformed("cookies", "an array of strings")
        # Recorded: a function URL has them among the headers as well.
        return [*((name, value) for name, value in headers if name.lower() != "cookie"), ("cookie", "; ".join(cookies))]

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        # Recorded: it is encoded as it was received, whereas the context's path is decoded.
        return "", received(required(event, "rawPath"))

    def _query_string(self, event: Document) -> str:
        return quote(text(event, "rawQueryString"), _QUERY, errors="replace")

    def _protocol(self, context: Document) -> str:
        return text(context["http"], "protocol")

    def _source_ip(self, context: Document, headers: dict[str, str]) -> str:
        return text(context["http"], "sourceIp")

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        return joined_and_cookies(headers)


class _HTTPAPIRequestV2(_FunctionURLRequest):
    """Payload format 2.0, from an HTTP API."""

    source = "api-gateway-v2"
    can_stream = False

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        # Recorded: it is decoded, once or twice, and cut off at a question mark. What the client sent is lost.
        return _split_at_stage(context, decoded(required(event, "rawPath")))


class _LoadBalancerRequest(HTTPRequest):
    """From an Application Load Balancer, whose target group uses multi-value headers or does not."""

    source = "alb"

    def __init__(self, event: Any, root_path: str | None) -> None:
        super().__init__(event, root_path)
        self._multi_value = event.get("multiValueHeaders") is not None

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        # Recorded: it is encoded as it was received.
        return "", received(required(event, "path"))

    def _query_string(self, event: Document) -> str:
        # They are not decoded. Without multi-value headers only the last one of a name is there.
        parameters = (f"{name}={value}" for name, value in self._parameters(event))
        return quote("&".join(parameters), _QUERY, errors="replace")

    def _source_ip(self, context: Document, headers: dict[str, str]) -> str:
        # The load balancer adds what it sees at the end; what comes before is anybody's claim. Health checks have none.
        return headers.get("x-forwarded-for", "").rpartition(",")[2].strip()

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        shown = {"multiValueHeaders": headers} if self._multi_value else joined(headers)
        return {"statusDescription": description(status), **shown}


def _source_of(event: object) -> type[HTTPRequest]:
    context = event.get("requestContext") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(context, dict):
        raise _unsupported(event)
    if context.get("eventType") in ("CONNECT", "MESSAGE", "DISCONNECT"):
        raise UnsupportedEventError(
            "this is an event of a WebSocket API of API Gateway, and the application is served over HTTP only: give "
            "the routes $connect, $disconnect and $default a function of their own, which sends through @connections"
        )
    if event.get("type") in ("REQUEST", "TOKEN"):
        raise UnsupportedEventError(
            "this is an event for a Lambda authorizer of API Gateway: give the authorizer a function of its own"
        )
    if "elb" in context:
        return _LoadBalancerRequest
    if isinstance(context.get("http"), dict):
        of_api = _of_execute_api(context) or context.get("domainPrefix") != context.get("apiId")
        return _HTTPAPIRequestV2 if of_api else _FunctionURLRequest
    if "httpMethod" in event and "path" in event:
        # Events of REST APIs have no version.
        return _HTTPAPIRequestV1 if event.get("version") == "1.0" else _RESTRequest
    raise _unsupported(event)


def _unsupported(event: object) -> UnsupportedEventError:
    seen = f"a {type(event).__name__}"
    if isinstance(event, dict):
        # Names only: values may be secrets.
        names = ", ".join(sorted(repr(name)[:40] for name in event)[:10])
        seen = f"an object with the fields {names}" if names else "an empty object"
    return UnsupportedEventError(
        "expected an HTTP event of API Gateway, a function URL or an Application Load Balancer, "
        f"but this is {seen}: give other events a function of their own"
    )


def _of_execute_api(context: Document) -> bool:
    return ".execute-api." in str(context.get("domainName"))


def _split_at_resource(event: Document, path: str) -> tuple[str, str]:
    return split_at_resource(path, text(event, "resource"), field(event, "pathParameters", dict) or {})


def _split_at_stage(context: Document, path: str) -> tuple[str, str]:
    stage = text(context, "stage") or "$default"
    rest = below(f"/{stage}", path)
    if stage == "$default" or rest is None:
        return "", path
    # Recorded: under a custom domain the stage is there as well, though it is not in the URL.
    return f"/{stage}" if _of_execute_api(context) else "", rest
