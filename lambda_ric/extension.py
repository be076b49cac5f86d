"""
The internal extension that makes Lambda announce the end of the environment, and what hears the announcement.

An environment without extensions is killed when it is not needed any more.
One with an extension, be it internal and without events, gets a SIGTERM and
300 ms before that:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-extensions-shutdown
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import logging
import os

from . import protocol
from .connection import Connection
from .errors import ConfigurationError, RuntimeAPIError
from .settings import Address
from .streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .connection import StreamedBody
    from .protocol import Invocation, Reply

log = logging.getLogger("lambda_ric.extension")


class Extension:
    """
    Ends the wait for an event at a SIGTERM.

    When there is an invocation, *hurry* is called, and the loop ends after it
    if Lambda gives it the time.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._poll: StreamedBody | None = None
        self._has_to_end = self._waits = False
        self._handler = self._on_sigterm

    def register(self, address: str) -> None:
        """
        Register with the platform at *address*; log a warning if it refuses.

        Registration is open until the first event is asked for, or the restore from a snapshot.
        """
        try:
            connection = Connection(Address.parse(address))
            identifier = _identifier(connection.send(protocol.register_extension("lambda-ric")))
            # Init is over when every extension has asked for an event. One that wants none gets no answer, so nobody
            # waits for it: a thread that does would make every fork of the function's one of a threaded process.
            self._poll = connection.stream(protocol.next_extension_event(identifier))
            self._poll.send(b"")
        except (ConfigurationError, RuntimeAPIError) as error:
            what = "Lambda will end this environment without notice, so the on_shutdown hooks will not run: %s"
            tell(log, logging.WARNING, what, error)

    def keep_registered(self) -> bool:
        """Leave the connection to the program that replaces this one, and say whether there is one to leave."""
        if self._poll is None:
            return False
        os.set_inheritable(self._poll.fileno(), True)
        return True

    def listen(self) -> None:
        """Handle SIGTERM from now on; log a warning if that is the function's business, or not possible."""
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            what = (
                "SIGTERM has a handler of the function's own, which is kept: the on_shutdown hooks will only run if it "
                "calls sys.exit()"
            )
            tell(log, logging.WARNING, what)
            return
        try:
            signal.signal(signal.SIGTERM, self._handler)
        except ValueError as error:  # this is not the main thread
            tell(log, logging.WARNING, "SIGTERM will end the process without its on_shutdown hooks: %s", error)
        else:
            # A child process is to end when it is told so, even at once: multiprocessing tells it by this signal, and
            # Python forgets the signals that come while it forks.
            os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=self._give_up)

    def wait(self, next_event: Callable[[], Invocation]) -> Invocation:
        """
        Return what *next_event* returns.

        Raises:
            SystemExit: There was a SIGTERM, before or meanwhile.
        """
        self._waits = True
        try:
            if self._has_to_end:
                raise SystemExit
            return next_event()
        finally:
            self._waits = False

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._has_to_end = True
        if self._waits:
            raise SystemExit
        self._hurry()

    def _give_up(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _let_through()


def _hold_back() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _identifier(reply: Reply) -> str:
    identifier = reply.headers.get(protocol.EXTENSION_IDENTIFIER.lower())
    if reply.status != 200 or not identifier:
        said = reply.body[:300].decode("utf-8", "replace").strip()
        raise RuntimeAPIError(f"the Extensions API said {reply.status}{f' {said}' if said else ''}")
    return identifier
