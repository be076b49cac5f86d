"""
What invocations are served with, and until when.

Everything that lives as long as the process is in its one `Environment`; each invocation has `TimeLimits` of its own.
"""

from __future__ import annotations

import math
import os
import time
from functools import partial

from .payloads import Codec, checked_encode
from .spans import Spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .background.work import Work
    from .background.workers import Threads
    from .client import RuntimeClient
    from .event_loop import EventLoop
    from .hooks import Hooks
    from .logs import Logs
    from .protocol import Invocation
    from .settings import Settings


class Environment:
    """What all invocations of this process have in common: *handler*, and everything that it takes to serve it."""

    __slots__ = (
        "_threads", "before_follow_up", "client", "decode", "encode", "event_loop", "grace", "handler", "hooks", "logs",
        "process", "settings", "spans",
    )  # fmt: skip

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        client: RuntimeClient,
        settings: Settings,
        logs: Logs,
        hooks: Hooks,
        codec: Codec | None,
        event_loop: EventLoop,
    ) -> None:
        self.handler: Callable[[Any, Any], Any] = handler
        self.client: RuntimeClient = client
        self.settings: Settings = settings
        self.logs: Logs = logs
        self.hooks: Hooks = hooks
        self.event_loop: EventLoop = event_loop
        own_codec = Codec(ascii_only=settings.ascii_json) if codec is None else codec
        self.decode: Callable[[bytes, str], Any] = own_codec.decode
        self.encode: Callable[[Any], tuple[bytes, str]] = (
            own_codec.encode if codec is None else partial(checked_encode, codec)
        )
        self.spans: Spans = Spans(settings.spans_fd)
        self.grace: float = settings.deadline_margin / 4
        """Seconds that code is given to end after it has been interrupted."""
        self.process: int = os.getpid()
        self.before_follow_up: Callable[[], object] | None = None
        """Called when something follows an answer: a SIGTERM has to hurry that, whatever the handler has done to it."""
        self._threads: Threads | None = None

    @property
    def abandoned(self) -> list[Work]:
        """Work of the last invocation that had not ended with it."""
        return self._threads.abandoned if self._threads is not None else []

    @property
    def threads(self) -> Threads:
        """The places for background work in threads."""
        if self._threads is None:
            from .background.workers import Threads  # most functions have no such work

            self._threads = Threads(self.settings.max_threads)
        return self._threads


class TimeLimits:
    """
    When the code of one invocation is stopped, all in seconds since 1970.

    *soft_deadline* is that of the handler, so that its caller gets an error
    with a stack trace; *until* that of what comes after the answer; *last* is
    the latest for the before_freeze hooks, which have their turn after that.
    """

    last: float = math.inf
    _limit: float | None = None
    _was_hurried: bool = False

    def __init__(self, invocation: Invocation, settings: Settings) -> None:
        deadline = invocation.deadline
        # Where Lambda gives very little time, half of it stays the handler's.
        self._timeout = left = deadline - invocation.received_at
        margin, soft = settings.deadline_margin, settings.soft_deadline
        self.until: float = deadline - (margin if margin < left / 4 else left / 4)
        self.soft_deadline: float = math.inf
        if soft is not None:
            self.soft_deadline = deadline - (soft if soft < left / 2 else left / 2)

    def limit(self, seconds: float) -> None:
        """Leave no more than that from now on to what comes after the answer, since the user wants it so."""
        until = time.time() + seconds
        if until < self.until:
            self.until, self._limit = until, seconds

    def hurry(self, until: float, last: float) -> None:
        """Bring both ends forward, since the process has to end."""
        if until < self.until:
            self.until, self._was_hurried = until, True
        self.last = last

    def cause(self, written: Callable[[float], str]) -> tuple[str, str]:
        """Return what set *until*, and what gives more time, if anything does; *written* makes text of seconds."""
        if self._was_hurried:
            return "the end of the environment", ""
        if self._limit is not None:
            return f"LAMBDA_RIC_BACKGROUND_LIMIT_MS={self._limit * 1000:.0f}", "raise that"
        return f"the function's timeout of {written(self._timeout)}", "raise the timeout"
