"""
What the sinks on AWS have in common: batches are sent until each message is accepted or refused, or the time is up.
"""

from __future__ import annotations

import time

from lambda_ric.threads import SENDER, start_daemon

from .service import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambda_ric.envelope import Envelope

    from .service import Service

# Seconds: the most that is waited before the second attempt, which doubles with each, and the most it ever comes to.
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0
_SHORTEST_REQUEST = 0.5
"""Seconds that a request is given, if they are left."""

_LONGEST = 86_400.0
"""Seconds; threads and sockets cannot wait for ever."""

_NOT_SENT = "not sent: no time was left"
_NO_ANSWER = "no answer before the time was up; it may have been accepted"


class Message:
    """An envelope on its way, as the text *body* of *size* bytes."""

    __slots__ = ("again", "body", "envelope", "reason", "size")

    def __init__(self, envelope: Envelope, body: str, size: int) -> None:
        self.envelope = envelope
        self.body = body
        self.size = size
        self.reason: str | None = _NOT_SENT
        """Why it has not been accepted; None if it has."""
        self.again = True
        """Whether it may be sent again."""

    def accept(self) -> None:
        """Note that it has arrived."""
        self.reason = None

    def refuse(self, reason: str, *, again: bool) -> None:
        """Note that it has not arrived for that *reason*, and whether to send it *again* may help."""
        self.reason, self.again = reason, again


class AWSSink:
    """
    A sink that sends up to *most* messages, and *max_size* bytes, in one request to *service*.

    Its subclasses know what a message is and how a batch is sent.
    """

    def __init__(self, service: Service, most: int, max_size: int) -> None:
        self._service = service
        self._most = most
        self._max_size = max_size
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], None] = time.sleep
        """Both are for tests."""

    def check(self, envelope: Envelope) -> None:
        """
        Do nothing if *envelope* is of a size that is accepted.

        Raises:
            TypeError: An argument has no JSON form.
            ValueError: An argument cannot be carried by JSON, or the whole is too large.
        """
        self._message(envelope)

    def prepare(self) -> None:
        """
        Load what `send` needs, without sending anything: on a small function it takes seconds.

        What goes wrong is told by `send`, as a reason.
        """
        try:
            self._service.prepare()
        except ServiceError:
            pass

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        """
        Send *envelopes*; return within *within* seconds those that were not accepted, each with the reason.

        One whose reason is that there was no answer may have been accepted all the same. Never raises.
        """
        messages: list[Message] = []
        refused: list[tuple[Envelope, str]] = []
        for envelope in envelopes:
            try:
                messages.append(self._message(envelope))
            except Exception as error:
                refused.append((envelope, str(error)))
        if messages:
            self._deliver_within(min(within, _LONGEST), messages)
        # The thread may go on, so each reason is read once.
        reasons = [(message.envelope, message.reason) for message in messages]
        return refused + [(envelope, reason) for envelope, reason in reasons if reason is not None]

    def close(self) -> None:
        """Close the connection; `send` opens another one."""
        self._service.close()

    # What a subclass knows...

    def _message(self, envelope: Envelope) -> Message:
        """Return *envelope* as a message, or raise what `check` raises."""
        raise NotImplementedError

    def _post(self, batch: list[Message], timeout: float) -> None:
        """Send *batch*, and accept or refuse each message of it; may raise a ServiceError for all of them."""
        raise NotImplementedError

    # Attempts...

    def _deliver_within(self, within: float, messages: list[Message]) -> None:
        until = self.clock() + within
        # In a thread: credentials, names of hosts and answers that come byte by byte know no timeout.
        thread = start_daemon(SENDER, self._deliver, messages, until)
        if thread is None:
            self._deliver(messages, until)
        else:
            thread.join(within)

    def _deliver(self, messages: list[Message], until: float) -> None:
        longest_wait = _FIRST_WAIT
        while messages:
            for batch in self._batches(messages):
                left = until - self.clock()
                if left <= 0:
                    return
                # A request that hangs leaves time for another one, over a new connection.
                self._attempt(batch, max(left / 2, min(left, _SHORTEST_REQUEST)))
            messages = [message for message in messages if message.reason is not None and message.again]
            if messages:
                from random import random

                wait = random() * longest_wait
                if self.clock() + wait >= until:
                    return
                self.sleep(wait)
                longest_wait = min(2 * longest_wait, _LONGEST_WAIT)

    def _batches(self, messages: list[Message]) -> Iterator[list[Message]]:
        batch: list[Message] = []
        size = 0
        for message in messages:
            if batch and (len(batch) == self._most or size + message.size > self._max_size):
                yield batch
                batch, size = [], 0
            batch.append(message)
            size += message.size
        yield batch

    def _attempt(self, batch: list[Message], timeout: float) -> None:
        for message in batch:
            message.reason = _NO_ANSWER
        try:
            self._post(batch, timeout)
        except ServiceError as error:
            for message in batch:
                message.refuse(str(error), again=error.again)
        except Exception as error:  # nothing may end the thread silently
            for message in batch:
                message.refuse(f"{type(error).__name__}: {error}", again=False)
