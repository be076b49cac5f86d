"""
JSON as a platform that is not written in Python understands it: the one judge of what is JSON.
"""

from __future__ import annotations

import json
from typing import Any

# Python's own limit of what it turns into an integer, https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
_MAX_DIGITS = 4300


def read_json(data: bytes | str) -> Any:
    """
    Return the value of *data*, one JSON document in UTF-8.

    A number that Python has no integer for is a float, be it infinite.

    Raises:
        ValueError: It is something else; the text says what is wrong, and where.
    """
    try:
        return _DECODER.decode(data if isinstance(data, str) else data.decode())
    except RecursionError as exc:
        raise ValueError("the document is nested too deeply") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"Invalid UTF-8 at byte {exc.start}") from exc


def is_json(data: bytes) -> bool:
    """Whether *data* is one JSON document in UTF-8."""
    try:
        read_json(data)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> float:
    raise ValueError(f"Unrecognized token '{constant}'")


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


# Python takes NaN and Infinity, which are not JSON, but no integer of more than 4,300 digits, which is.
_DECODER = json.JSONDecoder(parse_int=_number, parse_constant=_refuse)
