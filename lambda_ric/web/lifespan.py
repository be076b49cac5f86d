"""
The lifespan of an ASGI application: its startup when the environment starts, its shutdown when that ends.

    https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context

from lambda_ric.failures import exc_info, tell
from lambda_ric.hooks import on_shutdown, on_startup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Literal

log: logging.Logger = logging.getLogger("lambda_ric.lifespan")


class Lifespan:
    """
    Starts *app* before the first event, and has it shut down at the end.

    In between it is suspended, and holds what it has made. *mode* is ``on``,
    ``off``, or ``auto``: an application that raises before it has answered
    knows of no lifespan.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[Any]], mode: Literal["auto", "on", "off"]) -> None:
        self.state: dict[str, Any] = {}
        """What the application has put there for its requests."""
        self._app = app
        self._mode = mode
        self._starting = asyncio.Lock()
        self._started = mode == "off"
        if mode != "off":
            on_startup(self.start)

    @property
    def is_started(self) -> bool:
        """Whether the application is, or has no lifespan."""
        return self._started

    async def start(self) -> None:
        """
        Start the application, unless that has been done.

        Raises:
            RuntimeError: It says that it could not start, and does not raise why.
            BaseException: It raises that.
        """
        async with self._starting:
            if self._started:
                return
            try:
                await self._start()
            except BaseException:
                self._task.cancel()
                raise
            self._started = True

    async def _start(self) -> None:
        self._received, self._answer = 0, {"type": ""}
        self._answered, self._stopping, self._stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # In a context of its own: when the first request starts it, it is no part of that one.
        self._task = asyncio.Task(self._run(), context=Context())
        self._task.add_done_callback(self._ended)
        await self._answered.wait()
        if self._answer["type"] == "lifespan.startup.failed":
            # Frameworks raise the reason after that; whoever does not has said it in words.
            raise _error_of(self._task) or RuntimeError(f"startup failed: {self._answer.get('message', '')}")
        if self._answer["type"] == "lifespan.startup.complete":
            self._task.add_done_callback(_log_error)
            if not self._task.done():
                on_shutdown(self.stop)
            return
        error = _error_of(self._task)
        if error is not None and (self._mode == "on" or not isinstance(error, Exception)):
            raise error
        log.debug("the application has no lifespan: %r", error)

    async def stop(self) -> None:
        """Have the application shut down, and wait for its answer."""
        self._stopping.set()
        await self._stopped.wait()
        # Frameworks return now, or raise why they could not; one that waits for more has had its last message.
        await asyncio.sleep(0)
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        if self._answer["type"] == "lifespan.shutdown.failed" and _error_of(self._task) is None:
            raise RuntimeError(f"shutdown failed: {self._answer.get('message', '')}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._answered.set()
        self._stopped.set()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        if self._received > 2:
            await asyncio.get_running_loop().create_future()  # there is no further message
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: dict[str, Any]) -> None:
        phase = "shutdown" if self._answered.is_set() else "startup"
        if message["type"] not in (f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"):
            raise RuntimeError(f"unexpected ASGI message {message['type']!r} instead of 'lifespan.{phase}.complete'")
        self._answer = message
        if phase == "shutdown":
            self._stopped.set()
        self._answered.set()


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _log_error(task: asyncio.Task[None]) -> None:
    error = _error_of(task)
    if error is not None:
        tell(log, logging.ERROR, "the lifespan of the application ended with an error", exc_info=exc_info(error))
