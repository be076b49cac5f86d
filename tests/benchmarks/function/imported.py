"""The same as `bare`, with this package: what it costs to be ready for work, and to hand some over."""

from __future__ import annotations

import time

from lambda_ric import wait_until


def ready(event: object, context: object) -> dict[str, int]:
    time.sleep(0.005)
    return {"statusCode": 200}


def handing(event: object, context: object) -> dict[str, int]:
    wait_until(int)
    time.sleep(0.005)
    return {"statusCode": 200}
