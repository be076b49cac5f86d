"""
How many processes an environment has, and how many slots each of them.

AWS's three words, with AWS's meaning
(https://github.com/aws/aws-lambda-python-runtime-interface-client/issues/215), and one of our own. N is
AWS_LAMBDA_MAX_CONCURRENCY, and K the number of processors:

    process  N × 1             each with the ordinary loop
    thread   1 × N             N threads; a handler that is asynchronous runs on one event loop
    hybrid   K × floor(N / K)  each as `thread`
    async    1 × N             everything on one event loop, and no look at what the handler is
    unset                      the first process loads the function: 1 × N if its handler is asynchronous, else N × 1
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambda_ric.settings import Settings


class Plan:
    """The shape of an environment, as *settings* want it."""

    def __init__(self, settings: Settings) -> None:
        self.slots: int = settings.max_concurrency
        """Events at once in the whole environment."""
        self.mode: str = settings.concurrency_mode
        self.is_open: bool = not self.mode
        """Whether the first process decides, when it has loaded the function."""
        processes = {"process": self.slots, "hybrid": min(self.slots, _processors())}.get(self.mode, 1)
        self.shares: list[int] = [self.slots // processes] * processes
        """How many slots each process has."""

    def split(self) -> int:
        """Have a process for each slot, since the function is not asynchronous; return how many more that takes."""
        self.is_open, self.mode, self.shares = False, "process", [1] * self.slots
        return self.slots - 1

    def keep(self) -> None:
        """Have one process for all slots, since the function is asynchronous."""
        self.is_open, self.mode = False, "thread"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS
