"""
The CORS configuration of a function URL: what a browser is told before the function is asked, and beside its answers.

https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from lambda_ric.emulator.http.json_text import read_json
from lambda_ric.emulator.http.messages import Reply, Request
from lambda_ric.errors import ConfigurationError

_LISTS = {
    "AllowOrigins": "allow_origins",
    "AllowMethods": "allow_methods",
    "AllowHeaders": "allow_headers",
    "ExposeHeaders": "expose_headers",
}
_PREFIX = "access-control-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Who may call the URL from a page, and how; a star allows all."""

    allow_origins: Sequence[str] = ("*",)
    allow_methods: Sequence[str] = ("*",)
    allow_headers: Sequence[str] = ("*",)
    expose_headers: Sequence[str] = ()
    allow_credentials: bool = False
    max_age: int = 0
    """In seconds."""

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Return what *text* says: origins separated by commas, or JSON such as CloudFormation and the AWS CLI take.

        Raises:
            ConfigurationError: It is neither.
        """
        if not text.lstrip().startswith("{"):
            return cls(allow_origins=tuple(filter(None, (origin.strip().rstrip("/") for origin in text.split(",")))))
        try:
            return cls(**_fields(read_json(text)))
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(f"the CORS configuration cannot be understood: {exc}") from exc

    def answers(self, request: Request) -> bool:
        """Return whether *request* is a browser's question, which the function does not get."""
        return request.method == "OPTIONS" and "access-control-request-method" in request.headers

    def answer(self, request: Request) -> Reply:
        """Answer a browser's question; without the headers that it looks for, its page may not call."""
        headers = self._headers(request)
        if headers:
            headers["access-control-allow-methods"] = ",".join(self.allow_methods)
            headers["access-control-allow-headers"] = ",".join(self.allow_headers)
            if self.max_age:
                headers["access-control-max-age"] = str(self.max_age)
        return Reply(200, b"", headers)

    def applied(self, request: Request, reply: Reply) -> Reply:
        """Return *reply* to *request* with the headers of this configuration instead of the function's own."""
        kept = {name: value for name, value in reply.headers.items() if not name.lower().startswith(_PREFIX)}
        return replace(reply, headers={**kept, **self._headers(request)})

    def _headers(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or not ("*" in self.allow_origins or origin in self.allow_origins):
            return {}
        # With credentials a browser takes no star.
        star = "*" in self.allow_origins and not self.allow_credentials
        headers = {f"{_PREFIX}allow-origin": "*" if star else origin}
        if not star:
            headers["vary"] = "Origin"
        if self.allow_credentials:
            headers[f"{_PREFIX}allow-credentials"] = "true"
        if self.expose_headers:
            headers[f"{_PREFIX}expose-headers"] = ",".join(self.expose_headers)
        return headers


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
            fields[_LISTS[name]] = tuple(value)
        elif name == "AllowCredentials" and isinstance(value, bool):
            fields["allow_credentials"] = value
        elif name == "MaxAge" and isinstance(value, int) and 0 <= value <= 86400:
            fields["max_age"] = value
        else:
            known = ", ".join(_LISTS)
            raise ValueError(f"{name}={value!r}; there are {known}, AllowCredentials and MaxAge (0 to 86400)")
    return fields
