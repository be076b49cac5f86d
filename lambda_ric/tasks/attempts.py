"""
One run of a registered function: its attempts and the pauses between them.
"""

from __future__ import annotations

import logging
import time

from lambda_ric.background.work import OutOfTime, Work
from lambda_ric.callables import is_coroutine_function, name_of
from lambda_ric.failures import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .envelope import Envelope
    from .policy import Task

log: logging.Logger = logging.getLogger("lambda_ric.background")


class SupervisedWork(Work):
    """
    One run of a registered function by its *policy*, with as many attempts as that allows.

    *queued* is what a queue would get, if there is one for it. *until*
    returns when everything ends here, in seconds since 1970.
    """

    __slots__ = ("_until", "args", "kwargs", "policy", "queued")

    def __init__(
        self,
        policy: Task,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        queued: Envelope | None,
        until: Callable[[], float],
    ) -> None:
        super().__init__(name_of(policy))
        self.is_asynchronous: bool = is_coroutine_function(policy.function)
        self.call: Callable[[], Any] | None = self._attempt_async if self.is_asynchronous else self._attempt
        self.on: str = policy.on
        self.attempts: int = 0
        self.policy: Task[..., Any] = policy
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.queued = queued
        self._until = until

    def _attempt(self) -> Any:
        while True:
            started_at = self._begin_attempt()
            try:
                result = self.policy.function(*self.args, **self.kwargs)
            except Exception as error:
                time.sleep(self._pause_after(error))
            else:
                self.policy.record(time.time() - started_at)
                return result

    async def _attempt_async(self) -> Any:
        import asyncio

        while True:
            started_at = self._begin_attempt()
            try:
                async with asyncio.timeout(self.policy.timeout):
                    result = await self.policy.function(*self.args, **self.kwargs)
            except Exception as error:
                await asyncio.sleep(self._pause_after(error))
            else:
                self.policy.record(time.time() - started_at)
                return result

    def _begin_attempt(self) -> float:
        # What cannot go anywhere else is tried, however little time there is.
        if self.queued is not None and not self.fits_before(self._until()):
            raise OutOfTime(f"background task {self.name} does not fit before the deadline")
        self.attempts += 1
        return time.time()

    def _pause_after(self, error: Exception) -> float:
        """Return how long to wait before the next attempt; raise what ends the attempts here."""
        if self.attempts > self.policy.retries:
            raise error
        pause = self.policy.delay(self.attempts)
        if not self.fits_before(self._until(), pause):
            if self.queued is None:
                raise error
            raise OutOfTime(f"background task {self.name} has no time for another attempt") from error
        what = "background task %s failed, attempt %d of %d, the next in %.2f s: %s: %s"
        kind = type(error).__name__
        tell(log, logging.WARNING, what, self.name, self.attempts, self.policy.retries + 1, pause, kind, error)
        return pause

    def fits_before(self, until: float, pause: float = 0.0) -> bool:
        """Say whether an attempt that begins in *pause* seconds can be expected to end before *until*."""
        return time.time() + pause + (self.policy.expected or 0.0) <= until

    def let_go(self) -> None:
        """Forget the work and its arguments."""
        super().let_go()
        self.args, self.kwargs, self.queued = (), {}, None
