"""
What a function answers, and the HTTP response that a real function URL makes of it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric.emulator.callers.http_response import MalformedResponseError, Prelude, buffered_reply, whole_stream
from lambda_ric.emulator.http.messages import Reply
from lambda_ric.emulator.http.parsing import MAX_HEAD
from lambda_ric.protocol import PRELUDE_END

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)


def reply_to(answer: Any) -> Reply:
    return buffered_reply(json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b'{"hello": "world"}', b'{"hello":"world"}'),
        (b'["hello", 3, true]', b'["hello",3,true]'),
        (b'"hello"', b"hello"),
        (b"3", b"3"),
        (b"3.1", b"3.1"),
        (b"true", b"true"),
        (b"null", b"null"),
        (b'{"a \\" b":\n "c  d" , "n": 1.50e3}', b'{"a \\" b":"c  d","n":1.50e3}'),
    ],
)
def test_json_without_a_status_code_is_the_body(payload: bytes, body: bytes) -> None:
    """
    The whole value is sent with 200, as real URLs do: a string without quotes, the rest without white space.
    """
    assert buffered_reply(payload) == Reply(200, body, {"content-type": "application/json"})


@given(value=JSON_VALUES.filter(lambda value: not isinstance(value, str) and "statusCode" not in str(value)))
def test_json_without_a_status_code_keeps_its_meaning(value: Any) -> None:
    """
    Taking the white space out changes no value, whatever strings are in it.
    """
    assert isinstance(body := reply_to(value).body, bytes)
    assert json.loads(body) == value


def test_response_of_the_documentation() -> None:
    """
    Status, headers, cookies and body are what the function says; names are in lower case.
    """
    answer = {
        "statusCode": 201,
        "headers": {"Content-Type": "text/plain", "My-Custom-Header": "Custom Value"},
        "body": "grüße",
        "cookies": ["Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Cookie_2=Value2; Max-Age=78000"],
        "isBase64Encoded": False,
    }
    headers = {
        "content-type": ["text/plain"],
        "my-custom-header": ["Custom Value"],
        "set-cookie": ["Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Cookie_2=Value2; Max-Age=78000"],
    }
    assert reply_to(answer) == Reply(201, "grüße".encode(), headers)


@pytest.mark.parametrize("status", [200, "418", 599])
def test_status_code_may_be_a_string(status: int | str) -> None:
    """
    Recorded on a real URL: "418" is 418.
    """
    assert reply_to({"statusCode": status}).status == int(status)


@pytest.mark.parametrize("answer", [{}, {"headers": None, "cookies": None, "body": None, "isBase64Encoded": None}])
def test_status_code_is_enough(answer: dict[str, Any]) -> None:
    """
    Everything else has a default: no body, and JSON as its type.
    """
    assert reply_to({"statusCode": 200, **answer}) == Reply(200, b"", {"content-type": ["application/json"]})


def test_header_values_of_other_types_become_text() -> None:
    """
    Numbers and booleans are written as in JSON.
    """
    reply = reply_to({"statusCode": 200, "headers": {"X-Count": 3, "X-Share": 0.5, "X-Last": True}})

    assert reply.headers == {
        "x-count": ["3"],
        "x-share": ["0.5"],
        "x-last": ["true"],
        "content-type": ["application/json"],
    }


def test_headers_of_the_connection_are_dropped() -> None:
    """
    The length and the encoding of the transfer are the server's business.
    """
    names = ["Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "TE", "Trailer", "Upgrade"]
    reply = reply_to({"statusCode": 200, "headers": dict.fromkeys(names, "1"), "body": "x"})

    assert reply.headers == {"content-type": ["application/json"]}


def test_values_of_many_are_for_other_formats() -> None:
    """
    Format 2.0 has no multiValueHeaders: a function that uses them has to see that they get lost.
    """
    reply = reply_to({"statusCode": 200, "multiValueHeaders": {"X-A": ["1", "2"]}})

    assert reply.headers == {"content-type": ["application/json"]}


@given(body=st.binary())
def test_binary_body_comes_as_base64(body: bytes) -> None:
    """
    Any bytes reach the client unchanged.
    """
    answer = {"statusCode": 200, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}

    assert reply_to(answer).body == body


@pytest.mark.parametrize("status", [204, 304])
def test_responses_that_cannot_have_a_body_have_none(status: int) -> None:
    """
    Its bytes would be taken for the next response on the connection.
    """
    assert reply_to({"statusCode": status, "body": "x"}).body == b""


def test_half_a_character_does_not_stop_the_response() -> None:
    """
    JSON can hold half of a surrogate pair, which has no encoding.
    """
    assert buffered_reply(b'{"statusCode": 200, "body": "a\\ud800b"}').body == b"a?b"
    assert buffered_reply(b'"a\\ud800b"').body == b"a?b"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"statusCode": 99}, "status code"),
        ({"statusCode": 101}, "status code"),
        ({"statusCode": 600}, "status code"),
        ({"statusCode": True}, "status code"),
        ({"statusCode": None}, "status code"),
        ({"statusCode": "OK"}, "status code"),
        ({"statusCode": [200]}, "status code"),
        ({"statusCode": 200, "headers": []}, "headers is not an object"),
        ({"statusCode": 200, "headers": {"x": None}}, "header 'x'"),
        ({"statusCode": 200, "headers": {"x": ["a"]}}, "header 'x'"),
        ({"statusCode": 200, "headers": {"x": "a\r\nSet-Cookie: b=c"}}, "control character"),
        ({"statusCode": 200, "headers": {"x": "a\0b"}}, "control character"),
        ({"statusCode": 200, "headers": {"x: y": "a"}}, "name of a header"),
        ({"statusCode": 200, "headers": {"": "a"}}, "name of a header"),
        ({"statusCode": 200, "cookies": "a=b"}, "cookies is not an array"),
        ({"statusCode": 200, "cookies": ["a=b\nc"]}, "control character"),
        ({"statusCode": 200, "body": {"a": 1}}, "json.dumps"),
        ({"statusCode": 200, "body": 3}, "json.dumps"),
        ({"statusCode": 200, "body": "a", "isBase64Encoded": "true"}, "isBase64Encoded"),
        ({"statusCode": 200, "body": "*", "isBase64Encoded": True}, "not base64"),
        ({"statusCode": 200, "body": "ü", "isBase64Encoded": True}, "not base64"),
    ],
)
def test_malformed_response_is_refused_with_the_reason(answer: Any, why: str) -> None:
    """
    A real URL says "Internal Server Error" and no more; here the developer is told what was wrong.
    """
    with pytest.raises(MalformedResponseError, match=why):
        reply_to(answer)


@pytest.mark.parametrize("payload", [b"", b"hello", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000])
def test_response_that_is_not_json_is_refused(payload: bytes) -> None:
    """
    A buffered URL maps JSON, and nothing else.
    """
    with pytest.raises(MalformedResponseError, match="not JSON"):
        buffered_reply(payload)


@given(
    answer=st.fixed_dictionaries({"statusCode": JSON_VALUES}, optional=dict.fromkeys(["headers", "body"], JSON_VALUES))
)
def test_whatever_a_function_answers_is_understood_or_refused(answer: dict[str, Any]) -> None:
    """
    There is no third way.
    """
    try:
        reply = reply_to(answer)
    except MalformedResponseError:
        return
    assert 200 <= reply.status <= 599


# Streams...


@given(body=st.binary(), cuts=st.lists(st.integers(0, 200)))
def test_prelude_is_found_however_the_stream_is_cut(body: bytes, cuts: list[int]) -> None:
    """
    The eight NULs may come in pieces, and the body may begin with NULs of its own.
    """
    document = {"statusCode": 206, "headers": {"Content-Type": "video/mp4"}, "cookies": ["a=b"]}
    stream = json.dumps(document).encode() + PRELUDE_END + body
    prelude, received, start = Prelude(), b"", 0
    for cut in [*sorted(cuts), len(stream)]:
        received += prelude.feed(stream[start:cut])
        start = max(start, cut)

    assert prelude.head == Reply(206, b"", {"content-type": ["video/mp4"], "set-cookie": ["a=b"]})
    assert received == body


def test_prelude_may_be_empty_and_have_several_values() -> None:
    """
    Every member is optional; multiValueHeaders are known to this format.
    """
    assert whole_stream(b"{}" + PRELUDE_END + b"x") == Reply(200, b"x", {"content-type": ["application/json"]})
    several = whole_stream(b'{"multiValueHeaders": {"Link": ["a", "b"]}}' + PRELUDE_END)
    assert several.headers == {"link": ["a", "b"], "content-type": ["application/json"]}


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "ended before"),
        (b'{"statusCode": 200}' + PRELUDE_END[:7], "ended before"),
        (b" " * (MAX_HEAD + 1), "no prelude within"),
        (PRELUDE_END, "not JSON"),
        (b"hello" + PRELUDE_END, "not JSON"),
        (b"\xff" + PRELUDE_END, "not JSON"),
        (b"[200]" + PRELUDE_END, "not a JSON object"),
        (b'{"statusCode": 1}' + PRELUDE_END, "status code"),
        (b'{"multiValueHeaders": {"a": "b"}}' + PRELUDE_END, "not an array"),
    ],
)
def test_malformed_prelude_is_refused_with_the_reason(stream: bytes, why: str) -> None:
    """
    As long as nothing was sent, the client can still be told.
    """
    with pytest.raises(MalformedResponseError, match=why):
        whole_stream(stream)
