"""
What each fault of a sink does to what is sent there: the last tables of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .expected import RESPONSE
from .observing import BOTH_SUCCEED, COMES_BACK, GOES_ON
from .queues import DROPPED, LOGGED, OVERFLOWED, TAKEN, UNCONFIRMED

NOT_HEARD = "no answer was heard in time"
NO_ANSWER = "it was sent, and no answer was heard: "


class QueueCell(NamedTuple):
    """What the caller saw, what became of the tasks, how the process went on, and what the log matches."""

    caller: str
    tasks: str
    end: str
    log: str


def overflowed() -> QueueCell:
    """Return the outcome for which there are queues."""
    return QueueCell(RESPONSE, f"both {OVERFLOWED}", GOES_ON, r"\ABACKGROUND [^\n]*\n\Z")


def dropped(why: str, tasks: str = f"both {DROPPED}") -> QueueCell:
    """Return the outcome that the log gives the reason *why* for."""
    return QueueCell(RESPONSE, tasks, GOES_ON, rf"its queue has not taken it: {why}: \{{")


def unconfirmed(why: str, tasks: str = f"both {UNCONFIRMED}") -> QueueCell:
    """Return the outcome of what the queue may have, for all that anybody knows, for the reason *why*."""
    return QueueCell(RESPONSE, tasks, GOES_ON, rf"its queue may have it, and may not: {why}: \{{")


def refused(why: str) -> QueueCell:
    """Return the outcome of a record that the log gives the reason *why* for."""
    return QueueCell(RESPONSE, LOGGED, GOES_ON, rf"may have it, and may not: {why}: \{{")


def comes_back(why: str) -> QueueCell:
    """Return the outcome of a message whose record has not been taken."""
    return QueueCell(COMES_BACK, LOGGED, GOES_ON, rf"comes back, as its on_failure has not taken it \({why}\): \{{")


WHY = {
    "raises": "its sink did not say: ValueError: broken",
    "raises_without_text": r"its sink did not say: Unprintable[^\n]*",
    "exits": "its sink did not say: SystemExit: 3",
    "hangs": NOT_HEARD,
    "returns_nothing": r"its sink did not say: TypeError: [^\n]*",
    "returns_envelopes": r"its sink did not say: TypeError: [^\n]*",
}
OVERFLOW = {
    "refused": dropped(r"ConnectionRefusedError: .*refused"),
    "slow": unconfirmed(r"it was sent, and (no answer was heard: TimeoutError: timed out|there was no answer[^\n]*)"),
    "throttling": dropped("status 400 ThrottlingException: no"),
    "throttling_once": overflowed(),
    "unavailable": dropped("status 503 ServiceUnavailable: no"),
    "forbidden": dropped("status 403 AccessDenied: no"),
    "half_at_first": overflowed(),
    "half": dropped("InternalError: no reason", f"one {OVERFLOWED} and one {DROPPED}"),
    "half_refused": dropped("InvalidMessageContents: no reason", f"one {OVERFLOWED} and one {DROPPED}"),
    "truncated": overflowed(),
    "closed": unconfirmed(rf"{NO_ANSWER}ConnectionLostError: [^\n]*"),
    "garbage": unconfirmed(rf"{NO_ANSWER}MalformedReplyError: [^\n]*"),
    "no_json": unconfirmed(f"{NO_ANSWER}the answer is not JSON"),
    "no_names": unconfirmed(f"{NO_ANSWER}the queue's answer does not name the message"),
    **{name: unconfirmed(why) for name, why in WHY.items()},
    "takes_half": dropped("no room", f"one {OVERFLOWED} and one {DROPPED}"),
    "hangs_beside": unconfirmed(NOT_HEARD, f"one {OVERFLOWED} and one {UNCONFIRMED}"),
    "refuses": QueueCell("error ValueError", "none was handed over", GOES_ON, r"\[ERROR\] ValueError: no room\r"),
}

# A record is none of the half that is left, and no `check` is asked about it.
ALL_TAKEN = ("takes_half", "refuses")

EXPECTED: Mapping[str, Mapping[str, QueueCell]] = {
    "overflow": OVERFLOW,
    "on_failure": {
        **{name: refused(why) for name, why in WHY.items()},
        **dict.fromkeys(ALL_TAKEN, QueueCell(RESPONSE, TAKEN, GOES_ON, r"BACKGROUND .*Failed: 1")),
    },
    "on_failure_of_a_message": {
        **{name: comes_back(why) for name, why in WHY.items()},
        **dict.fromkeys(ALL_TAKEN, QueueCell(BOTH_SUCCEED, TAKEN, GOES_ON, "failed, and is given up")),
    },
}
