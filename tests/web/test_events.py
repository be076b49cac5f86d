"""HTTP events in, proxy responses out: what API Gateway, function URLs and load balancers send and want."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lambda_ric.emulator
from lambda_ric.errors import UnsupportedEventError
from lambda_ric.web.events import HTTPRequest
from lambda_ric.web.head import Head

MODEST = settings(deadline=None, max_examples=100, database=None)

# Recorded events, whose accounts, addresses and identifiers were replaced, and the emulator's examples.
FILES = {
    path.stem: path
    for directory in (Path(lambda_ric.emulator.__file__).parent / "function/examples", Path(__file__).parent / "events")
    for path in directory.glob("*.json")
}

# One of each form that a request comes in, and that a response goes out in.
SOURCES = [
    "api-gateway-v1-encoded",
    "api-gateway-v1-http-api",
    "api-gateway-v2-decoded-path",
    "function-url-cookies",
    "alb-multi-value",
    "alb-single-value",
]
WITH_A_BODY = [name for name in SOURCES if name != "api-gateway-v1-http-api"]
JOINS_REPEATED_HEADERS = {"api-gateway-v2-decoded-path", "function-url-cookies"}

HTTP_EVENTS = sorted(name for name in FILES if name.startswith(("api", "alb", "function-url", "vpc-lattice")))

MESSAGE = '{"message":"hello","unicode":"lambda-λ"}'.encode()
IMAGE = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(range(256))


def event(name: str, **fields: Any) -> Any:
    """Return the recorded event *name* with some *fields* replaced."""
    return json.loads(FILES[name].read_text(encoding="utf-8")) | fields


def request(name: str, root_path: str | None = None, **fields: Any) -> HTTPRequest:
    return HTTPRequest.of(event(name, **fields), root_path)


def with_headers(name: str, headers: list[tuple[str, str]]) -> Any:
    """Return the event *name* as it is for a request with these *headers*."""
    several: dict[str, list[str]] = {}
    for key, value in headers:
        several.setdefault(key, []).append(value)
    changed = event(name)
    if changed.get("multiValueHeaders") is not None:
        changed["multiValueHeaders"] = several
    if changed.get("headers") is not None:
        join = name in JOINS_REPEATED_HEADERS
        changed["headers"] = {key: ",".join(values) if join else values[-1] for key, values in several.items()}
    changed.pop("cookies", None)
    return changed


def header(request: HTTPRequest, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key == name]


# Which event it is...


@pytest.mark.parametrize(
    ("name", "source", "can_stream"),
    [
        ("api-gateway-v1-encoded", "api-gateway-v1", True),
        ("api-gateway-v1-http-api", "api-gateway-v1", False),
        ("api-gateway-v2-decoded-path", "api-gateway-v2", False),
        ("api-gateway-v2-custom-domain", "api-gateway-v2", False),
        ("function-url-cookies", "function-url", True),
        ("function-url-emulator", "function-url", True),
        ("alb-multi-value", "alb", False),
        ("alb-single-value", "alb", False),
        # AWS's own sample, whose ids differ: the domain tells what it is.
        ("function-url-documented", "function-url", True),
        ("vpc-lattice-v1", "vpc-lattice", False),
        ("vpc-lattice-v2", "vpc-lattice", False),
    ],
)
def test_source_is_told_by_the_event_alone(name: str, source: str, can_stream: bool) -> None:
    """REST APIs and function URLs can stream; HTTP APIs, which share their formats, and load balancers cannot."""
    recorded = request(name)

    assert (recorded.source, recorded.can_stream) == (source, can_stream)


@pytest.mark.parametrize("name", ["websocket-connect", "websocket-message"])
def test_websocket_event_is_refused_with_what_to_do(name: str) -> None:
    """An application cannot hold a WebSocket that API Gateway holds."""
    with pytest.raises(UnsupportedEventError, match=r"WebSocket API .* a function of their own"):
        request(name)


@pytest.mark.parametrize("name", ["authorizer-request", "authorizer-token"])
def test_event_for_an_authorizer_is_refused_with_what_to_do(name: str) -> None:
    """It may look like a request, but whoever sends it waits for a policy."""
    with pytest.raises(UnsupportedEventError, match=r"Lambda authorizer .* a function of its own"):
        request(name)


@pytest.mark.parametrize("other", [None, "GET /", 7, [], {}, {"requestContext": None}, {"requestContext": {"http": 1}}])
def test_what_is_no_event_is_refused(other: Any) -> None:
    """A handler that serves HTTP may be invoked with anything."""
    with pytest.raises(UnsupportedEventError, match="expected an HTTP event"):
        HTTPRequest.of(other)


@pytest.mark.parametrize("name", sorted(set(FILES) - set(HTTP_EVENTS) - {"authorizer-request", "authorizer-token"}))
def test_event_of_another_service_is_refused(name: str) -> None:
    """No event of another service is taken for a request."""
    with pytest.raises(UnsupportedEventError):
        request(name)


def test_refusal_names_fields_but_no_values() -> None:
    """The message is logged, and sent to whoever invoked the function; an event may hold secrets."""
    with pytest.raises(UnsupportedEventError) as caught:
        HTTPRequest.of({"Records": [{"body": "s3cr3t"}], "password": "s3cr3t"})

    assert "the fields 'Records', 'password'" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_refusal_is_short_whatever_the_event_is() -> None:
    """It is a line in a log."""
    with pytest.raises(UnsupportedEventError) as caught:
        HTTPRequest.of({f"{number}{1000 * 'x'}": None for number in range(1000)})

    assert len(str(caught.value)) < 1000


# Where it goes...


@pytest.mark.parametrize(
    ("name", "root_path", "raw_path"),
    [
        # The event has the stage in its context only.
        ("api-gateway-v1-encoded", "/live", b"/live/capture/space%20value"),
        ("api-gateway-v1-stage-root", "/live", b"/live/"),
        # A custom domain: the base path is told by the resource, with or without a stage after it.
        ("api-gateway-v1-base-path", "/v1/nested", b"/v1/nested/payment/1234/"),
        ("api-gateway-v1-base-path-and-stage", "/base/live", b"/base/live/example/v1"),
        # The console's test has a context without a path.
        ("api-gateway-v1-console-test", "", b"/orders/o-17"),
        # HTTP APIs decode the path.
        ("api-gateway-v1-http-api", "/default", b"/default/payment/invoice%20one"),
        ("api-gateway-v2-decoded-path", "", b"/capture/space%20value"),
        ("api-gateway-v2-stage", "/default", b"/default/payment"),
        # The stage is not in the URL there.
        ("api-gateway-v2-custom-domain", "", b"/payment"),
        ("function-url-cookies", "", b"/capture/space%20value"),
        ("function-url-emulator", "", b"/"),
        ("alb-multi-value", "", b"/capture/space%20value"),
        ("function-url-documented", "", b"/caf%C3%A9/menu"),
        ("vpc-lattice-v1", "", b"/orders/o-17"),
        ("vpc-lattice-v2", "", b"/orders/o-17"),
        ("vpc-lattice-v2-query-in-path", "", b"/orders/o-17"),
    ],
)
def test_paths_begin_with_where_the_application_is_mounted(name: str, root_path: str, raw_path: bytes) -> None:
    """As ASGI wants it: root_path is a part of path, and raw_path is what the client sent."""
    recorded = request(name)

    assert (recorded.root_path, recorded.raw_path) == (root_path, raw_path)
    assert recorded.path == unquote(raw_path.decode())


@pytest.mark.parametrize(
    ("name", "given_root", "root_path", "raw_path"),
    [
        ("api-gateway-v1-encoded", "", "", b"/capture/space%20value"),
        ("api-gateway-v1-encoded", "/api", "/api", b"/api/capture/space%20value"),
        ("api-gateway-v1-encoded", "api/", "/api", b"/api/capture/space%20value"),
        ("function-url-cookies", "/capture", "/capture", b"/capture/space%20value"),
        ("function-url-cookies", "/cap", "/cap", b"/cap/capture/space%20value"),
        ("function-url-cookies", "/à la", "/à la", b"/%C3%A0%20la/capture/space%20value"),
        ("function-url-emulator", "/api", "/api", b"/api/"),
    ],
)
def test_given_root_path_replaces_the_one_of_the_event(
    name: str, given_root: str, root_path: str, raw_path: bytes
) -> None:
    """It is put before the path where a CDN took it away, and left where it is."""
    recorded = request(name, given_root)

    assert (recorded.root_path, recorded.raw_path) == (root_path, raw_path)


@pytest.mark.parametrize("path", ["/", "/orders"])
def test_event_written_by_hand_shows_no_root_path(path: str) -> None:
    """What it leaves out or copied from elsewhere is no place that the application is mounted at."""
    given = {"httpMethod": "GET", "path": path, "resource": "/", "requestContext": {}}

    assert (HTTPRequest.of(given).root_path, HTTPRequest.of(given).path) == ("", path)


def test_root_of_a_stage_without_a_slash_is_the_root_of_the_application() -> None:
    """No router knows an empty path."""
    recorded = request("api-gateway-v2-stage", rawPath="/default")

    assert (recorded.root_path, recorded.path) == ("/default", "/default/")


def test_name_that_only_begins_like_the_stage_is_none() -> None:
    """A stage ends at a slash."""
    assert request("api-gateway-v2-stage", rawPath="/defaults/payment").root_path == ""


def test_base_path_is_found_before_encoded_and_decoded_parameters() -> None:
    """Those of a resource come either way; if they do not fit the path, nothing is known."""
    recorded = event("api-gateway-v1-base-path", path="/v1/nested/payment/12%2034")
    recorded["requestContext"]["path"] = recorded["path"]

    assert HTTPRequest.of(recorded | {"pathParameters": {"invoice": "12%2034"}}).root_path == "/v1/nested"
    assert HTTPRequest.of(recorded | {"pathParameters": {"invoice": "12 34"}}).root_path == "/v1/nested"
    assert HTTPRequest.of(recorded | {"pathParameters": {"invoice": "56"}}).root_path == ""


@pytest.mark.parametrize("path", ["/what%3Fever", "/hash%23tag", "/a%2Fb", "/%CE%BB", "/50%2525", "/a[b]|c", "//a//b/"])
@pytest.mark.parametrize("name", ["function-url-cookies", "alb-multi-value"])
def test_encoded_path_stays_as_the_client_sent_it(name: str, path: str) -> None:
    """An application may tell `%2F` from `/`."""
    recorded = request(name, path=path, rawPath=path)

    assert (recorded.raw_path, recorded.path) == (path.encode(), unquote(path))


@pytest.mark.parametrize("name", ["function-url-cookies", "alb-multi-value", "api-gateway-v1-console-test"])
def test_what_cannot_be_in_a_path_is_encoded(name: str) -> None:
    """Events written by hand have it, and servers send no such raw_path."""
    assert request(name, path="/a b?c#ä\ud800", rawPath="/a b?c#ä\ud800").raw_path == b"/a%20b%3Fc%23%C3%A4%3F"


@pytest.mark.parametrize("path", ["/hash#tag", "/what?ever", "/50%", "/%41", "/λ"])
def test_path_that_aws_decoded_is_not_decoded_twice(path: str) -> None:
    """HTTP APIs decode the path; a percent sign in it is one."""
    recorded = request("api-gateway-v2-decoded-path", rawPath=path)

    assert recorded.path == path
    assert recorded.raw_path == quote(path).encode()


def test_value_of_a_parameter_is_no_placeholder() -> None:
    """A client chooses it; taken for one, it could be made to grow without end."""
    path = "/v1/{b}{b}/{c}{c}/x"
    recorded = event("api-gateway-v1-base-path", path=path, resource="/{a}/{b}/{c}")
    recorded["requestContext"]["path"] = path
    parameters = {"a": "{b}{b}", "b": "{c}{c}", "c": "x"}

    assert HTTPRequest.of(recorded | {"pathParameters": parameters}).root_path == "/v1"


# The query string...

AS_SENT = b"repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&literalPlus=a+b&encodedPlus=a%2Bb&empty="


@pytest.mark.parametrize("name", ["api-gateway-v2-decoded-path", "function-url-cookies"])
def test_query_string_is_as_received_where_the_event_has_it(name: str) -> None:
    """Payload format 2.0 has it as it was."""
    assert request(name).query_string == AS_SENT


@pytest.mark.parametrize("name", ["api-gateway-v2-decoded-path", "function-url-cookies"])
def test_query_of_an_edited_event_may_be_in_the_parameters_alone(name: str) -> None:
    """AWS fills both fields, people who write an event by hand do not."""
    recorded = request(name, rawQueryString=None, queryStringParameters={"tag": "gift", "to": "a b&c"})

    assert recorded.query_string == b"tag=gift&to=a+b%26c"


@pytest.mark.parametrize("name", ["api-gateway-v1-encoded", "alb-multi-value"])
def test_query_string_of_parameters_means_the_same(name: str) -> None:
    """Whether they come decoded, as from a REST API, or not, as from a load balancer."""
    assert sorted(parse_qsl(request(name).query_string, keep_blank_values=True)) == sorted(
        parse_qsl(AS_SENT, keep_blank_values=True)
    )


def test_load_balancer_without_multi_value_headers_sends_the_last_value() -> None:
    """That is all there is in the event."""
    assert b"repeat=two" in request("alb-single-value").query_string
    assert b"one" not in request("alb-single-value").query_string


@pytest.mark.parametrize(
    ("name", "query_string"),
    [
        ("vpc-lattice-v1", b"tag=express"),
        ("vpc-lattice-v2", b"tag=gift&tag=express"),
        ("vpc-lattice-v2-query-in-path", b"tag=gift&tag=express"),
    ],
)
def test_query_string_of_lattice_is_there_once(name: str, query_string: bytes) -> None:
    """Whether the path carries it as well, or not; version 1 has the last value of a name only."""
    assert request(name).query_string == query_string


@pytest.mark.parametrize("given", [{"tag": "gift"}, {"tag": ["gift"]}])
def test_query_of_lattice_has_one_value_or_several(given: Any) -> None:
    """Both are seen."""
    assert request("vpc-lattice-v2", queryStringParameters=given).query_string == b"tag=gift"


@pytest.mark.parametrize("name", ["api-gateway-v1-stage-root", "api-gateway-v2-stage", "alb-health-check"])
def test_no_query_string_is_an_empty_one(name: str) -> None:
    """Whether its field is null, empty, or not there."""
    assert request(name).query_string == b""


# Headers and cookies...


def test_request_of_lattice_has_its_client_and_its_headers() -> None:
    """In both versions; the second has a list for each name."""
    first, second = request("vpc-lattice-v1"), request("vpc-lattice-v2")

    assert first.client == second.client == ("10.0.1.17", 0)
    assert header(first, b"tags") == [b"gift, express"]
    assert header(second, b"tags") == [b"gift", b"express"]
    assert first.body == second.body == b'{"id":"o-17","total":42.5,"customer":"alice@example.com"}'
    assert (first.method, first.scheme) == (second.method, second.scheme) == ("POST", "https")


@pytest.mark.parametrize(
    ("name", "field"), [("vpc-lattice-v1", "is_base64_encoded"), ("vpc-lattice-v2", "isBase64Encoded")]
)
def test_body_of_lattice_may_be_in_base64(name: str, field: str) -> None:
    """The field is spelled in two ways."""
    assert HTTPRequest.of(event(name) | {"body": "AAH/", field: True}).body == b"\x00\x01\xff"


@pytest.mark.parametrize("name", ["vpc-lattice-v1", "vpc-lattice-v2"])
def test_response_to_lattice_has_one_string_for_each_header(name: str) -> None:
    """As its page has it; two cookies are told apart by their spelling, as behind a load balancer."""
    assert request(name).response(Head(200, REPEATED), b"hello") == {
        "statusCode": 200,
        "statusDescription": "200 OK",
        "headers": request("alb-single-value").response(Head(200, REPEATED), b"hello")["headers"],
        "body": "hello",
        "isBase64Encoded": False,
    }


def test_name_that_only_one_of_two_maps_has_counts() -> None:
    """AWS sends both complete; people who edit an event do not. Names of headers are compared without case."""
    recorded = request("api-gateway-v1-half-maps")

    assert header(recorded, b"authorization") == [b"Bearer t-17"]
    assert header(recorded, b"accept") == [b"*/*"]
    assert recorded.query_string == b"tag=gift&page=2"


def test_map_with_several_values_counts_where_both_have_a_name() -> None:
    """The other one has the last of them only."""
    recorded = request(
        "api-gateway-v1-half-maps",
        headers={"x-tag": "express", "X-Other": "1"},
        multiValueHeaders={"X-Tag": ["gift", "express"]},
        queryStringParameters={"tag": "express", "Tag": "x"},
        multiValueQueryStringParameters={"tag": ["gift", "express"]},
    )

    assert header(recorded, b"x-tag") == [b"gift", b"express"]
    assert header(recorded, b"x-other") == [b"1"]
    assert recorded.query_string == b"tag=gift&tag=express&Tag=x"


@pytest.mark.parametrize("name", ["function-url-cookies", "alb-multi-value", "vpc-lattice-v2"])
@pytest.mark.parametrize("value", ["İzmir".encode(), b"Z\xfcrich", b"plain"])
def test_header_of_the_response_is_the_bytes_of_the_application(name: str, value: bytes) -> None:
    """What writes it encodes it as UTF-8; what is no UTF-8 is taken for Latin-1, which HTTP once was."""
    response = request(name).response(Head(200, [(b"x-city", value)]), b"")
    shown = (response.get("multiValueHeaders") or response["headers"])["x-city"]
    text = shown[0] if isinstance(shown, list) else shown

    assert text.encode() == value or text.encode("latin-1") == value


@pytest.mark.parametrize("name", SOURCES)
def test_names_of_headers_are_in_lower_case(name: str) -> None:
    """As ASGI wants it; REST APIs pass on what the client sent."""
    recorded = HTTPRequest.of(with_headers(name, [("X-Mixed-Case", "As It Is")]))

    assert (b"x-mixed-case", b"As It Is") in recorded.headers


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("api-gateway-v1-encoded", [b"first", b"second"]),
        ("api-gateway-v2-decoded-path", [b"first,second"]),
        ("function-url-cookies", [b"first,second"]),
        ("alb-multi-value", [b"first", b"second"]),
        ("alb-single-value", [b"second"]),
    ],
)
def test_repeated_header_is_repeated_as_far_as_the_event_has_it(name: str, values: list[bytes]) -> None:
    """What AWS joined by commas stays joined: a comma may be part of a value."""
    assert header(request(name), b"x-probe") == values


@pytest.mark.parametrize("name", WITH_A_BODY)
def test_cookies_are_one_header(name: str) -> None:
    """Format 2.0 has a list of them, and a function URL the header as well."""
    assert header(request(name), b"cookie") == [b"session=abc123; theme=dark"]


@pytest.mark.parametrize("name", ["api-gateway-v2-decoded-path", "function-url-cookies"])
def test_cookie_that_only_one_of_both_places_has_is_there(name: str) -> None:
    """AWS fills both or the list, people who edit an event do not: where both have a name, the list decides."""
    recorded = with_headers(name, [("Cookie", "theme=light; session=abc123;lang=it")]) | {"cookies": ["theme=dark"]}

    assert header(HTTPRequest.of(recorded), b"cookie") == [b"theme=dark; session=abc123; lang=it"]


def test_cookies_of_several_headers_are_joined() -> None:
    """HTTP/2 allows several, everything else one."""
    recorded = with_headers("api-gateway-v1-encoded", [("Cookie", "a=1"), ("cookie", "b=2"), ("Cookie", "c=3")])

    assert header(HTTPRequest.of(recorded), b"cookie") == [b"a=1; c=3; b=2"]


@pytest.mark.parametrize(("value", "sent"), [("é", "é".encode()), ("λ", "λ".encode()), ("\ud800", b"?")])
@pytest.mark.parametrize("name", SOURCES)
def test_value_beyond_ascii_is_no_failure(name: str, value: str, sent: bytes) -> None:
    """It comes as the bytes that the client sent, which AWS decoded as UTF-8: as from a server."""
    assert header(HTTPRequest.of(with_headers(name, [("x-name", value)])), b"x-name") == [sent]


@pytest.mark.parametrize("name", SOURCES)
def test_body_has_a_content_length(name: str) -> None:
    """REST APIs leave it out, and WSGI applications do not read a body without it."""
    recorded = HTTPRequest.of(with_headers(name, [("accept", "*/*")]) | {"body": "four"})

    assert header(recorded, b"content-length") == [b"4"]


def test_no_body_gets_no_content_length() -> None:
    """A GET has none."""
    assert header(request("api-gateway-v1-stage-root"), b"content-length") == []


def test_transfer_encoding_ends_with_the_connection() -> None:
    """The body in the event is whole; an application that was told of chunks would look for them."""
    recorded = HTTPRequest.of(with_headers("function-url-cookies", [("transfer-encoding", "chunked")]))

    assert header(recorded, b"transfer-encoding") == []


# The body...


@pytest.mark.parametrize("name", WITH_A_BODY)
def test_text_body_is_utf_8(name: str) -> None:
    """JSON is text in the event, and bytes for the application."""
    assert request(name).body == MESSAGE


def test_text_body_that_is_no_unicode_is_no_failure() -> None:
    """JSON can hold half of a surrogate pair, UTF-8 cannot."""
    assert request("function-url-cookies", body="a\ud800").body == b"a?"


@pytest.mark.parametrize("name", ["api-gateway-v1-binary", "function-url-binary"])
def test_binary_body_is_decoded(name: str) -> None:
    """Every byte of it."""
    assert request(name).body == IMAGE


@pytest.mark.parametrize("body", [None, ""])
@pytest.mark.parametrize("encoded", [None, True, False])
@pytest.mark.parametrize("name", SOURCES)
def test_no_body_is_an_empty_one(name: str, encoded: bool | None, body: str | None) -> None:
    """Whatever the event says about its encoding."""
    assert request(name, body=body, isBase64Encoded=encoded).body == b""


@pytest.mark.parametrize("body", ["a", "a=b", "****", "YQ==\n", "ä"])
@pytest.mark.parametrize("name", SOURCES)
def test_body_that_is_no_base64_is_refused(name: str, body: str) -> None:
    """Skipping what does not belong would make another body of it."""
    with pytest.raises(UnsupportedEventError, match="'body' is not the base64"):
        request(name, body=body, isBase64Encoded=True)


# The connection...


@pytest.mark.parametrize(
    ("name", "scheme", "client", "server"),
    [
        (
            "api-gateway-v1-encoded",
            "https",
            ("203.0.113.7", 0),
            ("a1b2c3d4e5.execute-api.us-west-2.amazonaws.com", 443),
        ),
        ("api-gateway-v1-console-test", "https", ("test-invoke-source-ip", 0), None),
        ("api-gateway-v2-custom-domain", "https", ("203.0.113.7", 0), ("api.example.com", 443)),
        ("function-url-emulator", "http", ("127.0.0.1", 0), ("127.0.0.1", 9000)),
        ("alb-multi-value", "http", ("203.0.113.7", 0), ("probe-1316758055.us-west-2.elb.amazonaws.com", 80)),
        ("alb-client-port", "https", ("203.0.113.7", 51234), ("probe-1316758055.us-west-2.elb.amazonaws.com", 443)),
        ("alb-health-check", "https", None, None),
    ],
)
def test_connection_is_the_one_of_the_client(
    name: str, scheme: str, client: tuple[str, int] | None, server: tuple[str, int] | None
) -> None:
    """As far as it is known; of the addresses that a load balancer passes on, only the last one is its own word."""
    recorded = request(name)

    assert (recorded.scheme, recorded.client, recorded.server) == (scheme, client, server)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("example.com", ("example.com", 443)),
        ("example.com:8443", ("example.com", 8443)),
        ("example.com:", ("example.com", 443)),
        ("example.com:http", ("example.com", 443)),
        ("example.com:" + 5000 * "9", ("example.com", 443)),
        ("[::1]", ("::1", 443)),
        ("[::1]:8443", ("::1", 8443)),
        ("", None),
    ],
)
def test_server_is_what_the_host_header_says(host: str, server: tuple[str, int] | None) -> None:
    """Any client can send any such header."""
    recorded = with_headers("function-url-cookies", [("host", host)])

    assert HTTPRequest.of(recorded).server == server


def test_address_of_version_6_is_no_address_with_a_port() -> None:
    """It is full of colons."""
    recorded = event("function-url-cookies")
    recorded["requestContext"]["http"]["sourceIp"] = "2001:db8::1"

    assert HTTPRequest.of(recorded).client == ("2001:db8::1", 0)


@pytest.mark.parametrize(("protocol", "version"), [("HTTP/1.0", "1.0"), ("HTTP/1.1", "1.1"), ("HTTP/2.0", "2")])
def test_http_version_is_spelled_as_in_asgi(protocol: str, version: str) -> None:
    """ASGI knows 1.0, 1.1 and 2."""
    recorded = event("function-url-cookies")
    recorded["requestContext"]["http"]["protocol"] = protocol

    assert HTTPRequest.of(recorded).http_version == version


# The response...

TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
REPEATED = [*TEXT, (b"Set-Cookie", b"a=1; Path=/"), (b"vary", b"a"), (b"set-cookie", b"b=2"), (b"Vary", b"b")]


def test_response_to_format_1_has_single_and_repeated_headers() -> None:
    """API Gateway merges the two fields, so that no name is in both."""
    assert request("api-gateway-v1-encoded").response(Head(200, REPEATED), b"hello") == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain; charset=utf-8"},
        "multiValueHeaders": {"set-cookie": ["a=1; Path=/", "b=2"], "vary": ["a", "b"]},
        "body": "hello",
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("name", ["api-gateway-v2-decoded-path", "function-url-cookies"])
def test_response_to_format_2_has_cookies_and_joined_headers(name: str) -> None:
    """Format 2.0 has one value for each name."""
    assert request(name).response(Head(200, REPEATED), b"hello") == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain; charset=utf-8", "vary": "a, b"},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": "hello",
        "isBase64Encoded": False,
    }


def test_response_to_a_load_balancer_with_multi_value_headers_has_lists() -> None:
    """It reads the field that it sent, and no other."""
    assert request("alb-multi-value").response(Head(404, REPEATED), b"hello") == {
        "statusCode": 404,
        "statusDescription": "404 Not Found",
        "multiValueHeaders": {
            "content-type": ["text/plain; charset=utf-8"],
            "set-cookie": ["a=1; Path=/", "b=2"],
            "vary": ["a", "b"],
        },
        "body": "hello",
        "isBase64Encoded": False,
    }


def test_response_to_a_load_balancer_with_single_headers_has_cookies_in_several_spellings() -> None:
    """There is one value for each name, but names that differ in case are different ones."""
    response = request("alb-single-value").response(Head(299, REPEATED), b"hello")
    cookies = {name: value for name, value in response["headers"].items() if name.lower() == "set-cookie"}

    assert list(cookies.values()) == ["a=1; Path=/", "b=2"]
    assert response["headers"]["vary"] == "a, b"
    assert response["statusDescription"] == "299"


def test_many_cookies_get_a_spelling_each() -> None:
    """There are 512 of ``set-cookie``."""
    cookies = [(b"set-cookie", b"c%d=1" % number) for number in range(512)]

    assert len(request("alb-single-value").response(Head(200, cookies), b"")["headers"]) == 512


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("headers", "body", "encoded"),
    [
        ([("content-type", "text/html")], "λ".encode(), False),
        ([("content-type", "TEXT/HTML; charset=UTF-8")], b"a", False),
        ([("content-type", 'text/html; boundary=x; charset="utf-8"')], b"a", False),
        ([("content-type", "application/json")], b"{}", False),
        ([("content-type", "application/problem+json")], b"{}", False),
        ([("content-type", "image/svg+xml")], b"<svg/>", False),
        ([("content-type", "application/x-www-form-urlencoded")], b"a=b", False),
        ([], b"a", False),
        ([], b"\xff", True),
        ([("content-type", "text/plain")], b"\xff", True),
        ([("content-type", "text/html; charset=iso-8859-1")], b"a", False),
        ([("content-type", "text/html; charset=windows-1252")], b"caf\xe9", True),
        ([("content-type", "text/html; charset=windows-1252")], b"cafe", False),
        ([("content-type", "application/x-yaml; charset=utf-8")], "ä".encode(), False),
        ([("content-type", "application/vnd.oai.openapi")], b"a", False),
        ([("content-type", "application/sql")], b"a", False),
        ([("content-type", "image/svg+xml")], b"a", False),
        ([("content-type", "IMAGE/PNG; a=b")], b"a", True),
        ([("content-type", "application/pdf")], b"a", True),
        ([("content-type", "text/plain"), ("content-encoding", "identity")], b"a", False),
        ([("content-type", "image/png")], b"a", True),
        ([("content-type", "application/octet-stream")], b"a", True),
        ([("content-type", "text/plain"), ("content-encoding", "gzip")], b"a", True),
        ([("content-type", "image/png")], b"", False),
    ],
)
def test_body_is_base64_unless_it_is_text(
    source: str, headers: list[tuple[str, str]], body: bytes, encoded: bool
) -> None:
    """Text is readable in logs, and needs no setting of a REST API; anything else would not survive JSON."""
    response = request(source).response(Head(200, [(name.encode(), value.encode()) for name, value in headers]), body)

    assert response["isBase64Encoded"] is encoded
    assert response["body"] == (base64.b64encode(body).decode() if encoded else body.decode())


@pytest.mark.parametrize("name", SOURCES)
def test_answer_to_head_keeps_its_headers_without_a_body(name: str) -> None:
    """Its content-length is that of the body which a GET would get."""
    recorded = event(name, httpMethod="HEAD")
    recorded["requestContext"].get("http", {})["method"] = "HEAD"
    response = HTTPRequest.of(recorded).response(Head(200, [(b"content-length", b"1000")]), b"not sent")

    assert (response["body"], response["isBase64Encoded"]) == ("", False)
    assert "1000" in json.dumps(response)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("name", SOURCES)
def test_status_without_a_body_has_none(name: str, status: int) -> None:
    """Whatever the application sent after it."""
    assert request(name).response(Head(status, []), b"not sent")["body"] == ""


@pytest.mark.parametrize("status", [-1, 0, 100, 103, 199, 600, 1000])
def test_status_that_cannot_be_sent_is_refused(status: int) -> None:
    """A response is one; an interim status is not."""
    with pytest.raises(ValueError, match="200 to 599"):
        request("function-url-cookies").response(Head(status, []), b"")


@pytest.mark.parametrize("name", SOURCES)
def test_response_does_not_speak_of_chunks(name: str) -> None:
    """The body in a proxy response is whole; gateways refuse the header, or send it on with a body that has none."""
    assert "chunked" not in json.dumps(request(name).response(Head(200, [(b"Transfer-Encoding", b"chunked")]), b"a"))


# What holds for any request and response...

SEGMENTS = st.lists(st.text(min_size=1), min_size=1, max_size=4)
# What a client can send: a name and a value of visible characters, not the ones that mean something to these tests.
NAMES = st.from_regex(r"x-[a-z0-9!#$%&'*+.^_`|~-]{1,10}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]))
PARAMETERS = st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5)


def encoded_path(segments: list[str]) -> str:
    return "/" + "/".join(quote(segment, safe="", errors="replace") for segment in segments)


@MODEST
@given(SEGMENTS)
def test_any_path_arrives(segments: list[str]) -> None:
    """Encoded as it was where AWS leaves it, and with the same meaning where AWS has decoded it."""
    path = encoded_path(segments)
    rest = event("api-gateway-v1-encoded", path=path, pathParameters={"proxy": path[1:]})
    rest["requestContext"]["path"] = f"/live{path}"

    for recorded in (
        request("function-url-cookies", rawPath=path),
        request("alb-multi-value", path=path),
        request("api-gateway-v2-decoded-path", rawPath=unquote(path)),
    ):
        assert recorded.path == unquote(path)
        assert unquote(recorded.raw_path.decode("ascii")) == unquote(path)
    assert request("function-url-cookies", rawPath=path).raw_path == path.encode()
    assert request("alb-multi-value", path=path).raw_path == path.encode()
    assert HTTPRequest.of(rest).raw_path == f"/live{path}".encode()
    assert HTTPRequest.of(rest).root_path == "/live"


@MODEST
@given(SEGMENTS, SEGMENTS)
def test_any_base_path_is_found(base: list[str], segments: list[str]) -> None:
    """Of a custom domain, by what the resource stands for."""
    mount, path = encoded_path(base), encoded_path(segments)
    recorded = event("api-gateway-v1-base-path", path=mount + path, resource="/{proxy+}")
    recorded["requestContext"]["path"] = mount + path
    found = HTTPRequest.of(recorded | {"pathParameters": {"proxy": path[1:]}})

    assert (found.root_path, found.raw_path) == (unquote(mount), (mount + path).encode())


@MODEST
@given(PARAMETERS)
def test_any_parameters_arrive(parameters: list[tuple[str, str]]) -> None:
    """In their order where AWS keeps it; else the values of each name are in theirs."""
    sent = urlencode(parameters, errors="replace")
    decoded: dict[str, list[str]] = {}
    for name, value in parse_qsl(sent, keep_blank_values=True):
        decoded.setdefault(name, []).append(value)
    received: dict[str, list[str]] = {}
    for name, _, value in (part.partition("=") for part in sent.split("&") if part):
        received.setdefault(name, []).append(value)

    assert request("function-url-cookies", rawQueryString=sent).query_string == sent.encode()
    for recorded in (
        request("api-gateway-v1-encoded", queryStringParameters=None, multiValueQueryStringParameters=decoded),
        request("alb-multi-value", multiValueQueryStringParameters=received),
    ):
        arrived = parse_qsl(recorded.query_string.decode("ascii"), keep_blank_values=True)
        assert arrived == [(name, value) for name, values in decoded.items() for value in values]


@MODEST
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.sampled_from(SOURCES))
def test_any_headers_arrive(headers: dict[str, str], name: str) -> None:
    """With each byte of their values."""
    arrived = HTTPRequest.of(with_headers(name, list(headers.items()))).headers

    assert [pair for pair in arrived if pair[0] != b"content-length"] == [
        (key.encode(), value.encode()) for key, value in headers.items()
    ]


@MODEST
@given(st.binary(), st.sampled_from(SOURCES))
def test_any_body_arrives(body: bytes, name: str) -> None:
    """In base64, or as text."""
    assert request(name, body=base64.b64encode(body).decode(), isBase64Encoded=True).body == body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    assert request(name, body=text, isBase64Encoded=False).body == body


@MODEST
@given(
    body=st.binary() | st.text().map(lambda text: text.encode(errors="replace")),
    content_type=st.sampled_from(["text/plain", "application/json", "image/png", "text/html; charset=utf-16", ";", ""])
    | VALUES,
    name=st.sampled_from(SOURCES),
)
def test_any_response_is_json_with_the_same_body(body: bytes, content_type: str, name: str) -> None:
    """Whatever the application says about it."""
    given = request(name).response(Head(200, [(b"content-type", content_type.encode("latin-1"))]), body)
    response = json.loads(json.dumps(given))

    sent = response["body"]
    assert (base64.b64decode(sent) if response["isBase64Encoded"] else sent.encode()) == body


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of keys and indices to everything inside of *value*."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((*above, key), *places(value[key], (*above, key)))]


@settings(deadline=None, max_examples=500, database=None)
@given(st.data())
def test_event_with_anything_in_any_place_is_a_request_or_refused(data: st.DataObject) -> None:
    """Whoever may invoke the function can send anything; it must not look like a failure of the application."""
    changed = copy.deepcopy(event(data.draw(st.sampled_from(HTTP_EVENTS))))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(places(changed)))
        inside = changed
        for key in above:
            inside = inside[key]
        inside[last] = data.draw(ANYTHING)

    try:
        recorded = HTTPRequest.of(changed, data.draw(st.none() | st.text()))
    except UnsupportedEventError:
        return
    recorded.raw_path.decode("ascii")
    recorded.query_string.decode("ascii")
    assert recorded.path.startswith(recorded.root_path)
    assert recorded.response(Head(200, [(b"content-type", b"text/plain")]), b"a")["statusCode"] == 200


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("api-gateway-v1-encoded", "httpMethod", None, "'httpMethod' is not a string"),
        ("api-gateway-v1-encoded", "path", 7, "'path' is not a string"),
        ("api-gateway-v1-encoded", "multiValueHeaders", {"a": [1]}, "'multiValueHeaders' is not an object of strings"),
        ("api-gateway-v1-encoded", "multiValueQueryStringParameters", [], "Parameters' is not an object"),
        ("api-gateway-v2-stage", "rawPath", None, "'rawPath' is not a string"),
        ("function-url-cookies", "cookies", "a=b", "'cookies' is not an array"),
        ("function-url-cookies", "cookies", [1], "'cookies' is not an array of strings"),
        ("function-url-cookies", "headers", {"a": None}, "'headers' is not an object of strings"),
        ("alb-multi-value", "body", {"a": 1}, "'body' is not a string"),
        ("alb-multi-value", "isBase64Encoded", "yes", "'isBase64Encoded' is not true or false"),
    ],
)
def test_malformed_event_is_refused_by_the_field(name: str, field: str, value: Any, expected: str) -> None:
    """Events written by hand are wrong in one place."""
    with pytest.raises(UnsupportedEventError, match=expected):
        request(name, **{field: value})
