"""
Filter patterns of event source mappings, as AWS documents them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambda_ric.emulator import Filter
from lambda_ric.errors import ConfigurationError

ORDER = {"kind": "order", "total": 20, "tags": ["new", "gift"], "note": None, "paid": True, "place": {"city": "Bern"}}


@pytest.mark.parametrize(
    ("rules", "reaches"),
    [
        ({"kind": ["order", "invoice"]}, True),
        ({"kind": ["Order"]}, False),
        ({"kind": [{"equals-ignore-case": "ORDER"}]}, True),
        ({"kind": ["order"], "total": [20]}, True),
        ({"kind": ["order"], "total": [21]}, False),
        ({"total": [20.0]}, True),
        ({"total": ["20"]}, False),
        ({"total": [{"numeric": [">", 10, "<=", 20]}]}, True),
        ({"total": [{"numeric": ["=", 19]}]}, False),
        ({"paid": [True]}, True),
        ({"paid": [1]}, False),
        ({"paid": [{"numeric": ["=", 1]}]}, False),
        ({"note": [None]}, True),
        ({"missing": [None]}, False),
        ({"note": [""]}, False),
        ({"kind": [{"anything-but": ["invoice"]}]}, True),
        ({"kind": [{"anything-but": "order"}]}, False),
        ({"kind": [{"anything-but": {"prefix": "or"}}]}, False),
        ({"kind": [{"exists": True}], "missing": [{"exists": False}]}, True),
        ({"kind": [{"exists": False}]}, False),
        ({"kind": [{"prefix": "ord"}]}, True),
        ({"kind": [{"suffix": "ord"}]}, False),
        ({"tags": ["gift"]}, True),
        ({"tags": ["old"]}, False),
        ({"place": {"city": [{"suffix": "rn"}]}}, True),
        ({"place": {"street": ["x"]}}, False),
        ({"$or": [{"kind": ["x"]}, {"total": [20]}]}, True),
        ({"$or": [{"kind": ["x"]}, {"total": [21]}]}, False),
    ],
)
def test_message_reaches_the_function_if_it_matches(rules: dict[str, Any], reaches: bool) -> None:
    """Each rule of the documentation; all fields have to match, and one value of each."""
    assert Filter.read(json.dumps({"body": rules})).matches({"body": json.dumps(ORDER)}) is reaches


def test_pattern_for_json_does_not_match_text_and_one_for_text_does() -> None:
    """Whichever form the body has decides."""
    assert not Filter.read('{"body": {"kind": ["order"]}}').matches({"body": "order"})
    assert Filter.read('{"body": ["order"]}').matches({"body": "order"})
    assert Filter.read("{}").matches({"body": "order"})


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"a": 1}', '{"a": []}', '{"a": [[1]]}', '{"a": [{"like": "x"}]}', '{"a": [{"prefix": 1}]}',
        '{"a": [{"exists": 1}]}', '{"a": [{"numeric": [">"]}]}', '{"a": [{"numeric": ["~", 1]}]}', '{"$or": [1]}',
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """With the place at which it is wrong."""
    with pytest.raises(ConfigurationError, match="cannot be understood"):
        Filter.read(text)
