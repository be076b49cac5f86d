"""
What each fault of a sink does to what is sent there: the last tables of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .expected import RESPONSE
from .observing import BOTH_SUCCEED, COMES_BACK, GOES_ON
from .queues import DROPPED, LOGGED, OVERFLOWED, TAKEN

NOT_HEARD = "there was no time left to hear whether it had been taken"


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


def refused(why: str) -> QueueCell:
    """Return the outcome of a record that the log gives the reason *why* for."""
    return QueueCell(RESPONSE, LOGGED, GOES_ON, rf"has not taken it: {why}: \{{")


def comes_back(why: str) -> QueueCell:
    """Return the outcome of a message whose record has not been taken."""
    return QueueCell(COMES_BACK, LOGGED, GOES_ON, rf"comes back, as its on_failure has not taken it \({why}\): \{{")


WHY = {
    "raises": "ValueError: broken",
    "raises_without_text": r"Unprintable[^\n]*",
    "exits": "SystemExit: 3",
    "hangs": NOT_HEARD,
    "returns_nothing": r"TypeError: [^\n]*",
    "returns_envelopes": r"TypeError: [^\n]*",
}
OVERFLOW = {
    "refused": dropped(r"ConnectError: .*refused"),
    "slow": dropped(rf"(ReadTimeout[^\n]*|no answer before the time was up; it may have been accepted|{NOT_HEARD})"),
    "throttling": dropped("status 400 ThrottlingException: no"),
    "throttling_once": overflowed(),
    "unavailable": dropped("status 503 ServiceUnavailable: no"),
    "forbidden": dropped("status 403 AccessDenied: no"),
    "half_at_first": overflowed(),
    "half": dropped("InternalError: no reason", f"one {OVERFLOWED} and one {DROPPED}"),
    "half_refused": dropped("InvalidMessageContents: no reason", f"one {OVERFLOWED} and one {DROPPED}"),
    "truncated": overflowed(),
    "closed": dropped(r"RemoteProtocolError: [^\n]*"),
    "garbage": dropped(r"RemoteProtocolError: [^\n]*"),
    "no_json": dropped("the answer is not JSON"),
    "no_names": dropped("the queue's answer does not name the message"),
    **{name: dropped(why) for name, why in WHY.items()},
    "takes_half": dropped("no room", f"one {OVERFLOWED} and one {DROPPED}"),
    "hangs_beside": dropped(NOT_HEARD, f"one {OVERFLOWED} and one {DROPPED}"),
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
