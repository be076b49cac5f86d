"""
SIGTERM and SIGKILL at any moment: what is left of the answers and of the log is whole.

The moments are drawn with a seed: so many requests after the start, and so many microseconds after that.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE
from tests.support.fakes import FakeRuntimeAPI, Request

from .observing import NO_ANSWER, PLACES, REGISTERED

SEEDS = range(12)
MOST_REQUESTS = 40

LINE = re.compile(r"(during|after|later) \d+|BACKGROUND RequestId: .*\tTasks: 2\tSucceeded: 2|goodbye")

pytestmark = pytest.mark.timeout(method="thread")


class Killer(FakeRuntimeAPI):
    """Hands out numbers for ever, and sends *number* to *process* at the moment that *seed* draws."""

    process: subprocess.Popen[str]

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(*range(MOST_REQUESTS), intercept=self._look)
        moment = random.Random(seed)
        self._number = number
        self._left_until = moment.randrange(1, MOST_REQUESTS)
        self._delay = moment.uniform(0, 0.002)

    def _look(self, request: Request) -> bytes | None:
        if "/extension/" in request.path:
            return NO_ANSWER if request.name == "next" else REGISTERED
        self._left_until -= 1
        if self._left_until == 0:
            threading.Timer(self._delay, self.process.send_signal, [self._number]).start()
        return None

    def _read(self, stream: Any, number: int) -> Request | None:
        request = super()._read(stream, number)
        if request is not None and len(request.body) < int(request.headers.get("content-length", 0)):
            return None  # it was killed while it sent that
        return request


def run_until(number: int, seed: int, **variables: str) -> tuple[Killer, int, str]:
    """Serve events until the signal; return the platform, the exit code and the log."""
    platform = Killer(number, seed)
    with platform:
        platform.process = subprocess.Popen(
            [sys.executable, "-m", "lambda_ric", "busy.handler"],
            cwd=PLACES,
            env={
                **CLEAN_ENVIRONMENT,
                "AWS_LAMBDA_RUNTIME_API": platform.address,
                "LAMBDA_TASK_ROOT": str(PLACES),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log, _ = platform.process.communicate(timeout=PATIENCE)
    return platform, platform.process.returncode, log


def answered(platform: Killer) -> list[int]:
    """Return the events that were answered, in order; each with what it was, once."""
    by_id = {event.request_id: event.payload for event in platform.events}
    posts = [post for post in platform.posts if post.name == "response"]
    assert all(post.json() == by_id[post.request_id] for post in posts)
    return [post.json() for post in posts]


def check_log(log: str, answers: list[int]) -> None:
    """Its lines are whole, and it has the background work of all events but the one that was under way."""
    assert all(LINE.fullmatch(line) for line in log.splitlines()), log
    for number in answers[:-1]:
        assert f"after {number}\n" in log
        assert f"later {number}\n" in log
    assert log.count("BACKGROUND") in (len(answers) - 1, len(answers))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_process_leaves_whole_answers_and_whole_lines(number: int, seed: int) -> None:
    """Nothing can be done about the event under way; those before it are complete."""
    platform, code, log = run_until(number, seed)

    answers = answered(platform)

    assert code == -number
    assert answers == list(range(len(answers)))
    check_log(log, answers)


@pytest.mark.parametrize("seed", SEEDS)
def test_announced_end_finishes_what_is_under_way(seed: int) -> None:
    """With something to do at the end, SIGTERM lets the invocation and its background work end before that."""
    platform, code, log = run_until(signal.SIGTERM, seed, GOODBYE="yes")

    answers = answered(platform)

    assert (code, log.splitlines()[-1], log.count("goodbye")) == (0, "goodbye", 1)
    assert answers == list(range(len(answers)))
    assert log.count("BACKGROUND") == len(answers)
    check_log(log, answers)
