"""
JSON as a platform that is not written in Python understands it.
"""

from __future__ import annotations

import json


def check_json(data: bytes) -> None:
    """
    Refuse what is not one JSON value in UTF-8.

    Raises:
        ValueError: The text says what is wrong, and where.
    """
    try:
        _DECODER.decode(data.decode())
    except RecursionError as exc:
        raise ValueError("the document is nested too deeply") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"Invalid UTF-8 at byte {exc.start}") from exc


def is_json(data: bytes) -> bool:
    """Whether *data* is one JSON value in UTF-8."""
    try:
        check_json(data)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> float:
    raise ValueError(f"Unrecognized token '{constant}'")


# Python takes NaN and Infinity, which are not JSON, but no integer of more than 4,300 digits, which is.
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse)
