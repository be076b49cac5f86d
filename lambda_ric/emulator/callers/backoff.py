"""
How what waits in a queue finds an environment: again and again, at growing intervals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import ThrottledError

# Lambda's, in seconds.
FIRST_BACKOFF = 1.0


async def find_environment(
    submit: Callable[[Invocation], None],
    invocation: Invocation,
    expires: float,
    *,
    longest: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    scale: float = 1.0,
    on_throttle: Callable[[float], None] | None = None,
) -> bool:
    """
    Give *invocation* to *submit* until it is not throttled; return False if it was until it *expires*.

    The seconds between two tries double, up to *longest*; *scale* shortens them, and *on_throttle* is told of each.
    """
    backoff = FIRST_BACKOFF
    while clock() < expires:
        try:
            submit(invocation)
        except ThrottledError:
            delay = min(backoff * scale, max(expires - clock(), 0))
            if on_throttle is not None:
                on_throttle(delay)
            await sleep(delay)
            backoff = min(backoff * 2, longest)
        else:
            return True
    return False
