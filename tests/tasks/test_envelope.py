"""What a task looks like in a queue."""

from __future__ import annotations

import datetime
import json
import math
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_ric.errors import EnvelopeError
from lambda_ric.tasks.envelope import Envelope

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
Point = namedtuple("Point", "x y")


def envelope(*args: Any, **kwargs: Any) -> Envelope:
    return Envelope("app:send", args, kwargs, "id-1")


def document(**members: Any) -> str:
    """Return an envelope as another program might write it."""
    whole = {"v": 1, "task": "app:send", "args": [], "kwargs": {}, "id": "i", "attempt": 1, "origin": {}}
    return json.dumps({name: value for name, value in {**whole, **members}.items() if value is not ...})


# What is written...


def test_document_has_the_documented_members() -> None:
    """Other programs read and write it: the names are fixed."""
    sent = Envelope("app:send", ("o-17",), {"copy": True}, "id-1", 2, {"request_id": "r-1"}, "Root=1-2-3")

    assert json.loads(sent.encode()) == {
        "v": 1,
        "task": "app:send",
        "args": ["o-17"],
        "kwargs": {"copy": True},
        "id": "id-1",
        "attempt": 2,
        "origin": {"request_id": "r-1"},
        "trace": "Root=1-2-3",
    }


@given(args=st.lists(VALUES, max_size=3), kwargs=st.dictionaries(TEXT, VALUES, max_size=3), trace=st.none() | TEXT)
def test_what_was_encoded_is_decoded_as_it_was(args: list[Any], kwargs: dict[str, Any], trace: str | None) -> None:
    """The consumer calls the function with equal arguments."""
    sent = Envelope("app:send", args, kwargs, "id-1", 3, {"function": "f"}, trace)

    received = Envelope.decode(sent.encode())

    assert received is not None
    assert [getattr(received, name) for name in Envelope.__slots__] == [getattr(sent, name) for name in sent.__slots__]


@given(VALUES)
def test_encoded_text_is_ascii(value: Any) -> None:
    """SQS refuses some characters, which are escaped then; and its size limit counts bytes."""
    assert envelope(value).encode().isascii()


def test_tuple_arrives_as_a_list() -> None:
    """JSON has no tuples."""
    received = Envelope.decode(envelope((1, (2,))).encode())

    assert received is not None
    assert received.args == [[1, [2]]]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, datetime.date(2026, 1, 1)), {}, "argument 2 is of type date"),
        ((), {"when": datetime.date(2026, 1, 1)}, "argument 'when' is of type date"),
        (([{"a": b"x"}],), {}, r"argument 1\[0\]\['a'\] is of type bytes"),
        (({1: "one"},), {}, "argument 1 has a key of type int"),
        ((Point(1, 2),), {}, "argument 1 is of type Point"),
        (({1, 2},), {}, "argument 1 is of type set"),
    ],
)
def test_argument_without_a_json_form_is_named(args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
    """The caller has to find it: the task, its position or keyword, the place within it and its type."""
    with pytest.raises(TypeError, match=f"task 'app:send' cannot be handed over: its {message}"):
        envelope(*args, **kwargs).encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {"\udfff": 1}, 1 << 20_000], ids=lambda _: "")
def test_value_that_json_cannot_carry_is_refused(value: object) -> None:
    """What would arrive as something else, or not at all, is not sent."""
    with pytest.raises(ValueError, match="task 'app:send' cannot be handed over: its argument 1"):
        envelope(value).encode()


def test_value_that_contains_itself_is_refused() -> None:
    """Instead of a RecursionError from deep within."""
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ValueError, match="nested more than 100 deep, or contains itself"):
        envelope(value).encode()


def test_refused_value_is_not_in_the_text() -> None:
    """Arguments may be secret, and the text goes to a log."""
    with pytest.raises(TypeError) as caught:
        envelope(b"secret").encode()

    assert "secret" not in str(caught.value)


# ...and what is read


@given(st.text() | JSON.map(json.dumps))
def test_anything_else_is_none_or_an_envelope_error(text: str) -> None:
    """A queue has other producers: whatever they send, nothing else is raised."""
    try:
        assert Envelope.decode(text) is None
    except EnvelopeError:
        assert '"v"' in text


@given(
    st.fixed_dictionaries(
        {"v": st.just(1), "task": st.just("app:send")},
        optional=dict.fromkeys(("args", "kwargs", "id", "attempt", "origin", "trace"), JSON),
    )
)
def test_what_was_decoded_can_be_encoded(document: dict[str, Any]) -> None:
    """A task that has to be sent once more cannot fail by its arguments."""
    try:
        received = Envelope.decode(json.dumps(document))
    except EnvelopeError:
        return
    assert received is not None
    received.encode()


@pytest.mark.parametrize(
    "text",
    ["", "hello", "17", "[]", "{}", '{"task": "app:send"}', '{"v": 1}', "[" * 100_000, '{"v": 1, "task": 9'],
    ids=len,
)
def test_text_of_another_producer_is_no_envelope(text: str) -> None:
    """It is for the handler."""
    assert Envelope.decode(text) is None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"v": 2}, "later version of lambda_ric: its format is 2, and 1 is known"),
        ({"v": "1"}, "'v' is not 1"),
        ({"v": True}, "'v' is not 1"),
        ({"v": 0}, "'v' is not 1"),
        ({"task": 17}, "'task'"),
        ({"task": ""}, "'task'"),
        ({"args": {}}, "'args'"),
        ({"args": [math.nan]}, "'args'"),
        ({"args": ...}, "'args'"),
        ({"kwargs": []}, "'kwargs'"),
        ({"kwargs": {"a": "\ud800"}}, "'kwargs'"),
        ({"id": ...}, "'id'"),
        ({"attempt": 0}, "'attempt'"),
        ({"attempt": True}, "'attempt'"),
        ({"attempt": 1.0}, "'attempt'"),
        ({"origin": {"request_id": 1}}, "'origin'"),
        ({"trace": 1}, "'trace'"),
    ],
)
def test_malformed_envelope_is_refused(members: dict[str, Any], message: str) -> None:
    """It says that it is one, so it is not the handler's; the text says what is wrong."""
    with pytest.raises(EnvelopeError, match=message):
        Envelope.decode(document(**members))


def test_members_of_later_additions_are_passed_over() -> None:
    """A member may be added without a new version."""
    received = Envelope.decode(document(more="than this"))

    assert received is not None
    assert received.task == "app:send"


def test_repr_has_no_arguments() -> None:
    """It may end up in a log, and arguments may be secret."""
    assert repr(envelope("secret")) == "<Envelope 'app:send' 'id-1', attempt 1>"
