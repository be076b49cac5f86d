"""
JSON documents as clients send them.
"""

from __future__ import annotations

import json
from typing import Any

from lambda_ric.emulator.http.messages import BodyTooLargeError, Request

# The platform sets no limit; something has to.
MAX_DOCUMENT = 1024 * 1024


async def read_document(request: Request) -> dict[str, Any]:
    """
    Read a JSON object; null is an empty one, as it is for the platform.

    Raises:
        ValueError: The body is something else, or too long.
    """
    try:
        body = await request.body(MAX_DOCUMENT)
    except BodyTooLargeError as exc:
        raise ValueError(f"more than {MAX_DOCUMENT} bytes") from exc
    text = body.decode(errors="replace")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as exc:
        if exc.pos >= len(text.rstrip()) or exc.msg.startswith("Unterminated string"):
            raise ValueError("unexpected end of JSON input") from exc
        raise ValueError(f"invalid character {text[exc.pos]!r} at position {exc.pos}") from exc
    except RecursionError as exc:
        raise ValueError("exceeded max depth") from exc
    if not isinstance(document, dict | None):
        raise ValueError("expected a JSON object")
    return document or {}
