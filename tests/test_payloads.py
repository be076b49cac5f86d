"""Events in, results out: JSON as AWS's own runtime writes it, checked against that runtime itself."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import logging
import math
import pathlib
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from unittest import mock

import pytest
from awslambdaric.lambda_runtime_exception import FaultException
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_ric import Codec, Payload
from lambda_ric.errors import EventDecodeError, ResultEncodeError
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import FakeRuntimeAPI

MODEST = settings(deadline=None, max_examples=150, database=None)

JSON = "application/json"


@pytest.fixture(params=["utf8", "ascii"])
def codec(request: pytest.FixtureRequest) -> Codec:
    """Both codecs, where it makes no difference."""
    return Codec(ascii_only=request.param == "ascii")


@pytest.fixture
def of_aws(monkeypatch: pytest.MonkeyPatch) -> LambdaMarshaller:
    """AWS's own, as it is where it writes UTF-8."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    return LambdaMarshaller()


class Point(NamedTuple):
    """Written as an object, not as an array."""

    x: Any
    y: Any


class Colour(enum.IntEnum):
    """An int that has another repr."""

    RED = 1


class Size(enum.StrEnum):
    """A str that has another repr."""

    BIG = "big"


class Plain(enum.Enum):
    """Has no JSON form."""

    A = 1


@dataclasses.dataclass
class Data:
    """Neither has this."""

    x: int


class Circle:
    """Any object with the method of named tuples counts as one."""

    def _asdict(self) -> dict[str, Any]:
        return {"radius": Decimal("1.50"), "centre": Point(1, (2, b"c"))}


# Events in...


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json ;charset=UTF-8",
        "application/cloudevents+json",
    ],
)
def test_event_is_parsed_if_its_media_type_is_json(content_type: str) -> None:
    """Parity 54."""
    assert Codec().decode(b'{"a": [1, null]}', content_type) == {"a": [1, None]}


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "application/jsonx", "json", "x"])
def test_event_of_another_type_is_its_bytes(content_type: str) -> None:
    """Parity 54."""
    assert Codec().decode(b'{"a": 1}', content_type) == b'{"a": 1}'


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"a": 1}', b' {"a":\t1}\n', b'{"a": 1, "a": 2}', b"1e400", b"-1e400", b"1E5", b"0.1",
        b'"\\ud800"', b'"\\ud83d\\ude00"', b"12345678901234567890123", b'"\xc3\xa4"', b"null", b"[]", b"-0", b"-0.0",
    ],
)  # fmt: skip
def test_event_is_read_as_awss_runtime_reads_it(body: bytes) -> None:
    """Byte order mark, overflow, duplicate keys, lone surrogates, big integers. Parity 55."""
    ours, theirs = Codec().decode(body, JSON), LambdaMarshaller().unmarshal_request(body, JSON)

    assert (repr(ours), type(ours)) == (repr(theirs), type(theirs))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{'a': 1}", b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"\xff", b"[1,]", b"1 2", b'"\t"',
        b"\xef\xbb\xbf", b"[" * 100_000, b"1" * 5000, b'{"a": 1}'.replace(b"a", b"\x00"), '"ä"'.encode("utf-16"),
    ],
)  # fmt: skip
def test_event_that_is_not_json_fails_the_invocation_as_on_awss_runtime(body: bytes) -> None:
    """NaN and Infinity are not JSON, whatever Python says. Parity 32, 55."""
    with pytest.raises(FaultException):
        LambdaMarshaller().unmarshal_request(body, JSON)
    with pytest.raises(EventDecodeError, match=r"^Unable to unmarshal input: .") as refusal:
        Codec().decode(body, JSON)

    assert refusal.value.error_type == "Runtime.UnmarshalError"


def test_undecodable_event_is_explained_with_its_place() -> None:
    """Parity 32."""
    with pytest.raises(EventDecodeError) as refusal:
        Codec().decode(b'{"a": }', JSON)

    assert str(refusal.value) == "Unable to unmarshal input: Expecting value: line 1 column 7 (char 6)"


# ...results out...


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for lists, tuples and dictionaries of *leaves*."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(keys, inner, max_size=4)
            | st.builds(collections.OrderedDict, st.dictionaries(keys, inner, max_size=2))
        ),
        max_leaves=12,
    )


ANYTHING = nested(
    SCALARS
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.text().map(str.encode)
    | st.sampled_from((Colour.RED, Size.BIG, Circle(), Point(Decimal(1), [b"x", Circle()]), True, 10**30)),
    KEYS | st.sampled_from((Colour.RED, Size.BIG)) | st.text(max_size=3).map("bytes {}".format).map(str.encode),
)


@MODEST
@given(nested(SCALARS, st.text()))
def test_json_values_come_back_as_they_were(value: Any) -> None:
    """What one function returns the next one gets; a tuple as a list."""
    for codec in (Codec(), Codec(ascii_only=True)):
        body, content_type = codec.encode(value)

        assert codec.decode(body, content_type) == json.loads(json.dumps(value))


@MODEST
@given(nested(SCALARS, KEYS))
def test_json_values_are_written_as_the_standard_library_does(value: Any) -> None:
    """Separators, order of keys, keys that are no text, numbers. Parity 56, 63."""
    assert Codec(ascii_only=True).encode(value) == (json.dumps(value).encode(), JSON)
    assert Codec().encode(value)[0] == json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


@MODEST
@given(ANYTHING)
@example([Decimal("1.10"), Decimal("1E+3"), Decimal("NaN"), Decimal("-sNaN"), Decimal("-Infinity"), Decimal("-0")])
@example("\x7f\u2028\u2029")
@example({b"k": Point(1, Point(2, ())), Colour.RED: Size.BIG, None: 1.5, True: 2})
def test_result_is_written_as_awss_runtime_writes_it(value: Any) -> None:
    """To the byte. Parity 56, 57, 58, 60, 61, 63."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_EXECUTION_ENV", raising=False)
        in_ascii = LambdaMarshaller().marshal_response([value])[0]
        patch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
        in_utf8 = LambdaMarshaller().marshal_response([value])[0]

    assert Codec(ascii_only=True).encode([value])[0].decode() == in_ascii
    assert Codec().encode([value])[0].decode() == in_utf8


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"b": 1, "a": [1, 2.5, None, True]}, b'{"b": 1, "a": [1, 2.5, null, true]}'),
        (Decimal("1.10"), b"1.10"),
        ([Decimal("1E+3"), Decimal("NaN")], b"[1E+3, NaN]"),
        (Point(1, 2), b'{"x": 1, "y": 2}'),
        ({"p": [Point(1, Point(2, 3))]}, b'{"p": [{"x": 1, "y": {"x": 2, "y": 3}}]}'),
        (Circle(), b'{"radius": 1.50, "centre": {"x": 1, "y": [2, "c"]}}'),
        ({b"k\xc3\xa4": b"v"}, '{"kä": "v"}'.encode()),
        ([Colour.RED, Size.BIG], b'[1, "big"]'),
        ({Colour.RED: 1, 2.5: 2, None: 3, False: 4}, b'{"1": 1, "2.5": 2, "null": 3, "false": 4}'),
        (collections.OrderedDict(a=(1, 2)), b'{"a": [1, 2]}'),
        (10**30, b"1" + b"0" * 30),
        (None, b"null"),
        ("", b'""'),
    ],
)
def test_result_has_these_bytes(result: Any, body: bytes) -> None:
    """Callers compare text. Parity 56, 58, 60, 61, 63."""
    assert Codec().encode(result) == (body, JSON)


def test_text_is_utf_8_and_ascii_on_request() -> None:
    """The limit of a response counts bytes, and an escape takes six. Parity 4, 57."""
    assert Codec().encode("ä→😀")[0] == '"ä→😀"'.encode()
    assert Codec(ascii_only=True).encode("ä→😀")[0] == rb'"\u00e4\u2192\ud83d\ude00"'


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("\ud800", "\ud800"),
        ({"k\udfff": ["\udc80x"]}, {"k\udfff": ["\udc80x"]}),
        (Point(1, ("\ud800", Decimal(1))), {"x": 1, "y": ["\ud800", 1]}),
    ],
)
def test_lone_surrogate_is_escaped(result: Any, expected: Any, codec: Codec) -> None:
    """It has no UTF-8 form, which ends AWS's runtime with nothing posted. Parity 66."""
    body, _ = codec.encode(result)

    assert json.loads(body) == expected


@pytest.mark.parametrize(
    "result",
    [
        bytearray(b"x"), memoryview(b"x"), datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), uuid.UUID(int=0),
        {1}, frozenset((1,)), Data(1), Plain.A,
        range(3), (i for i in (1,)), collections.deque((1,)), collections.UserDict(a=1), pathlib.PurePath("x"),
        {}.keys(), {}.values(), {}.items(), object(), len, Point, re.compile("x"), 1j,
    ],
    ids=lambda result: type(result).__name__,
)  # fmt: skip
def test_what_has_no_json_form_fails_the_invocation_with_awss_words(
    result: Any, codec: Codec, of_aws: LambdaMarshaller
) -> None:
    """Alone, inside of plain values, and beside one that needs a rule of its own. Parity 32, 62."""
    for value in (result, {"a": [result]}, [Decimal(1), result]):
        with pytest.raises(FaultException) as fault:
            of_aws.marshal_response(value)
        with pytest.raises(ResultEncodeError) as refusal:
            codec.encode(value)

        assert str(refusal.value) == fault.value.msg
        assert str(refusal.value) == (
            f"Unable to marshal response: Object of type {type(result).__name__} is not JSON serializable"
        )
        assert refusal.value.error_type == "Runtime.MarshalError"


@pytest.mark.parametrize(("key", "kind"), [((1,), "tuple"), (Decimal(1), "Decimal"), (frozenset(), "frozenset")])
def test_key_that_has_no_json_form_fails_the_invocation_with_awss_words(
    key: Any, kind: str, codec: Codec, of_aws: LambdaMarshaller
) -> None:
    """Parity 64."""
    for value in ({key: 1}, [{"a": {key: Decimal(1)}}]):
        with pytest.raises(FaultException) as fault:
            of_aws.marshal_response(value)
        with pytest.raises(ResultEncodeError) as refusal:
            codec.encode(value)

        expected = f"Unable to marshal response: keys must be str, int, float, bool or None, not {kind}"
        assert str(refusal.value) == fault.value.msg == expected


def test_fields_that_are_no_dict_fail_the_invocation_with_awss_words(codec: Codec, of_aws: LambdaMarshaller) -> None:
    """A mock has every method. Parity 60."""
    with pytest.raises(FaultException) as fault:
        of_aws.marshal_response([mock.MagicMock()])
    with pytest.raises(ResultEncodeError) as refusal:
        codec.encode([mock.MagicMock()])

    expected = "Unable to marshal response: _asdict() must return a dict, not MagicMock"
    assert str(refusal.value) == fault.value.msg == expected


def circle_of(wrap: Callable[[list[Any]], Any], *first: Any) -> list[Any]:
    """Return a list that holds itself, in *wrap*, behind *first*."""
    circle = list(first)
    circle.append(wrap(circle))
    return circle


@pytest.mark.parametrize(
    "result",
    [
        circle_of(lambda inner: inner),
        circle_of(lambda inner: {"a": inner}),
        circle_of(lambda inner: inner, Decimal(1)),
        [circle_of(lambda inner: Point(1, inner), Decimal(1))],
    ],
)
def test_circle_fails_the_invocation_with_awss_words(result: Any, codec: Codec, of_aws: LambdaMarshaller) -> None:
    """Parity 65."""
    with pytest.raises(FaultException) as fault:
        of_aws.marshal_response(result)
    with pytest.raises(ResultEncodeError) as refusal:
        codec.encode(result)

    assert str(refusal.value) == fault.value.msg == "Unable to marshal response: Circular reference detected"


@pytest.mark.parametrize("innermost", [1, Decimal(1)])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "objects"])
def test_result_that_is_too_deep_fails_the_invocation(
    wrap: Callable[[Any], Any], innermost: Any, codec: Codec, of_aws: LambdaMarshaller
) -> None:
    """Parity 65."""
    result = innermost
    for _ in range(200_000):
        result = wrap(result)

    with pytest.raises(FaultException) as fault:
        of_aws.marshal_response(result)
    with pytest.raises(ResultEncodeError) as refusal:
        codec.encode(result)

    for text in (fault.value.msg, str(refusal.value)):
        # Python says what it was doing then, and from 3.14 on how much of the stack it had used.
        assert re.match(r"Unable to marshal response: (maximum recursion depth exceeded|Stack overflow)", text)


class Hostile:
    """Fails in a way that is neither a TypeError nor a ValueError."""

    def _asdict(self) -> dict[str, Any]:
        raise LookupError("no fields")


class HostileDict(dict[str, Any]):
    """Fails when it is read."""

    def items(self) -> Any:
        raise LookupError("no items")


@pytest.mark.parametrize("result", [Hostile(), [Hostile()], HostileDict(a=1)])
def test_whatever_a_result_raises_while_it_is_read_is_a_marshal_error(result: Any, codec: Codec) -> None:
    """The code of a result's class is the function's. Parity 32."""
    with pytest.raises(ResultEncodeError, match=r"^Unable to marshal response: no (fields|items)$"):
        codec.encode(result)


def test_bytes_that_are_not_utf_8_fail_the_invocation(codec: Codec) -> None:
    """Inside of a result they are text. Parity 61."""
    for value in ({"a": b"\xff"}, {b"\xff": 1}):
        with pytest.raises(ResultEncodeError, match="codec can't decode byte 0xff"):
            codec.encode(value)


@pytest.mark.parametrize("result", [b"\x00\xff", b"", b'{"a": 1}'])
def test_bytes_are_the_body_as_they_are(result: bytes, codec: Codec, of_aws: LambdaMarshaller) -> None:
    """Parity 36, 67."""
    assert codec.encode(result) == of_aws.marshal_response(result) == (result, "application/unknown")


@pytest.mark.parametrize("character", ["", '"', "\\", "\n", "\0", "\x1f", "\x7f", "é", "\ud800"])
@pytest.mark.parametrize("put", [lambda text: text, lambda text: {"statusCode": 200, "body": text, text: [text]}])
def test_long_text_is_written_like_a_short_one(codec: Codec, put: Callable[[str], Any], character: str) -> None:
    """Whatever is in it has to be escaped, or has not."""
    text = f"{'0123456789' * 1000}{character}."

    encoded, _ = codec.encode(put(text))

    short, _ = codec.encode(put(f"{character}."))
    assert encoded.replace(b"0123456789" * 1000, b"") == short
    assert json.loads(encoded) == put(text)


# ...with NaN...


@pytest.fixture
def warnings_of_nan(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], int]]:
    """Count the warnings so far."""
    with caplog.at_level(logging.WARNING, "lambda_ric.payloads"):
        yield lambda: sum("NaN or Infinity" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ([math.nan], b"[NaN]"),
        ({"a": math.inf}, b'{"a": Infinity}'),
        (-math.inf, b"-Infinity"),
        (Decimal("NaN"), b"NaN"),
    ],
)
def test_nan_is_sent_as_it_is_and_warned_of_once(result: Any, body: bytes, warnings_of_nan: Callable[[], int]) -> None:
    """Invalid JSON, but what AWS's runtime sends. Parity 59."""
    codec = Codec()

    bodies = [codec.encode(result)[0], codec.encode(result)[0]]

    assert bodies == [body, body]
    assert warnings_of_nan() == 1


@pytest.mark.parametrize("result", ["NaN", ["Infinity", "NaN"], {"NaN": 1}, "[NaN]"])
def test_words_that_look_like_nan_are_not_warned_of(result: Any, warnings_of_nan: Callable[[], int]) -> None:
    """They are text. Parity 59."""
    Codec().encode(result)

    assert warnings_of_nan() == 0


def test_result_cannot_pass_for_a_number(codec: Codec) -> None:
    """No text of a result is written without its quotes, whatever it holds."""
    first, _ = codec.encode([Decimal(1), "0"])
    second, _ = codec.encode([Decimal(1), '"lambda_ric:0"', "lambda_ric:0", "0", '":0"'])

    assert json.loads(first) == [1, "0"]
    assert json.loads(second) == [1, '"lambda_ric:0"', "lambda_ric:0", "0", '":0"']


# ...and with a type of the handler's own.


def test_handler_chooses_bytes_and_content_type(codec: Codec) -> None:
    """Parity 36."""
    assert codec.encode(Payload(b"<a/>", "text/xml; charset=utf-8")) == (b"<a/>", "text/xml; charset=utf-8")
    assert codec.encode(Payload(bytearray(b"\xff"))) == (b"\xff", "application/octet-stream")


@pytest.mark.parametrize("content_type", ["text/plain\r\nX-Injected: 1", "text/plain\n", "text/plän", "text\0"])
def test_content_type_that_would_break_the_head_is_refused(content_type: str) -> None:
    """A handler may take it from the event."""
    with pytest.raises(ValueError, match="cannot be a content type"):
        Payload(b"", content_type)


@pytest.mark.parametrize("body", ["text", None, {"a": 1}, 5])
def test_body_that_is_not_bytes_is_refused_where_it_is_made(body: Any) -> None:
    """In the handler, whose error it is, and not when it is sent."""
    with pytest.raises(TypeError, match=f"the body of a Payload is bytes, not '{type(body).__name__}'"):
        Payload(body)


def test_subclass_of_the_codec_reads_and_writes_in_its_own_way() -> None:
    """Parity 68."""

    class Upper(Codec):
        def decode(self, body: bytes, content_type: str) -> Any:
            return super().decode(body, content_type) if content_type == JSON else body.decode().upper()

        def encode(self, result: Any) -> tuple[bytes, str]:
            return (result.encode(), "text/plain") if isinstance(result, str) else super().encode(result)

    codec = Upper()

    assert [codec.decode(b"1", JSON), codec.decode(b"a", "text/plain")] == [1, "A"]
    assert [codec.encode([1]), codec.encode("a")] == [(b"[1]", JSON), (b"a", "text/plain")]


def test_codec_of_the_user_is_taken_by_run() -> None:
    """Parity 68."""
    program = """
import lambda_ric

class Reversed(lambda_ric.Codec):
    def encode(self, result):
        body, content_type = super().encode(result)
        return body[::-1], content_type

lambda_ric.run(lambda event, context: event, codec=Reversed())
"""
    with FakeRuntimeAPI([1, 2]) as api:
        environment = {**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address}
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=40, check=True)

    assert api.posts[0].body == b"]2 ,1["


# In the loop...


def test_responses_are_those_of_awss_runtime(serve: Serve) -> None:
    """Content types as posted. Parity 36, 54, 62, 67."""
    served = serve(
        """
        import lambda_ric
        from decimal import Decimal

        def handler(event, context):
            return {
                "bytes": b"raw",
                "decimal": {"n": Decimal("1.10")},
                "set": {1},
                "own": lambda_ric.Payload(b"<a/>", "text/xml"),
            }[event]
        """,
        "bytes",
        "decimal",
        "set",
        "own",
    )

    raw, decimal, error, own = served.posts
    assert (raw.headers["content-type"], raw.body) == ("application/unknown", b"raw")
    assert (decimal.headers["content-type"], decimal.body) == ("application/json", b'{"n": 1.10}')
    assert (own.headers["content-type"], own.body) == ("text/xml", b"<a/>")
    assert error.json() | {"requestId": ""} == {
        "errorMessage": "Unable to marshal response: Object of type set is not JSON serializable",
        "errorType": "Runtime.MarshalError",
        "requestId": "",
        "stackTrace": [],
    }


def test_named_tuple_is_an_object_where_no_decimal_was_ever_loaded(serve: Serve) -> None:
    """The runtime does not load that module, which takes its time. Parity 60."""
    served = serve(
        """
        import collections, sys
        Point = collections.namedtuple("Point", "x y")

        def handler(event, context):
            assert "decimal" not in sys.modules
            return [Point(1, 2), {b"k": b"v"}]
        """,
        None,
    )

    assert served.answers == [[{"x": 1, "y": 2}, {"k": "v"}]]


def test_setting_makes_responses_ascii(serve: Serve) -> None:
    """LAMBDA_RIC_JSON, whatever AWS_EXECUTION_ENV says. Parity 4."""
    source = "def handler(event, context): return 'ä'"

    bodies = [
        serve(source, 1, env=env).posts[0].body
        for env in (
            {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"},
            {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "LAMBDA_RIC_JSON": "ascii"},
        )
    ]

    assert bodies == ['"ä"'.encode(), b'"\\u00e4"']
