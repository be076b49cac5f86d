"""
The internal extension that makes Lambda announce the end of the environment, and what hears the announcement.

An environment without extensions is killed when it is not needed any more.
One with an extension, be it internal and without events, gets a SIGTERM and
300 ms before that:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-extensions-shutdown

Whose SIGTERM is, is looked at before what follows an answer and before every wait for an event, since the function may
have used it meanwhile:

    it has               then
    no handler           it is ours
    our handler          it is ours
    one of a loop's      it is ours, and the loop's: the loop hears of it by a pipe, whatever the handler is
    any other            it is the function's: a warning says once what that means for the on_shutdown hooks
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import logging
import os

from lambda_ric import protocol
from lambda_ric.connection import Connection
from lambda_ric.errors import ConfigurationError, RuntimeAPIError
from lambda_ric.failures import tell
from lambda_ric.interrupt import is_of_event_loop
from lambda_ric.settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TypeVar

    from lambda_ric.connection import StreamedBody
    from lambda_ric.replies import Reply

    Result = TypeVar("Result")

log: logging.Logger = logging.getLogger("lambda_ric.extension")


class Extension:
    """
    Ends the wait for an event at a SIGTERM.

    When there is an invocation, *hurry* is called, and the loop ends after it
    if Lambda gives it the time.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._poll: StreamedBody | None = None
        self._has_to_end = self._waits = self._gave_way = self._watches_forks = False
        self._handler = self._on_sigterm

    def register(self, address: str) -> None:
        """
        Register with the platform at *address*; log a warning if it refuses.

        Registration is open until the first event is asked for, or the restore from a snapshot.
        """
        try:
            connection = Connection(Address.parse(address))
            identifier = identifier_of(connection.send(protocol.register_extension("lambda-ric")))
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

    def forget(self) -> None:
        """Let go of the connection, in a child process that has no part in it."""
        if self._poll is not None:
            self._poll.close()
            self._poll = None

    def listen(self) -> None:
        """Handle SIGTERM from now on; log a warning, once, if that is the function's business, or not possible."""
        installed = signal.getsignal(signal.SIGTERM)
        if installed is self._handler or self._gave_way:
            return
        what = ""
        if installed != signal.SIG_DFL and not is_of_event_loop(installed):
            what = (
                "SIGTERM has a handler of the function's own, which is kept: the on_shutdown hooks will only run if it "
                "calls sys.exit()"
            )
        else:
            try:
                signal.signal(signal.SIGTERM, self._handler)
            except ValueError as error:  # this is not the main thread
                what = f"SIGTERM will end the process without its on_shutdown hooks: {error}"
        if what:
            self._gave_way = True
            tell(log, logging.WARNING, what)
        elif not self._watches_forks:
            self._watches_forks = True
            # A child process is to end when it is told so, even at once: multiprocessing tells it by this signal, and
            # Python forgets the signals that come while it forks.
            os.register_at_fork(
                before=hold_sigterm_back, after_in_parent=let_sigterm_through, after_in_child=self._give_up
            )

    def wait(self, next_event: Callable[[], Result]) -> Result:
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
        self._hurry()
        if self._waits:
            raise SystemExit

    def _give_up(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        let_sigterm_through()


def hold_sigterm_back() -> None:
    """Keep a SIGTERM waiting, while the process forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def let_sigterm_through() -> None:
    """Let it come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def identifier_of(reply: Reply) -> str:
    """Return what an extension is known by; raise RuntimeAPIError if *reply* says that it was not registered."""
    identifier = reply.headers.get(protocol.EXTENSION_IDENTIFIER.lower())
    if reply.status != 200 or not identifier:
        said = reply.body[:300].decode("utf-8", "replace").strip()
        raise RuntimeAPIError(f"the Extensions API said {reply.status}{f' {said}' if said else ''}")
    return identifier
