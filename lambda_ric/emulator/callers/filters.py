"""
The filters of event source mappings: which records reach the function.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from lambda_ric.emulator.http.json_text import read_json
from lambda_ric.errors import ConfigurationError

_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "<": lambda found, wanted: found < wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    ">=": lambda found, wanted: found >= wanted,
}
_OPERATORS = {"anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix"}
_ABSENT = object()


class Filter:
    """One pattern; a record has to match all of it."""

    def __init__(self, pattern: Mapping[str, Any]) -> None:
        self._pattern = pattern

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Return the filter whose pattern is *text*: ``{"body": {"kind": ["order"]}}``.

        Raises:
            ConfigurationError: It is no pattern; the text says where.
        """
        try:
            pattern = read_json(text)
            if not isinstance(pattern, dict):
                raise ValueError("a pattern is an object")
            _check(pattern, "")
        except ValueError as exc:
            raise ConfigurationError(f"the filter {text!r} cannot be understood: {exc}") from exc
        return cls(pattern)

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Return whether *record*, as the function would see it, is to reach the function."""
        return _matches(self._pattern, record)


def _matches(pattern: Mapping[str, Any], value: Any) -> bool:
    if isinstance(value, str):  # the body of a message: a pattern of fields asks for JSON
        try:
            value = read_json(value)
        except ValueError:
            return False
    if not isinstance(value, dict):
        return False
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(_matches(alternative, value) for alternative in wanted):
                return False
        elif isinstance(wanted, dict):
            if not _matches(wanted, value.get(name)):
                return False
        elif not any(_rule_holds(rule, value.get(name, _ABSENT)) for rule in wanted):
            return False
    return True


def _rule_holds(rule: Any, found: Any) -> bool:
    if isinstance(found, list):  # one of its members has to match
        return any(_rule_holds(rule, member) for member in found)
    if not isinstance(rule, dict):
        return (type(found) is type(rule) and found == rule) or _are_equal_numbers(found, rule)
    ((operator, wanted),) = rule.items()
    match operator:
        case "exists":
            return (found is not _ABSENT and not isinstance(found, dict)) is wanted
        case "anything-but":
            return found is not _ABSENT and not any(
                _rule_holds(other, found) for other in (wanted if isinstance(wanted, list) else [wanted])
            )
        case "prefix":
            return isinstance(found, str) and found.startswith(wanted)
        case "suffix":
            return isinstance(found, str) and found.endswith(wanted)
        case "equals-ignore-case":
            return isinstance(found, str) and found.lower() == wanted.lower()
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return all(_NUMERIC[sign](found, number) for sign, number in zip(wanted[::2], wanted[1::2], strict=True))


def _are_equal_numbers(found: Any, rule: Any) -> bool:
    numbers = [value for value in (found, rule) if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == 2 and found == rule


def _check(pattern: Mapping[str, Any], place: str) -> None:
    for name, wanted in pattern.items():
        where = f"{place}.{name}" if place else name
        if isinstance(wanted, dict):
            _check(wanted, where)
        elif not isinstance(wanted, list) or not wanted:
            raise ValueError(f"{where}: expected a list of values or rules, or an object")
        elif name == "$or":
            for alternative in wanted:
                if not isinstance(alternative, dict):
                    raise ValueError(f"{where}: expected objects")
                _check(alternative, where)
        else:
            for rule in wanted:
                _check_rule(rule, where)


def _check_rule(rule: Any, where: str) -> None:
    if isinstance(rule, list):
        raise ValueError(f"{where}: a value cannot be a list")
    if not isinstance(rule, dict):
        return
    if len(rule) != 1 or not rule.keys() <= _OPERATORS - {"cidr"}:
        raise ValueError(f"{where}: expected one of {', '.join(sorted(_OPERATORS - {'cidr'}))}, not {', '.join(rule)}")
    ((operator, wanted),) = rule.items()
    if operator == "exists":
        well = isinstance(wanted, bool)
    elif operator == "numeric":
        well = (
            isinstance(wanted, list)
            and len(wanted) in (2, 4)
            and all(
                sign in _NUMERIC and isinstance(number, int | float)
                for sign, number in zip(wanted[::2], wanted[1::2], strict=True)
            )
        )
    elif operator == "anything-but":
        well = wanted not in ([], {}) and not isinstance(wanted, bool | None)
        for other in wanted if isinstance(wanted, list) else [wanted]:
            _check_rule(other, where)
    else:
        well = isinstance(wanted, str)
    if not well:
        raise ValueError(f"{where}: {operator} cannot be {wanted!r}")


def are_matched(filters: Sequence[Filter], record: Mapping[str, Any]) -> bool:
    """Say whether *record* matches one of *filters*, or there are none."""
    return not filters or any(one.matches(record) for one in filters)
