"""
Paths of HTTP events: percent-encoded again where AWS has decoded them, and split where the application is mounted.

"Recorded" marks what AWS does not document, and was seen with the real services.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Every visible character but those that end a path.
_RECEIVED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "?#")
# https://www.rfc-editor.org/rfc/rfc3986#section-3.3
_DECODED = "/:@!$&'()*+,;="
_is_received = re.compile(r"[!\"$->@-~]*").fullmatch
_is_decoded = re.compile(r"[A-Za-z0-9_.~/:@!$&'()*+,;=-]*").fullmatch


def received(path: str) -> str:
    """Return *path*, which was not decoded, without what cannot be part of a path."""
    # To look costs a fifth of what quote does: most have nothing in them that has to be encoded.
    return _absolute(path if _is_received(path) else quote(path, _RECEIVED, errors="replace"))


def decoded(path: str) -> str:
    """Return *path*, which was decoded, percent-encoded."""
    return _absolute(path if _is_decoded(path) else quote(path, _DECODED, errors="replace"))


def mount_point(root_path: str) -> str:
    """Return *root_path*, which is not encoded, as a mount point: empty, or with a slash before it and none after."""
    return decoded(root_path.strip("/")).rstrip("/")


def below(mount: str, path: str) -> str | None:
    """Return the rest of *path*, or None if it is not below *mount*."""
    if path == mount or path.startswith(f"{mount}/"):
        return _absolute(path[len(mount) :])
    return None


def split_at_resource(path: str, resource: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Split *path* before what the resource of an API, like ``/orders/{id}``, stands for."""
    # In one pass: a client's value may look like a placeholder.
    parts = [
        str(parameters.get(part[1:-1].rstrip("+"), part)).strip("/") if "{" in part else part
        for part in resource.split("/")
    ]
    resource = "/".join(parts)
    mount = path.rstrip("/").rsplit("/", resource.rstrip("/").count("/"))[0]
    # Recorded: parameters are decoded or not.
    if resource.startswith("/") and unquote(path[len(mount) :]).rstrip("/") == unquote(resource).rstrip("/"):
        return mount, _absolute(path[len(mount) :])
    return "", path


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"
