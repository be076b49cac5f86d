"""A handler that writes one log record and one line."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def handler(event: object, context: object) -> dict[str, bool]:
    log.warning("stock of %s is low", "kettle-0001")
    print("order o-17 accepted")
    return {"ok": True}
