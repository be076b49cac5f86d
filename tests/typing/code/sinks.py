"""A sink of one's own: all that it has to name is public."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_ric import task
from lambda_ric.overflow import Envelope, Sink


class Outbox:
    def __init__(self) -> None:
        self.taken: list[str] = []

    def check(self, envelope: Envelope) -> None:
        if not envelope.id:
            raise ValueError("no id")

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        self.taken += [envelope.encode() for envelope in envelopes]
        return []


class Deaf:
    def check(self, envelope: Envelope) -> None: ...


outbox: Sink = Outbox()
deaf: Sink = Deaf()  # refused


@task(overflow=Outbox(), on_failure=outbox)
def send(order_id: str) -> None: ...


task(overflow=Deaf())  # refused
