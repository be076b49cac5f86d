"""
HTTP events as requests, and the responses in the form that each source of them wants.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
    https://docs.aws.amazon.com/vpc-lattice/latest/ug/lambda-functions.html

"Recorded" marks what these pages do not say, and was seen with the real services.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode

from lambda_ric.errors import UnsupportedEventError

from .fields import (
    address,
    are_strings,
    body,
    field,
    header_pairs,
    malformed,
    merged,
    port,
    required,
    strings,
    text,
    unzipped,
    values,
)
from .paths import below, decoded, mount_point, received, split_at_resource
from .responses import (
    BODY_TYPES,
    BodyTypes,
    content,
    description,
    joined,
    joined_and_cookies,
    single_and_repeated,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from lambda_ric.web.head import Head

    Document = Mapping[str, Any]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")

# Every visible character: what is in a query string stays as it is.
_QUERY = "".join(map(chr, range(0x21, 0x7F)))


class HTTPRequest:
    """
    The request of an HTTP event.

    ``path`` is decoded and begins with ``root_path``, as ASGI has it;
    ``raw_path``, ``raw_root_path`` and ``query_string`` are percent-encoded. The names of headers
    are in lower case, repeated ones are repeated, and all cookies are in one
    ``cookie``. ``can_stream`` is whether the source is of a kind that can pass
    on a streamed response; whether it is set to do so, no event tells.
    """

    source = ""
    can_stream = False
    is_base64_encoded = "isBase64Encoded"

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
        return cls.kind_of(event)(event, root_path)

    @staticmethod
    def kind_of(event: object) -> type[HTTPRequest]:
        """
        Return the class of requests from the source of *event*.

        Raises:
            UnsupportedEventError: It is no HTTP event.
        """
        return _source_of(event)

    def __init__(self, event: Any, root_path: str | None) -> None:
        context: Document = event.get("requestContext") or {}
        mount, path = self._location(event, context)
        if root_path is not None:
            mount = mount_point(root_path)
            path = below(mount, path) or path

        self.method: str = self._method(event, context).upper()
        whole = mount + path
        self.path: str = unquote(whole) if "%" in whole else whole
        self.raw_path: bytes = whole.encode()
        self.root_path: str = unquote(mount) if "%" in mount else mount
        self.raw_root_path: bytes = mount.encode()
        self.query_string: bytes = self._query_string(event).encode()
        self.body: bytes = body(event, self.is_base64_encoded)
        pairs, headers = header_pairs(*self._headers(event), self._cookies(event), self.body)
        self.headers: list[tuple[bytes, bytes]] = pairs
        self.scheme = "http" if headers.get(b"x-forwarded-proto", b"").lower() == b"http" else "https"
        self.http_version: str = {"HTTP/1.0": "1.0", "HTTP/2.0": "2"}.get(self._protocol(context), "1.1")
        # The port is known of load balancers only, if they are set to tell it.
        source_ip = self._source_ip(context, headers)
        self.client: tuple[str, int] | None = address(source_ip, 0) if source_ip else None
        default_port = port(headers.get(b"x-forwarded-port", b"").decode(), 80 if self.scheme == "http" else 443)
        host = headers.get(b"host", b"").decode()
        self.server: tuple[str, int] | None = address(host, default_port) if host else None

    @property
    def line(self) -> str:
        """The method and the path, for the log."""
        return f"{self.method} {self.raw_path.decode('ascii')}"

    @property
    def known_method(self) -> str:
        """The method if it is one of HTTP's own, for metrics: whoever may invoke the function may send any word."""
        return self.method if self.method in _METHODS else "OTHER"

    def has_body(self, status: int) -> bool:
        """Say whether a response with this *status* has one."""
        return self.method != "HEAD" and status not in (204, 304)

    def response(self, head: Head, body: bytes, body_types: BodyTypes = BODY_TYPES) -> dict[str, Any]:
        """
        Return what the handler has to return for this response.

        The answer to HEAD keeps the content-length that it was given; whether
        the client sees it is up to the source.
        """
        shown = content(head.headers, body if self.has_body(head.status) else b"", body_types)
        return {"statusCode": head.status, **self._head(head.status, head.headers), **shown}

    # What differs from source to source...

    def _method(self, event: Document, context: Document) -> str:
        return required(event, "httpMethod")

    def _headers(self, event: Document) -> tuple[Collection[str], Collection[str]]:
        """Return their names, and as many values."""
        return unzipped(merged(values(event, "multiValueHeaders"), strings(event, "headers"), key=str.lower))

    def _cookies(self, event: Document) -> list[str] | None:
        """Return what the event has beside its headers."""
        return None

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        """Return where the application is mounted, and the path below it, both percent-encoded."""
        raise NotImplementedError

    def _query_string(self, event: Document) -> str:
        raise NotImplementedError

    def _parameters(self, event: Document) -> list[tuple[str, str]]:
        return merged(values(event, "multiValueQueryStringParameters"), strings(event, "queryStringParameters"))

    def _protocol(self, context: Document) -> str:
        return text(context, "protocol")

    def _source_ip(self, context: Document, headers: dict[bytes, bytes]) -> str:
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

    def _source_ip(self, context: Document, headers: dict[bytes, bytes]) -> str:
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

    def _headers(self, event: Document) -> tuple[Collection[str], Collection[str]]:
        # Repeated ones come as one, joined by commas; that stays, since a comma may be part of a value.
        headers = field(event, "headers", dict) or {}
        return headers, headers.values()

    def _cookies(self, event: Document) -> list[str] | None:
        # Recorded: a function URL has them among the headers as well.
        cookies = field(event, "cookies", list)
        if cookies and not are_strings(cookies):
            raise malformed("cookies", "an array of strings")
        return cookies

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        # Recorded: it is encoded as it was received, whereas the context's path is decoded.
        return "", received(required(event, "rawPath"))

    def _query_string(self, event: Document) -> str:
        if event.get("rawQueryString") is None:
            # AWS fills both; an event that was written by hand may have this one alone.
            return urlencode(list(strings(event, "queryStringParameters")), errors="replace")
        return _visible(text(event, "rawQueryString"))

    def _protocol(self, context: Document) -> str:
        return text(context["http"], "protocol")

    def _source_ip(self, context: Document, headers: dict[bytes, bytes]) -> str:
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
        return _visible("&".join(parameters))

    def _source_ip(self, context: Document, headers: dict[bytes, bytes]) -> str:
        # The load balancer adds what it sees at the end; what comes before is anybody's claim. Health checks have none.
        return headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode()

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        shown = {"multiValueHeaders": headers} if self._multi_value else joined(headers)
        return {"statusDescription": description(status), **shown}


class _LatticeRequest(HTTPRequest):
    """From VPC Lattice, in the event structure of version 2."""

    source = "vpc-lattice"

    def _method(self, event: Document, context: Document) -> str:
        return required(event, "method")

    def _headers(self, event: Document) -> tuple[Collection[str], Collection[str]]:
        return unzipped(values(event, "headers"))

    def _location(self, event: Document, context: Document) -> tuple[str, str]:
        return "", received(self._target(event).partition("?")[0])

    def _query_string(self, event: Document) -> str:
        # Seen with and without it behind the path; there it is as it was sent.
        _, mark, query = self._target(event).partition("?")
        return _visible(query) if mark else urlencode(self._parameters(event), errors="replace")

    def _target(self, event: Document) -> str:
        return required(event, "path")

    def _parameters(self, event: Document) -> list[tuple[str, str]]:
        return values(event, "queryStringParameters")

    def _source_ip(self, context: Document, headers: dict[bytes, bytes]) -> str:
        return headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode()

    def _head(self, status: int, headers: dict[str, list[str]]) -> dict[str, Any]:
        return {"statusDescription": description(status), **joined(headers)}


class _LatticeRequestV1(_LatticeRequest):
    """From VPC Lattice, in the event structure of version 1."""

    is_base64_encoded = "is_base64_encoded"

    def _target(self, event: Document) -> str:
        return required(event, "raw_path")

    def _parameters(self, event: Document) -> list[tuple[str, str]]:
        return values(event, "query_string_parameters")


def _visible(query: str) -> str:
    if query.isascii() and query.isprintable() and " " not in query:
        return query
    return quote(query, _QUERY, errors="replace")


def _source_of(event: object) -> type[HTTPRequest]:
    if not isinstance(event, dict):
        raise _unsupported(event)
    if event.get("type") in ("REQUEST", "TOKEN"):
        raise UnsupportedEventError(
            "this is an event for a Lambda authorizer of API Gateway: give the authorizer a function of its own"
        )
    if isinstance(event.get("raw_path"), str) and "method" in event:
        return _LatticeRequestV1
    context = event.get("requestContext")
    if not isinstance(context, dict):
        raise _unsupported(event)
    if context.get("eventType") in ("CONNECT", "MESSAGE", "DISCONNECT"):
        raise UnsupportedEventError(
            "this is an event of a WebSocket API of API Gateway, and the application is served over HTTP only: give "
            "the routes $connect, $disconnect and $default a function of their own, which sends through @connections"
        )
    if "elb" in context:
        return _LoadBalancerRequest
    if isinstance(context.get("http"), dict):
        return _FunctionURLRequest if _of_function_url(context) else _HTTPAPIRequestV2
    if "method" in event and ("serviceArn" in context or "targetGroupArn" in context):
        return _LatticeRequest
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
        "expected an HTTP event of API Gateway, a function URL, an Application Load Balancer or VPC Lattice, "
        f"but this is {seen}: give other events a handler of their own with events=, or a function of their own"
    )


def _of_function_url(context: Document) -> bool:
    domain = str(context.get("domainName"))
    if ".lambda-url." in domain or _of_execute_api(context):
        return ".lambda-url." in domain
    # Neither: a custom domain of an API, or an event of a tool's. The two ids are one for a function URL.
    return context.get("domainPrefix") == context.get("apiId")


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
