"""
The head of a response, as it comes from an application: checked once, for both ways to answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lambda_ric.streaming.response import StreamingResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Head:
    """
    The *status* of a response, and its *headers*: the values of each name, which is in lower case.

    Raises:
        TypeError, ValueError: It cannot be sent; a function answers with statuses from 200 to 599.
    """

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"a function cannot answer with the status {status!r}, only with 200 to 599")
        self.status: int = status
        self.headers: dict[str, list[str]] = {}
        for name, value in headers:
            known = _known_name(name) if type(name) is bytes else _name(name)
            text = _text(value)
            if not text.isprintable() and _CONTROL.search(text):
                raise ValueError(
                    f"the value of the header {known!r} has a line break or another control character in it"
                )
            self.headers.setdefault(known, []).append(text)
        # It is about a connection, and how the body gets over that is Lambda's business.
        self.headers.pop("transfer-encoding", None)

    def streaming(self, body: Any) -> StreamingResponse:
        """Return the response that sends *body* as it is made."""
        return StreamingResponse(body, self.status, self.headers)


# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _name(name: object) -> str:
    if not isinstance(name, (bytes, bytearray)):
        raise TypeError(f"names and values of headers are bytes, not {type(name).__name__!r}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a header")
    return name.decode("ascii").lower()


# An application has the same ones again and again.
_known_name = lru_cache(256)(_name)


def _text(value: object) -> str:
    if not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"names and values of headers are bytes, not {type(value).__name__!r}")
    try:
        # What writes the header to the client encodes it so: its bytes are those of the application.
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
