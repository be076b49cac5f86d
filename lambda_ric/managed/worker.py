"""
A worker: one process of a managed environment, and what it owes the supervisor.

It tells by single bytes on a pipe, so that nothing has to be read twice: what the function is, that it has asked for
an event, and that it wants another worker in its place.
"""

from __future__ import annotations

import logging
import math
import os

from lambda_ric.callables import is_asynchronous_generator_function, is_coroutine_function, unwrapped
from lambda_ric.client import RuntimeClient
from lambda_ric.connection import Connection, read_reply
from lambda_ric.handover import BLOCKING
from lambda_ric.hooks import PROCESS_HOOKS
from lambda_ric.log_sinks import LineStream
from lambda_ric.logs import Logs
from lambda_ric.process.recycling import Recycling
from lambda_ric.process.shutdown_notice import Extension
from lambda_ric.replies import Reply, ReplyParser

from .ledger import Ledger, bytes_sent
from .lines import AttributedLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from lambda_ric.connection import Socket
    from lambda_ric.protocol import Invocation
    from lambda_ric.runtime import Runtime
    from lambda_ric.settings import Address, Settings, Start

log: logging.Logger = logging.getLogger("lambda_ric.managed")

READY: Final = 1
ASYNCHRONOUS: Final = 2
SYNCHRONOUS: Final = 3
LEAVING: Final = 4
"""The words of a worker to the supervisor."""

API_LOST: Final = 69
"""The exit code of a worker that cannot reach the Runtime API any longer: nobody else will."""


class Post:
    """The place of this process in the environment: its *slots* in the *ledger*, and the pipe for its *news*."""

    def __init__(
        self,
        ledger: Ledger,
        slots: list[int],
        left: list[int],
        connections: dict[int, Socket],
        news: int,
        mode: str,
        address: Address,
        log_socket: str,
    ) -> None:
        self.ledger = ledger
        self.slots = slots
        self.left = left
        """Slots of a worker that has died, each of which has asked for an event: that is for this one to serve."""
        self.mode: str = mode
        """One of the words of `plan`; empty while it is not known."""
        self.is_on_loop: bool = False
        """Whether the handler is called on the event loop; else in threads, or by the ordinary loop."""
        self.address = address
        self._connections = connections
        self._news = news
        self._is_ready = False
        if log_socket:
            _redirect_output(log_socket)

    @staticmethod
    def logs(settings: Settings) -> Logs:
        """Return the log of this worker."""
        return Logs(settings, AttributedLines if settings.json_logs else LineStream)

    def decide(self, handler: Callable[..., Any]) -> None:
        """Settle the mode, if nobody has, by what *handler* is, and where it runs."""
        # What has replaced names of AWS's runtime, as Sentry's integration does, takes a call for the whole invocation.
        is_async = PROCESS_HOOKS.answer is None and is_asynchronous(handler)
        self.is_on_loop = self.mode == "async" or (is_async and self.mode != "process")
        if self.mode:
            return
        if is_async:
            self.mode = "async"
            self._tell(ASYNCHRONOUS)
        else:
            self.mode = "process"
            del self.slots[1:]
            self._tell(SYNCHRONOUS)

    @property
    def serves_one_at_a_time(self) -> bool:
        """Whether this is a worker with the ordinary loop."""
        return self.mode == "process"

    def client(self) -> SlotClient:
        """Return the client of the first slot."""
        return SlotClient(self, self.slots[0])

    def socket(self, slot: int) -> Socket | None:
        """Return what the supervisor has connected for *slot*, once."""
        return self._connections.pop(slot, None)

    @staticmethod
    def extension(runtime: Runtime) -> Extension:
        """Return what ends the wait for an event at a SIGTERM; it is the supervisor that has registered for that."""
        return Extension(runtime.hurry)

    def departure(self, settings: Settings, start: Start, runtime: Runtime) -> Departure:
        """Return what ends this process when it has served its last event."""
        return Departure(settings, start, runtime, self)

    def ready(self) -> None:
        """Say that an event is asked for."""
        if not self._is_ready:
            self._is_ready = True
            self._tell(READY)

    def leave(self) -> None:
        """Ask for another worker in the place of this one, which takes no new events."""
        self._tell(LEAVING)

    def _tell(self, word: int) -> None:
        try:
            os.write(self._news, bytes((word,)))
        except OSError:
            pass  # the supervisor has ended, and the environment with it


class SlotConnection(Connection):
    """That of *slot*, which notes in the *ledger* when it asks, and may go on where a process that died has ended."""

    def __init__(self, address: Address, ledger: Ledger, slot: int) -> None:
        super().__init__(address)
        self._ledger = ledger
        self._slot = slot
        self._is_asked = False

    def go_on(self, connected: Socket, *, is_asked: bool) -> None:
        """Have the next call go over *connected*; with *is_asked* it has been sent already."""
        connected.setblocking(True)  # an event loop of the other process may have had it
        self.keep(connected)
        self._is_asked = is_asked

    def _exchange(self, connected: Socket, request: bytes) -> Reply:
        is_asked, self._is_asked = self._is_asked, False
        if is_asked:
            return read_reply(connected, ReplyParser())
        if request is self._poll:
            self._ledger.asks(self._slot, bytes_sent(connected))
        return super()._exchange(connected, request)


class SlotClient(RuntimeClient):
    """That of one *slot*, which keeps its record in the ledger of its *post*."""

    def __init__(self, post: Post, slot: int) -> None:
        self._connection = SlotConnection(post.address, post.ledger, slot)
        super().__init__(self._connection)
        self._post = post
        self._slot = slot

    def next(self) -> Invocation:
        """Wait for the next event; raises what that of every client does."""
        post, slot = self._post, self._slot
        connected = post.socket(slot)
        if connected is not None:
            self._connection.go_on(connected, is_asked=slot in post.left)
        post.ready()
        invocation = super().next()
        post.ledger.took(slot, invocation)
        return invocation


class Departure:
    """Asks after every event whether a worker with one slot serves another one."""

    exit_when_lost = API_LOST

    def __init__(self, settings: Settings, start: Start, runtime: Runtime, post: Post) -> None:
        self._settings = settings
        self._runtime = runtime
        self._post = post
        # There is always time for another worker: its start is nobody's invocation.
        self._recycling = Recycling(settings, start, 0.0, 0.0)
        self._has_served = False

    def wait(self, next_event: Callable[[], Invocation]) -> Invocation:
        """
        Return what *next_event* returns.

        Raises:
            SystemExit: It was not asked: the process has served its last event.
        """
        runtime = self._runtime
        if self._has_served:
            interrupted = runtime.interrupted and self._settings.replaces_interrupted
            self._recycling.look(math.inf, failed=runtime.failed, interrupted=interrupted)
        self._has_served = True
        return next_event()

    def hand_over(self, logs: Logs, extension: Extension | None, code: int) -> int:
        """End for another worker, if that is to be; else return *code*."""
        if not self._recycling.is_due:
            return code
        self._post.leave()
        logs.flush()
        self._recycling.end()


def is_asynchronous(handler: Any) -> bool:
    """Say whether *handler* answers with what is to be awaited, as far as its code and its wrappers say."""
    if getattr(handler, BLOCKING, False):
        return False
    if getattr(handler, "is_asynchronous", False):  # an adapter of our own
        return True
    inner = unwrapped(handler)
    if is_coroutine_function(handler) or is_coroutine_function(inner):
        return True
    return is_asynchronous_generator_function(inner)


def _redirect_output(path: str) -> None:
    """Have standard output and error go to the platform by connections of their own, which it hands out at *path*."""
    import socket

    for descriptor in (1, 2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            os.dup2(connection.fileno(), descriptor)
