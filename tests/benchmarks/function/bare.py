"""A handler that waits as long as a read from a database takes, on AWS's own runtime without this package."""

from __future__ import annotations

import time


def handler(event: object, context: object) -> dict[str, int]:
    time.sleep(0.005)
    return {"statusCode": 200}
