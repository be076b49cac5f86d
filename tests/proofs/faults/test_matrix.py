"""
Every fault in every place: what the caller sees, what the log says, and whether the same process goes on.

The expectations are data, in *expected*, *expected_replies* and *expected_queues*; the page shows the same data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.conftest import ROOT

from . import expected, expected_queues, expected_replies, page
from .observing import OURS, Observed, observe_faults, observe_faults_of_init, observe_faults_of_shutdown
from .page import INIT_PLACES, PLACES, SHUTDOWN_PLACES
from .queues import SENDERS, Seen, faults_of, observe_queue
from .replies import CALLS, REPLIES, observe_reply
from .strikes import FAULTS

# By a thread: a test waits for processes that others of its kind have started, too.
pytestmark = pytest.mark.timeout(method="thread")

Column = dict[str, Observed]
Observe = Callable[[str, str], Column]
ObserveQueue = Callable[[str, str], Seen]

FAULT_CELLS = [
    pytest.param(runtime, place, name, id=f"{runtime}-{place}-{name}")
    for runtime, places in expected.EXPECTED.items()
    for place in places
    for name in FAULTS
]
REPLY_CELLS = [
    pytest.param(runtime, call, name, id=f"{runtime}-{call}-{name}")
    for runtime, calls in expected_replies.EXPECTED.items()
    for call in calls
    for name in REPLIES
]
QUEUE_CELLS = [pytest.param(sender, name, id=f"{sender}-{name}") for sender in SENDERS for name in faults_of(sender)]


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest) -> Iterator[Observe]:
    """Return what was seen in one place; the places of all tests that were chosen are looked at side by side."""
    chosen: dict[tuple[str, str], set[str]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and "observed" in item.fixturenames:
            runtime, place, name = (str(item.callspec.params[key]) for key in ("runtime", "place", "name"))
            chosen.setdefault((runtime, place), set()).add(name)
    with ThreadPoolExecutor(4) as pool:
        futures: dict[tuple[str, str], Future[Column]] = {
            key: pool.submit(look, *key, chosen[key]) for key in sorted(chosen, key=_takes_longest, reverse=True)
        }
        yield lambda runtime, place: futures[runtime, place].result()
        for future in futures.values():
            future.cancel()


@pytest.fixture(scope="module")
def seen_at_queues(request: pytest.FixtureRequest) -> Iterator[ObserveQueue]:
    """Return what was seen at one queue; those of all tests that were chosen are looked at side by side."""
    chosen = [
        (str(item.callspec.params["sender"]), str(item.callspec.params["name"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "seen_at_queues" in item.fixturenames
    ]
    with ThreadPoolExecutor(8) as pool:  # they wait most of the time
        futures = {key: pool.submit(observe_queue, *key) for key in chosen}
        yield lambda sender, name: futures[sender, name].result()
        for future in futures.values():
            future.cancel()


def _takes_longest(key: tuple[str, str]) -> bool:
    return key[1] in (*INIT_PLACES, *SHUTDOWN_PLACES)  # a process for each fault


def look(runtime: str, place: str, chosen: set[str]) -> Column:
    """Let all of *chosen* strike in one place."""
    if place in CALLS:
        return {name: observe_reply(runtime, place, name) for name in REPLIES if name in chosen}
    observe = observe_faults
    if place in INIT_PLACES:
        observe = observe_faults_of_init
    elif place in SHUTDOWN_PLACES:
        observe = observe_faults_of_shutdown
    return observe(runtime, place, [name for name in FAULTS if name in chosen])


@pytest.mark.parametrize(("runtime", "place", "name"), FAULT_CELLS)
def test_fault(runtime: str, place: str, name: str, observed: Observe) -> None:
    """Nothing is assumed: each cell of the table is what a process did before a Runtime API."""
    check(runtime, expected.EXPECTED[runtime][place][name], observed(runtime, place)[name])


@pytest.mark.parametrize(("runtime", "place", "name"), REPLY_CELLS)
def test_fault_of_the_runtime_api(runtime: str, place: str, name: str, observed: Observe) -> None:
    """Likewise, where the Runtime API is what fails."""
    check(runtime, expected_replies.EXPECTED[runtime][place][name], observed(runtime, place)[name])


@pytest.mark.parametrize(("sender", "name"), QUEUE_CELLS)
def test_fault_of_a_queue(sender: str, name: str, seen_at_queues: ObserveQueue) -> None:
    """Likewise, where the queue is what fails that tasks, or records of their failures, are sent to."""
    cell, seen = expected_queues.EXPECTED[sender][name], seen_at_queues(sender, name)

    check(OURS, expected.Cell(cell.caller, cell.end, cell.log), Observed(seen.caller, seen.end, seen.log))
    assert seen.tasks == cell.tasks, seen.log


def check(runtime: str, cell: expected.Cell, seen: Observed) -> None:
    """Compare; and frames of the runtime's own are in no event of its log."""
    assert (seen.caller, seen.end) == (cell.caller, cell.end), seen.log
    assert re.search(cell.log, seen.log, re.DOTALL), seen.log
    if runtime == OURS and "Logging error" not in seen.log:
        assert not re.search(rf'File "{ROOT}/lambda_ric/', seen.log), seen.log


@pytest.mark.parametrize(
    ("table", "places", "faults"),
    [(expected.EXPECTED, PLACES, FAULTS), (expected_replies.EXPECTED, CALLS, REPLIES)],
)
def test_table_is_whole(
    table: Mapping[str, Mapping[str, expected.Column]], places: Mapping[str, object], faults: Mapping[str, object]
) -> None:
    """Every fault meets every place."""
    columns = [column for in_places in table.values() for column in in_places.values()]

    assert set(table[OURS]) == set(places)
    assert [column for column in columns if column.keys() != faults.keys()] == []


def test_tables_of_the_queues_are_whole() -> None:
    """Every fault of a queue meets everybody who sends there."""
    assert {sender: cells.keys() for sender, cells in expected_queues.EXPECTED.items()} == {
        sender: faults_of(sender).keys() for sender in SENDERS
    }


def test_page_shows_the_tables() -> None:
    """`python -m tests.proofs.faults` writes them anew."""
    text = page.PAGE.read_text(encoding="utf-8")

    assert text == page.with_tables(text)
