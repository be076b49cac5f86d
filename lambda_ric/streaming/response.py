"""
A streamed HTTP response: its status, headers, cookies and body, checked when it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from lambda_ric.protocol import PRELUDE_END

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence

    Chunk = bytes | bytearray | memoryview | str
    Body = Chunk | Iterable[Chunk] | AsyncIterable[Chunk]
    Headers = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


class StreamingResponse:
    """
    An HTTP response whose *body* is sent as it is made.

    *body* is an iterable or asynchronous iterable of bytes or str, or one of
    these itself. *headers* are names and values; a name with several values
    is given a list, or comes in several pairs. *cookies* are the values of
    ``Set-Cookie``, such as ``"theme=dark; Path=/"``.

    It is of use behind what streams: a function URL whose invoke mode is
    RESPONSE_STREAM, or a REST API that is set to stream.

    Raises:
        TypeError, ValueError: It could not be an HTTP response.
    """

    def __init__(self, body: Body, status_code: int = 200, headers: Headers = (), cookies: Sequence[str] = ()) -> None:
        if isinstance(status_code, bool) or not isinstance(status_code, int) or not 200 <= status_code <= 599:
            raise ValueError(f"status_code={status_code!r}: expected a number from 200 to 599")
        if isinstance(cookies, str):
            raise TypeError("cookies takes a list of them, not one text")
        self.body = body
        self.status_code = status_code
        self.headers: dict[str, list[str]] = {}
        self.cookies: list[str] = [_checked("Set-Cookie", cookie) for cookie in cookies]
        spelling: dict[str, str] = {}
        for name, given in _pairs(headers):
            if not isinstance(name, str) or not re.fullmatch(_NAME, name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            values = [_checked(name, value) for value in (given if isinstance(given, (list, tuple)) else [given])]
            if name.lower() == "set-cookie":
                self.cookies += values
            else:
                self.headers.setdefault(spelling.setdefault(name.lower(), name), []).extend(values)

    def prelude(self) -> bytes:
        """Return the head as it comes before the body: JSON, and eight NUL bytes."""
        document: dict[str, object] = {"statusCode": self.status_code}
        # A name must not be in both: API Gateway merges them.
        if single := {name: values[0] for name, values in self.headers.items() if len(values) == 1}:
            document["headers"] = single
        if several := {name: values for name, values in self.headers.items() if len(values) > 1}:
            document["multiValueHeaders"] = several
        if self.cookies:
            document["cookies"] = self.cookies
        return json.dumps(document).encode() + PRELUDE_END


# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def _pairs(headers: Headers) -> Iterable[tuple[str, str | Sequence[str]]]:
    # What is iterable may be a mapping of anything else, as far as pyright knows.
    return headers.items() if isinstance(headers, Mapping) else headers  # pyright: ignore[reportReturnType]


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the value of the header {name!r} is text, not {type(value).__name__!r}")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise ValueError(f"the value of the header {name!r} has a line break or another control character in it")
    return value
