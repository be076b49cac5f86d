"""On AWS's own runtime, too, our own records are in the log whatever the function does to logging."""

from __future__ import annotations

import pytest

from tests.conftest import Serve
from tests.support.fakes import Event
from tests.test_own_records import FAILED, HUNG, SILENCED, SOURCE

# That handler is the runtime's, and so is the log beneath it.
NOT_OURS = {"a formatter that raises", "a formatter that exits"}


@pytest.mark.parametrize("silence", [name for name in SILENCED if name not in NOT_OURS])
def test_own_records_are_written_whatever_the_function_does_to_logging(serve: Serve, silence: str) -> None:
    """Once each, with the traceback and the request id."""
    served = serve(SOURCE.format(silence=SILENCED[silence]), "silence", "work")

    assert len(served.posts) == 2
    for text in (FAILED, "exception in thread"):
        lines = [line for line in (served.stdout + served.stderr).split("\n") if text in line]
        assert len(lines) == 2, served
        for line, event in zip(lines, served.api.events, strict=True):
            assert event.request_id in line
            assert "ValueError" in line


@pytest.mark.parametrize("handler", ["in_thread", "on_loop", "in_hook", "in_rest"])
def test_handler_that_hangs_keeps_nobody_waiting(serve: Serve, handler: str) -> None:
    """Neither the work, nor the next event: what it does not hear is in the log."""
    served = serve(HUNG, *(Event(None, timeout=30) for _ in range(3)), handler=f"app.{handler}")

    assert [post.name for post in served.posts] == ["response"] * 3
    assert (served.stdout + served.stderr).count("Hanging does not return") == 1
