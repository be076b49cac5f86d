"""
A task on its way through a queue: the JSON document that names it and holds its arguments.
"""

from __future__ import annotations

import json
from math import isfinite

from lambda_ric.errors import EnvelopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

VERSION = 1

EVENT_SOURCE = "lambda-ric:task"
"""What a record has, where those of SQS have ``aws:sqs``, when a task came by an asynchronous invocation."""

# Python's own limits on what json can read again: nesting by the recursion limit, integers by 4,300 digits.
_DEEPEST = 100
_MOST_BITS = 14_000


class Envelope:
    """
    One call of a task: its name, its arguments, and where it comes from.

    *id* stays the same through all attempts; *attempt* counts from 1. *origin*
    says who handed it over, by ``request_id``, ``function_arn`` and
    ``function``; *trace* is the trace header of that invocation. With a *key*
    it is signed.
    """

    __slots__ = ("_key", "args", "attempt", "id", "kwargs", "origin", "task", "trace")

    def __init__(
        self,
        task: str,
        args: Iterable[Any],
        kwargs: dict[str, Any],
        id: str,
        attempt: int = 1,
        origin: dict[str, str] | None = None,
        trace: str | None = None,
        key: bytes | None = None,
    ) -> None:
        self.task: str = task
        self.args: list[Any] = list(args)
        self.kwargs: dict[str, Any] = kwargs
        self.id: str = id
        self.attempt: int = attempt
        self.origin: dict[str, str] = origin or {}
        self.trace: str | None = trace
        self._key = key

    def encode(self) -> str:
        """
        Return it as compact JSON, in ASCII.

        What `decode` makes of it is equal to it, but that tuples have become lists.

        Raises:
            TypeError: An argument has no JSON form, or a key that is no string; the text names it.
            ValueError: An argument is a number or text that JSON cannot carry, or is nested too deep.
        """
        named = [(f"argument {number}", value) for number, value in enumerate(self.args, 1)]
        for name, value in [*named, *((f"argument {key!r}", value) for key, value in self.kwargs.items())]:
            found = _obstacle(value)
            if found is not None:
                where, error = found
                raise type(error)(f"task {self.task!r} cannot be handed over: its {name}{where} {error}")
        document = {
            "v": VERSION,
            "task": self.task,
            "args": self.args,
            "kwargs": self.kwargs,
            "id": self.id,
            "attempt": self.attempt,
            "origin": self.origin,
        }
        if self.trace is not None:
            document["trace"] = self.trace
        if self._key is not None:
            document[_SIGNATURE] = signature_of(document, self._key)
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str, keys: Sequence[bytes] = ()) -> Envelope | None:
        """
        Read *text*; return None if it is something else: not JSON, or without ``v`` and ``task``.

        Raises:
            EnvelopeError: It says that it is an envelope, and is malformed or of a later version, or there are *keys*
                and none of them has signed it.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or "v" not in document or "task" not in document:
            return None
        version = document["v"]
        if type(version) is int and version > VERSION:
            raise EnvelopeError(
                f"a task was sent by a later version of lambda_ric: its format is {version}, and {VERSION} is known"
            )
        if type(version) is not int or version != VERSION:
            raise EnvelopeError(f"a task is malformed: its 'v' is not {VERSION}")
        for key, understood in _MEMBERS.items():
            if not understood(document.get(key)):
                raise EnvelopeError(f"a task is malformed: its {key!r} is missing, or not what it should be")
        if keys and not _is_signed(document, keys):
            raise EnvelopeError(
                f"task {document['task'][:_LONGEST]!r} is not run: it is not signed with LAMBDA_RIC_TASK_KEY, which "
                "whoever sends it needs to have, too"
            )
        members: dict[str, Any] = {key: document.get(key) for key in _MEMBERS}
        return cls(**members, key=keys[0] if keys else None)

    def __repr__(self) -> str:
        # Without the arguments, which may be secret.
        return f"<Envelope {self.task!r} {self.id!r}, attempt {self.attempt}>"


_SIGNATURE = "signature"
_LONGEST = 250


def signature_of(document: dict[str, Any], key: bytes) -> str:
    """
    Return the signature of an envelope: HMAC with SHA-256, in hexadecimal digits.

    Signed is everything but the signature, as compact JSON in ASCII with sorted keys.
    """
    import hmac  # with OpenSSL: only functions with a key pay for it

    signed = {name: value for name, value in document.items() if name != _SIGNATURE}
    text = json.dumps(signed, separators=(",", ":"), sort_keys=True)
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _is_signed(document: dict[str, Any], keys: Sequence[bytes]) -> bool:
    import hmac

    given = document.get(_SIGNATURE)
    if not isinstance(given, str) or not given.isascii():
        return False
    # Compared in a time that tells nothing about how much of it is right.
    return any(hmac.compare_digest(signature_of(document, key), given) for key in keys)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and _obstacle(value) is None


_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "task": _is_text,
    "args": lambda value: isinstance(value, list) and _obstacle(value, -1) is None,
    "kwargs": lambda value: isinstance(value, dict) and _obstacle(value, -1) is None,
    "id": _is_text,
    "attempt": lambda value: type(value) is int and value > 0,
    "origin": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    "trace": lambda value: value is None or isinstance(value, str),
}
"""What a document has, and what each value has to be."""


def _obstacle(value: Any, depth: int = 0) -> tuple[str, Exception] | None:
    """Return why *value* would not come through JSON as it is, and where in it; None if it would."""
    if depth > _DEEPEST:
        return "", ValueError(f"is nested more than {_DEEPEST} deep, or contains itself")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if _is_unicode(value) else ("", ValueError("has a lone surrogate, which is no character"))
    if isinstance(value, int):
        return None if value.bit_length() <= _MOST_BITS else ("", ValueError("is too large an integer"))
    if isinstance(value, float):
        return None if isfinite(value) else ("", ValueError(f"is {value!r}, a number that JSON does not have"))
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return "", TypeError(f"has a key of type {type(key).__name__}, where JSON has strings only")
            found = _obstacle(key) or _obstacle(item, depth + 1)
            if found is not None:
                return f"[{key!r}]{found[0]}", found[1]
        return None
    # A named tuple would come out as a list without names.
    if isinstance(value, list) or type(value) is tuple:
        for index, item in enumerate(value):
            found = _obstacle(item, depth + 1)
            if found is not None:
                return f"[{index}]{found[0]}", found[1]
        return None
    return "", TypeError(f"is of type {type(value).__name__}, which has no JSON form")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
