"""
What a queue has to be able to do to take tasks over.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from lambda_ric.tasks.envelope import Envelope
else:
    Protocol = object  # typing is not worth its import at a cold start


class Unconfirmed(str):
    """
    A reason of `Sink.send` that leaves open what became of an envelope: it was sent, and no answer was heard in time.

    Its task is called unconfirmed, and not lost: the queue may have it.
    """

    __slots__ = ()


class Sink(Protocol):
    """
    Takes tasks over, as envelopes: whatever reads them there runs them later.

    Both methods may be called from several threads at a time. A sink may have two things more: a method ``prepare()``,
    which is called in a thread when the first task that may need it is handed over; and an attribute ``source``, the
    ARN that the events of its queue have, from which this function's tasks are then taken.
    """

    def check(self, envelope: Envelope) -> None:
        """
        Do nothing if *envelope* may be accepted; called when a task is handed over, so it must not wait.

        Raises:
            ValueError: It can never be accepted, because of its size, say.
        """

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        """
        Send *envelopes*, and return within *within* seconds those that were not accepted, each with the reason.

        What it does not return counts as accepted, and is not run here any more. A reason that is an `Unconfirmed` says
        that an envelope may have been accepted; if it raises, or does not return in time, that is said of all of them.
        """
        raise NotImplementedError
