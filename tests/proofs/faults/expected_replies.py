"""
What each fault of the Runtime API does to each call: the second table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from .expected import NOTHING, RESPONSE, SILENT, TRACEBACK, Cell, Column
from .observing import AWS, GOES_ON, OURS
from .replies import REPLIES

EXIT = "ends with 1"
SERVED = Cell(RESPONSE, GOES_ON, SILENT)
CUT_OFF = Cell(RESPONSE, GOES_ON, "the response was not acknowledged: .* closed in the middle of a reply")
GONE = "cannot connect to the Runtime API at .* Connection refused"

NEXT: Column = {
    "refused": Cell(NOTHING, EXIT, rf"\[ERROR\].*{GONE}"),
    "closed": SERVED,
    "slow": SERVED,
    "truncated_head": SERVED,
    "truncated_body": SERVED,
    "duplicated": SERVED,
    "out_of_order": Cell(NOTHING, EXIT, "asking for the next event failed: the Runtime API said 202"),
    "garbage": SERVED,
    "forbidden": Cell(NOTHING, EXIT, "asking for the next event failed: the Runtime API said 403"),
    "too_large": Cell(NOTHING, EXIT, "asking for the next event failed: the Runtime API said 413"),
    "broken": Cell(NOTHING, EXIT, "asking for the next event failed: the Runtime API said 500"),
}


def answers(what: str, answer: str, log: str, end: str) -> Column:
    """Return what becomes of a post: *answer* and *log* are those of an undisturbed one, after which it is *end*."""
    twice = Cell(f"{answer}, then {answer}", end, log)
    told = Cell(answer, end, log)
    return {
        "refused": Cell(answer, EXIT, f"{what} was not acknowledged: {GONE}"),
        "closed": twice,
        "slow": told,
        "truncated_head": twice,
        "truncated_body": twice,
        "duplicated": told,
        "out_of_order": told,
        "garbage": Cell(answer, end, f"{what} was not acknowledged: a null character in the head of a reply"),
        "forbidden": Cell(answer, end, f"posting {what} failed: .* 403 .*; another answer was given before"),
        "too_large": Cell(answer, end, f"posting {what} failed: .* 413 .*; it is larger than Lambda takes"),
        "broken": Cell(answer, EXIT, f"posting {what} failed: the Runtime API said 500"),
    }


def crashes(answer: str, log: str, *, but: tuple[str, ...]) -> Column:
    """Return what AWS's runtime does: it ends, *but* for some faults that it does not see."""
    crash = Cell(answer, EXIT, TRACEBACK)
    return {name: Cell(answer, GOES_ON, log) if name in but else crash for name in REPLIES}


BROKEN = r"\[ERROR\] ValueError: broken\r"
UNSEEN = ("slow", "truncated_head", "duplicated", "out_of_order")

EXPECTED: dict[str, Mapping[str, Column]] = {
    OURS: {
        "next": NEXT,
        "response": answers("the response", RESPONSE, SILENT, GOES_ON),
        # A stream cannot be sent a second time.
        "streamed": {
            **answers("the response", RESPONSE, SILENT, GOES_ON),
            "refused": Cell(RESPONSE, EXIT, GONE),
            "closed": Cell(RESPONSE, GOES_ON, "the response was not acknowledged: .* closed without a reply"),
            "truncated_head": CUT_OFF,
            "truncated_body": CUT_OFF,
        },
        "error": answers("the error", "error ValueError", BROKEN, GOES_ON),
        "init_error": answers("the init error", "init error ValueError", BROKEN, EXIT),
    },
    AWS: {
        "next": {
            **{name: Cell(NOTHING, EXIT, TRACEBACK) for name in REPLIES},
            "slow": SERVED,
            "duplicated": SERVED,
            "truncated_head": Cell(NOTHING, "killed by SIGSEGV", SILENT),
        },
        "response": crashes(RESPONSE, SILENT, but=UNSEEN),
        "error": crashes("error ValueError", BROKEN, but=UNSEEN),
        "init_error": {name: Cell("init error ValueError", EXIT, BROKEN) for name in REPLIES},
    },
}
