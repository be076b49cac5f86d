"""A few moments of `python -m tests.proofs.crosstalk`, which interrupts each client at fifty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future

import pytest

from .interruptions import CLIENTS, Result, play_all
from .servers import servers

MOMENTS = 2
TOGETHER = 6


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Result]]]:
    """Play with all clients at once: they wait more than they compute."""
    with servers(tmp_path_factory.mktemp("servers")) as running:
        plays = play_all(CLIENTS, "lambda_ric", MOMENTS, 17, running, TOGETHER)
        yield plays
        for play in plays.values():
            play.exception()


@pytest.mark.parametrize("client", CLIENTS)
def test_next_caller_has_nothing_of_one_who_was_interrupted(client: str, results: Mapping[str, Future[Result]]) -> None:
    """No answer of another's, no half of a transaction, no broken connection: the process is a new one."""
    result = results[client].result()

    assert result.mixed_up == []
    assert result.failed == []
    assert result.interrupted == MOMENTS
    assert result.kept == 0
