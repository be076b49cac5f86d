"""
Asynchronous invocations: attempts, delays and outcomes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator.callers.destinations import DeliveryError, destination
from lambda_ric.emulator.callers.event_queue import EventInvokeConfig, EventQueue
from lambda_ric.emulator.callers.outcome import Parcel
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError
from lambda_ric.errors import ConfigurationError
from tests.support.callers import (
    ARN,
    Notes,
    Scripted,
    Step,
    Time,
    fails,
    succeeds,
    throttled,
    times_out_after_the_response,
)


class Run:
    """One event sent through a queue whose function does what a script says."""

    def __init__(self, *script: Step, **config: Any) -> None:
        self.function = Scripted(list(script))
        self.time = Time()
        self.notes = Notes()
        self.config = EventInvokeConfig(**config)
        anyio.run(self._run)

    async def _run(self) -> None:
        time = self.time
        queue = EventQueue(self.function, self.config, note=self.notes, clock=time.clock, sleep=time.sleep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.run)
            queue.put(Invocation(event=b'{"n": 1}', function_arn=ARN, requested_at=time.now, tenant_id="t"))
            await queue.drained()
            tasks.cancel_scope.cancel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def records(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_function_error_is_retried_after_one_and_two_minutes() -> None:
    """Lambda tries three times in all."""
    run = Run(fails())

    assert run.time.slept == [60, 120]
    assert [invocation.attempt for invocation in run.function.seen] == [1, 2, 3]


def test_attempts_share_the_request_id_and_the_event_but_no_nonce() -> None:
    """State that is kept by the request id alone meets its own past."""
    seen = Run(fails()).function.seen

    assert {(one.request_id, one.event, one.trace_id, one.tenant_id) for one in seen} == {
        (seen[0].request_id, b'{"n": 1}', seen[0].trace_id, "t")
    }
    assert len({one.nonce for one in seen}) == 3


def test_success_ends_the_attempts() -> None:
    """What has succeeded is not run again."""
    run = Run(fails(), succeeds())

    assert len(run.function.seen) == 2
    assert run.notes.kinds == ["retry"]


@pytest.mark.parametrize("attempts", [0, 1, 2])
def test_number_of_retries_can_be_set(attempts: int) -> None:
    """MaximumRetryAttempts."""
    assert len(Run(fails(), maximum_retry_attempts=attempts).function.seen) == attempts + 1


def test_delays_and_age_are_scaled() -> None:
    """Nobody waits three minutes for a test."""
    assert Run(fails(), time_scale=0.01).time.slept == [pytest.approx(0.6), pytest.approx(1.2)]


def test_throttled_event_is_tried_until_it_is_too_old(file: Path) -> None:
    """The interval doubles from a second to five minutes; attempts are not used up."""
    run = Run(throttled, maximum_event_age=1200, on_failure=destination(f"file:{file}"))

    assert run.time.slept[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert max(run.time.slept) == 300
    assert sum(run.time.slept) == 1200
    (record,) = records(file)
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responsePayload" not in record


def test_throttling_does_not_count_as_an_attempt() -> None:
    """An event that waited is run as if it had not."""
    run = Run(throttled, throttled, fails(), throttled, fails(), succeeds())

    assert run.time.slept == [1, 2, 60, 1, 120]
    assert [invocation.attempt for invocation in run.function.seen] == [1, 2, 3]


def test_retry_that_would_come_too_late_is_not_waited_for(file: Path) -> None:
    """The age includes the delays."""
    run = Run(fails(), maximum_event_age=100, on_failure=destination(str(file)))

    assert run.time.slept == [60]
    assert records(file)[0]["requestContext"]["condition"] == "EventAgeExceeded"
    assert records(file)[0]["requestContext"]["approximateInvokeCount"] == 2


def test_outcome_goes_to_one_destination(tmp_path: Path) -> None:
    """A success to the one, a failure to the other."""
    well, badly = tmp_path / "well.jsonl", tmp_path / "badly.jsonl"
    destinations = {"on_success": destination(str(well)), "on_failure": destination(str(badly))}

    Run(succeeds({"a": 1}), **destinations)
    assert [record["requestContext"]["condition"] for record in records(well)] == ["Success"]
    assert records(badly) == []

    Run(fails(), **destinations)
    assert len(records(well)) == 1
    assert [record["requestContext"]["condition"] for record in records(badly)] == ["RetriesExhausted"]
    assert records(badly)[0]["requestContext"]["approximateInvokeCount"] == 3


def test_given_up_event_without_a_destination_is_told_of() -> None:
    """On AWS it would be gone without a word."""
    run = Run(fails())

    assert run.notes.kinds == ["retry", "retry", "dropped"]
    assert run.function.seen[0].request_id in run.notes.taken[-1][1]


def test_good_response_settles_an_event_whose_background_work_is_killed() -> None:
    """AWS does not say; sending the event twice is the greater surprise."""
    assert len(Run(times_out_after_the_response).function.seen) == 1


def test_failure_after_the_response_can_be_made_to_count(file: Path) -> None:
    """For those who want to see their function run twice for one event."""
    run = Run(times_out_after_the_response, retry_after_response=True, dead_letter=destination(str(file)))

    assert len(run.function.seen) == 3
    assert records(file)[0]["attributes"]["ErrorMessage"] == "Task timed out after 3.00 seconds"


class Deaf:
    """A destination that never takes anything."""

    calls = 0

    async def deliver(self, parcel: Parcel) -> None:
        self.calls += 1
        raise DeliveryError("nobody is there")


def test_destination_that_does_not_answer_is_tried_again_and_then_told_of() -> None:
    """It costs the outcome, and nothing else."""
    deaf = Deaf()
    run = Run(succeeds(), on_success=deaf)

    assert deaf.calls == 4
    assert run.notes.kinds == ["dropped"]
    assert "nobody is there" in str(run.notes)


def test_events_that_are_lost_by_closing_are_named() -> None:
    """Whether they wait for an environment, for a retry, or are running."""

    async def main() -> list[Invocation]:
        def submit(invocation: Invocation) -> None:
            if invocation is events[0]:
                throttled(invocation)
            if invocation is events[1]:
                fails()(invocation)
            entered.append(invocation)
            if len(entered) == 2:
                arrived.set()

        entered: list[Invocation] = []
        arrived = anyio.Event()
        events = [Invocation(event=b"{}", function_arn=ARN, requested_at=0) for _ in range(3)]
        queue = EventQueue(submit, EventInvokeConfig(), note=notes, clock=lambda: 0, sleep=anyio.sleep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.run)
            for event in events:
                queue.put(event)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        with pytest.raises(EmulatorError, match="closed"):
            queue.put(events[0])
        return events

    notes = Notes()
    events = anyio.run(main)
    lost = [text for kind, text in notes.taken if kind == "dropped"]

    assert [event.request_id in text for event, text in zip(events, lost, strict=True)] == [True, True, True]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"maximum_retry_attempts": 3}, "0, 1 or 2"),
        ({"maximum_retry_attempts": -1}, "0, 1 or 2"),
        ({"maximum_event_age": 59}, "60 to 21600"),
        ({"maximum_event_age": 21601}, "60 to 21600"),
        ({"time_scale": 0}, "more than 0"),
        ({"time_scale": float("nan")}, "more than 0"),
    ],
)
def test_settings_that_lambda_would_refuse_are_refused(settings: dict[str, Any], text: str) -> None:
    """The limits are those of Lambda's API."""
    with pytest.raises(ConfigurationError, match=text):
        EventInvokeConfig(**settings)
