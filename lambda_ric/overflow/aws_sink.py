"""
What the sinks on AWS have in common: full batches, several at a time, until each message is accepted or refused, or the
time is up.
"""

from __future__ import annotations

import threading
import time

from lambda_ric.tasks.sink import Unconfirmed
from lambda_ric.threads import SENDER, start_daemon

from .failure import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambda_ric.tasks.envelope import Envelope

    from .service import Service

# Seconds: the most that is waited before the second attempt, which doubles with each, and the most it ever comes to.
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0
_SHORTEST_REQUEST = 0.5
"""Seconds that a request is given, if they are left."""

_FOR_AN_ANSWER = 0.1
"""The part of the whole time that is left for the answer of a second attempt: where the verdict came between, what had
been refused for certain would be unconfirmed."""

_MOST_REQUESTS = 20
"""How many requests of one `send` are under way at a time."""

_PREPARING = 5.0
"""Seconds that credentials have to be there when a sink is made ready."""

_LONGEST = 86_400.0
"""Seconds; threads and sockets cannot wait for ever."""


class Message:
    """An envelope on its way, as the text *body* of *size* bytes."""

    __slots__ = ("again", "body", "envelope", "reason", "sent", "size", "unheard")

    def __init__(self, envelope: Envelope, body: str, size: int) -> None:
        self.envelope: Envelope = envelope
        self.body: str = body
        self.size: int = size
        self.reason: str | None = "not sent: no time was left"
        """Why it has not been accepted; None if it has."""
        self.again: bool = True
        """Whether it may be sent again."""
        self.sent: bool = False
        """Whether it is under way: sent, and the answer not heard yet."""
        self.unheard: bool = False
        """Whether it was sent once without an answer: it may have been accepted then, whatever is answered now."""

    def accept(self) -> None:
        """Note that it has arrived."""
        self.reason, self.sent = None, False

    def refuse(self, reason: str, *, again: bool, heard: bool = True) -> None:
        """
        Note that it has not arrived for that *reason*, and whether to send it *again* may help.

        *heard* is whether that is certain.
        """
        self.reason, self.again = reason, again
        self.unheard = self.unheard or (self.sent and not heard)
        self.sent = False


class AWSSink:
    """
    A sink that sends up to *most* messages, and *max_size* bytes, in one request to a service.

    Its subclasses know what a message is and how a batch is sent.
    """

    def __init__(self, service: str, endpoint: str, region: str, most: int, max_size: int) -> None:
        self._address = service, endpoint, region
        self._most = most
        self._max_size = max_size
        self._lock = threading.Lock()
        self._made: Service | None = None

    @property
    def _service(self) -> Service:
        with self._lock:
            if self._made is None:
                from .service import Service  # with all that signs and sends

                self._made = Service(*self._address)
            return self._made

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
        Load what `send` needs, and find the credentials, without sending anything.

        What goes wrong is told by `send`, as a reason.
        """
        try:
            self._service.prepare(_PREPARING)
        except Exception:  # a profile that does not exist, say
            pass

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        """
        Send *envelopes*; return within *within* seconds those that were not accepted, each with the reason.

        A reason that is an `Unconfirmed` is one of a message that was sent, and may have been accepted. Once it has
        returned nothing more is sent. Never raises.
        """
        until = time.monotonic() + min(within, _LONGEST)
        messages: list[Message] = []
        refused: list[tuple[Envelope, str]] = []
        for envelope in envelopes:
            try:
                messages.append(self._message(envelope))
            except Exception as error:
                refused.append((envelope, str(error)))
        if not messages:
            return refused
        delivery = _Delivery(self._batches(messages), until)
        delivery.run(lambda batch: self._deliver(batch, delivery))
        return refused + delivery.verdict(messages)

    def close(self) -> None:
        """Close the connections; `send` opens another one."""
        if self._made is not None:
            self._made.close()

    # What a subclass knows...

    def _message(self, envelope: Envelope) -> Message:
        """Return *envelope* as a message, or raise what `check` raises."""
        raise NotImplementedError

    def _post(self, batch: list[Message], until: float, sending: Callable[[], object]) -> Callable[[], None]:
        """
        Send *batch*, and return what accepts or refuses each message of it; may raise a ServiceError for all of them.

        *until* is the end of the time on the monotonic clock; *sending* is to be called before anything is sent.
        """
        raise NotImplementedError

    # Attempts...

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

    def _deliver(self, batch: list[Message], delivery: _Delivery) -> None:
        longest_wait = _FIRST_WAIT
        while True:
            self._attempt(batch, delivery)
            batch = delivery.left_of(batch)
            if not batch:
                return
            from random import random

            wait = random() * longest_wait
            if time.monotonic() + wait >= delivery.last_attempt:
                return
            time.sleep(wait)
            longest_wait = min(2 * longest_wait, _LONGEST_WAIT)

    def _attempt(self, batch: list[Message], delivery: _Delivery) -> None:
        now = time.monotonic()
        left = delivery.until - now
        if left <= 0:
            return
        try:
            # A request that hangs leaves time for another one, over a new connection.
            until = now + max(left / 2, min(left, _SHORTEST_REQUEST))
            settle = self._post(batch, until, lambda: delivery.begin(batch))
        except _TooLate:
            return
        except ServiceError as failure:
            reason, again, heard = str(failure), failure.again, failure.heard
        except Exception as error:  # of botocore, say: nothing may end the thread silently
            reason, again, heard = self._service.told(f"{type(error).__name__}: {error}"), False, False
        else:
            delivery.settle(settle)
            return

        def refuse() -> None:
            for message in batch:
                message.refuse(reason, again=again, heard=heard)

        delivery.settle(refuse)


class _TooLate(Exception):
    """The verdict has been given, so nothing may be sent any more."""


class _Delivery:
    """
    One `send`: the batches that are left, and the verdict.

    Its lock guards the states of the messages. Whoever sends holds it to say so before the first byte, and when the
    answer is there; the verdict holds it to read them all. So a message that was not under way when the verdict was
    given is never sent after it, and one that was is neither called lost nor accepted.
    """

    def __init__(self, batches: Iterator[list[Message]], until: float) -> None:
        self.until = until
        self.last_attempt = until - _FOR_AN_ANSWER * (until - time.monotonic())
        """When a second attempt begins at the latest."""
        self._waiting = list(batches)[::-1]
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._senders = 0
        self._closed = False

    def run(self, deliver: Callable[[list[Message]], None]) -> None:
        """Have each batch delivered, in threads of their own, and wait for all of them or the end of the time."""
        if time.monotonic() >= self.until:
            return
        for _ in range(min(len(self._waiting), _MOST_REQUESTS)):
            with self._lock:
                self._senders += 1
            # In a thread: names of hosts, credentials and answers that come byte by byte know no timeout.
            if start_daemon(SENDER, self._work, deliver) is None:
                with self._lock:
                    self._senders -= 1
                    alone = not self._senders
                if alone:
                    self._work(deliver)
                break
        with self._ended:
            self._ended.wait_for(lambda: self._senders <= 0, max(0.0, self.until - time.monotonic()))

    def begin(self, batch: list[Message]) -> None:
        """
        Note that *batch* is about to be sent.

        Raises:
            _TooLate: It may not be.
        """
        with self._lock:
            if self._closed:
                raise _TooLate
            for message in batch:
                message.unheard = message.unheard or message.sent
                message.sent = True

    def settle(self, settle: Callable[[], object]) -> None:
        """Call *settle*, which accepts and refuses messages."""
        with self._lock:
            settle()

    def left_of(self, batch: list[Message]) -> list[Message]:
        """Return the messages of *batch* that are to be sent again."""
        with self._lock:
            return [message for message in batch if message.reason is not None and message.again and not self._closed]

    def verdict(self, messages: list[Message]) -> list[tuple[Envelope, str]]:
        """Return which of *messages* were not accepted, and why; from now on nothing is sent."""
        with self._lock:
            self._closed = True
            return [
                (message.envelope, _verdict_on(message, message.reason))
                for message in messages
                if message.reason is not None
            ]

    def _work(self, deliver: Callable[[list[Message]], None]) -> None:
        while True:
            with self._lock:
                batch = self._waiting.pop() if self._waiting and not self._closed else None
                if batch is None:
                    self._senders -= 1
                    self._ended.notify_all()
                    return
            deliver(batch)


def _verdict_on(message: Message, reason: str) -> str:
    if message.sent:
        return Unconfirmed("it was sent, and there was no answer before the time was up")
    return Unconfirmed(f"it was sent, and no answer was heard: {reason}") if message.unheard else reason
