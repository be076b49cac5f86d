"""Answers, goes on in the background, and has something to do at the end."""

from __future__ import annotations

import os
from typing import Any

from lambda_ric import on_shutdown, wait_until


def goodbye() -> None:
    print("goodbye")


if "GOODBYE" in os.environ:
    on_shutdown(goodbye)


def handler(event: Any, context: Any) -> Any:
    wait_until(print, f"after {event}")
    wait_until(later, event)
    print(f"during {event}")
    return event


async def later(event: Any) -> None:
    print(f"later {event}")
