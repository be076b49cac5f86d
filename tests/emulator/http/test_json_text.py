"""
What is JSON, and what only Python takes for it.
"""

from __future__ import annotations

import pytest

from lambda_ric.emulator.http.json_text import is_json, read_json


@pytest.mark.parametrize("text", [b"{}", b" null ", b'"\xc3\xa4"', b"-1.5e3", b"9" * 5000, b'"\\ud800"'])
def test_json_is_json(text: bytes) -> None:
    """Numbers may be longer than Python's."""
    assert is_json(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "Expecting value"),
        (b"NaN", "Unrecognized token 'NaN'"),
        (b"[-Infinity]", "Unrecognized token '-Infinity'"),
        (b"{'a': 1}", "Expecting property name"),
        (b"1 2", "Extra data"),
        (b'["\xff"]', "Invalid UTF-8 at byte 2"),
        (b"\xff\xfe{\x00}\x00", "Invalid UTF-8 at byte 0"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_in_words(text: bytes, problem: str) -> None:
    """The caller is told what is wrong, and where."""
    with pytest.raises(ValueError, match=problem):
        read_json(text)
    assert not is_json(text)
