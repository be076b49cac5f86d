"""
The extension's thread: it has the work of one invocation done, and lets Lambda go on when that is over.

    idle ──begin──▶ handling ──carry──▶ carrying ┬─ the worker has ended ────────────▶ at rest ──▶ idle
                                                 └─ it hangs: `Serving.cut_off` ─────▶ at rest ──▶ idle, or the end

The main thread writes up to *carry*, this one from there on, so nothing is carried twice at a time. Only the last step
is disputed: the worker may end while it is given up. Who takes the turn, under the lock, is the one who ends it.

There are two threads, since the worker may never come back. Where no thread is to be had, whoever is there does the
work.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from lambda_ric.errors import RuntimeAPIError
from lambda_ric.failures import exc_info, tell
from lambda_ric.threads import start_daemon

from .wakeups import Wakeups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import NoReturn

    from lambda_ric.runtime import Runtime

    from .extension import Extension
    from .turn import Turn

log: logging.Logger = logging.getLogger("lambda_ric.extension")

# Of the 250 ms that are left after a SIGTERM, a third is the work's: see Runtime.hurry.
_PATIENCE_AT_THE_END = 0.04


class Carrier:
    """Finishes what *runtime* has answered, and tells *extension*, if there is one, when an invocation is over."""

    def __init__(self, runtime: Runtime, extension: Extension | None) -> None:
        self._runtime = runtime
        self._extension = extension
        self._wakeups = Wakeups()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._turn: Turn | None = None
        self._context: Context | None = None
        self._due = False
        self._hurried = False
        self._at_rest = threading.Event()
        self._at_rest.set()

    # On the main thread...

    def start(self) -> None:
        """Listen for the end of the environment from the first event on, and not only while there is work."""
        self._wakeups.listen()
        self._thread = start_daemon("lambda_ric.extension", self._run)

    def begin(self, turn: Turn, context: Context) -> None:
        """Take note that *turn* is being answered in *context*."""
        self._turn, self._context = turn, context

    def carry(self) -> None:
        """Have finished what was begun: it has been answered."""
        turn = self._turn
        assert turn is not None
        if not turn.has_more_to_do:
            self._work()
            self._let_go(turn.request_id)
            return
        self._at_rest.clear()
        self._due = True
        self._wakeups.listen()
        if self._thread is not None and self._thread.is_alive():
            self._wakeups.wake()
            return
        self._thread = start_daemon("lambda_ric.extension", self._run)
        if self._thread is None:  # no more threads are to be had
            self._due = False
            self._work()
            self._let_go(turn.request_id)

    def skip(self, request_id: str) -> None:
        """Let go of an invocation whose handler was not called."""
        self._let_go(request_id)

    def wait(self) -> None:
        """Wait until everything is done: the process ends next, or would poll with nobody to hold it."""
        self._at_rest.wait()

    # ...on that of the extension...

    def _run(self) -> None:
        while True:
            try:
                self._carry(self._next_turn())
            except Exception as error:  # else every later invocation would wait for this thread
                tell(log, logging.ERROR, "the process ends, and Lambda starts a new one", exc_info=exc_info(error))
                self._exit(1)

    def _next_turn(self) -> Turn:
        """Wait for the next turn that is answered; end the process if it is to end."""
        while not self._due:
            turn = self._turn
            if not self._wakeups.has_to_end:
                self._wakeups.wait(None)
            elif turn is None:
                self._end()
            else:  # its handler is at work
                self._hurry()
                if time.time() >= turn.ends_at():
                    self._cut_off(turn)
                    self._end()
                self._wakeups.wait(turn.ends_at() - time.time())
        self._due = False
        assert self._turn is not None
        return self._turn

    def _carry(self, turn: Turn) -> None:
        if start_daemon("lambda_ric.after_response", self._work) is None:
            self._work()
        else:
            self._watch(turn)
        self._let_go(turn.request_id)

    def _watch(self, turn: Turn) -> None:
        """Return when *turn* is over; bring it to its end when its time is."""
        interrupt, grace = self._runtime.event_loop.interrupt, self._runtime.environment.grace
        while self._turn is not None:
            if self._wakeups.has_to_end:
                self._hurry()
            now, until = time.time(), turn.ends_at()
            if now < until:
                self._wakeups.wait(until - now if until - now < _FAR else None)
                continue
            interrupt.ask()  # a coroutine can be
            patience = _PATIENCE_AT_THE_END if self._hurried else 2 * grace
            give_up_at = until + (4 * patience if turn.is_ending else patience)
            if now >= give_up_at and self._cut_off(turn):
                return
            self._wakeups.wait(grace)

    def _cut_off(self, turn: Turn) -> bool:
        """End *turn* here and now, unless it has just ended; say whether that was so."""
        context = self._context
        if not self._take():
            return False
        assert context is not None
        beside = context.copy()  # the other one is entered, by the thread that hangs
        beside.run(turn.cut_off)
        beside.run(self._runtime.come_to_rest, turn)
        self._runtime.renew_event_loop()
        return True

    def _hurry(self) -> None:
        if not self._hurried:
            self._hurried = True
            self._runtime.hurry()

    # ...and on either.

    def _work(self) -> None:
        """Finish the turn."""
        turn, context = self._turn, self._context
        assert turn is not None
        assert context is not None
        context.run(turn.finish)
        if self._take():
            context.run(self._runtime.come_to_rest, turn)
            self._turn = None
            self._wakeups.wake()

    def _take(self) -> bool:
        """Take the turn, which ends now, and say whether nobody else has."""
        with self._lock:
            is_there, self._context = self._context is not None, None
            return is_there

    def _let_go(self, request_id: str) -> None:
        """Let Lambda go on, with this process or another one."""
        self._turn = None
        if self._wakeups.has_to_end:
            self._end()
        if self._runtime.interrupted and self._runtime.environment.settings.replaces_interrupted:
            from lambda_ric.process.recycling import EXIT_AFTER_INTERRUPTION, INTERRUPTED  # most processes never are

            tell(log, logging.WARNING, "the process ends, and Lambda starts a new one: %s", INTERRUPTED)
            self._exit(EXIT_AFTER_INTERRUPTION)
        self._at_rest.set()
        if self._extension is not None:
            try:
                self._extension.done(request_id)
            except RuntimeAPIError as error:
                what = "the process ends, and Lambda starts a new one, as no event comes without the extension: %s"
                tell(log, logging.ERROR, what, error)
                self._exit(1)

    def _end(self) -> NoReturn:
        """Run the on_shutdown hooks, and end the process: the main thread may be in a call that nobody can end."""
        self._hurry()
        self._runtime.shut_down()
        self._exit(0)

    def _exit(self, code: int) -> NoReturn:
        self._runtime.environment.logs.flush()
        os._exit(code)


_FAR = 3600.0
