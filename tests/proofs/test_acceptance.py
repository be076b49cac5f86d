"""What this package is for, seen on its own emulator by a caller."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_ric.emulator import Emulator, in_thread
from tests.conftest import ROOT

SOURCE = """
import logging
import time

from lambda_ric import wait_until

def work():
    time.sleep(2)
    logging.warning("the work is done")

def handler(event, context):
    wait_until({work})
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_caller_has_its_answer_before_two_seconds_of_work_begin(environment: Path) -> None:
    """All of the work comes after the answer; how soon that is, the benchmarks tell."""
    (environment / "app.py").write_text(SOURCE.format(work="time.sleep, 2"))

    with in_thread(Emulator("app.handler", task_root=environment, timeout=10)) as emulator:
        invocation = emulator.finished(emulator.invoke({}))

    assert invocation.background_duration is not None
    assert invocation.background_duration >= 2


def test_next_event_is_not_polled_before_the_work_is_done_and_its_log_names_its_own_request(environment: Path) -> None:
    """The second invocation waits for the first one's work, in the same environment."""
    (environment / "app.py").write_text(SOURCE.format(work="work"))

    with in_thread(Emulator("app.handler", task_root=environment, timeout=10)) as emulator:
        first = emulator.invoke({})
        second = emulator.invoke({})
        done, following = emulator.finished(first), emulator.finished(second)

    lines = [line.text for line in done.logs if "the work is done" in line.text]
    assert following.started_at - done.started_at >= 2
    assert following.init_duration is None
    assert [first.request_id in line for line in lines] == [True]
