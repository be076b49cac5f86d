"""Registered tasks in the drain: attempts, time, how many at once, and the queue for what does not fit."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from lambda_ric import task, wait_until
from lambda_ric.hooks import Hooks
from lambda_ric.overflow import Envelope, Unconfirmed
from lambda_ric.testing import Invoked, invoke

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = [pytest.mark.timeout(method="thread"), pytest.mark.usefixtures("own_tasks")]


class Queue:
    """A sink that keeps what it is sent, but for what it refuses."""

    def __init__(self, refuse: str = "", error: BaseException | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self._refuse = refuse
        self._error = error

    def check(self, envelope: Envelope) -> None:
        if len(envelope.encode()) > 10_000:
            raise ValueError("too large for this queue")

    def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
        self.seconds.append(within)
        if self._error is not None:
            raise self._error
        if self._refuse:
            return [(envelope, self._refuse) for envelope in envelopes]
        self.taken += [json.loads(envelope.encode()) for envelope in envelopes]
        return []


def run(*calls: Callable[[], Any], timeout: float = 10.0, fail: bool = False, **settings: str) -> Invoked:
    """Invoke a handler that hands *calls* over, and return what became of them."""

    def handler(event: Any, context: Any) -> None:
        for call in calls:
            call()
        if fail:
            raise ValueError("the handler failed")

    return invoke(handler, timeout=timeout, environ=settings)


def states(invoked: Invoked) -> list[str]:
    return [task.state for task in invoked.tasks]


# Attempts...


@pytest.mark.parametrize("asynchronous", [False, True])
def test_task_is_tried_again_until_it_succeeds(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt is one warning; only what fails for good is an error."""
    attempts: list[str] = []

    def work(order: str) -> str:
        attempts.append(order)
        if len(attempts) < 3:
            raise ConnectionError("not now")
        return "sent"

    async def work_async(order: str) -> str:
        return work(order)

    send = task(name="send", retries=2, backoff=0)(work_async if asynchronous else work)

    invoked = run(lambda: wait_until(send, "o-17"))

    assert attempts == ["o-17"] * 3
    assert states(invoked) == ["succeeded"]
    assert invoked.tasks[0].result() == "sent"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "failed, attempt 1 of 3" in caplog.text
    assert "ConnectionError: not now" in caplog.text


def test_task_that_fails_at_every_attempt_has_failed_with_the_last_error(caplog: pytest.LogCaptureFixture) -> None:
    """And is an error in the log, once."""
    errors = iter([ValueError("first"), ValueError("last")])

    @task(name="send", retries=1, backoff=0)
    def send() -> None:
        raise next(errors)

    invoked = run(lambda: wait_until(send))

    assert states(invoked) == ["failed"]
    assert str(invoked.tasks[0].exception()) == "last"
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_coroutine_that_takes_longer_than_its_timeout_is_an_attempt_that_failed() -> None:
    """It is cancelled, and tried again as after any error."""
    begun: list[int] = []

    @task(name="send", timeout=0.05, retries=1, backoff=0)
    async def send() -> None:
        begun.append(1)
        await asyncio.sleep(60)

    invoked = run(lambda: wait_until(send))

    assert len(begun) == 2
    assert states(invoked) == ["failed"]
    assert isinstance(invoked.tasks[0].exception(), TimeoutError)


def test_system_exit_of_a_task_is_no_reason_to_try_again() -> None:
    """Whoever exits does not want to go on."""
    begun: list[int] = []

    @task(name="send", retries=5, backoff=0)
    def send() -> None:
        begun.append(1)
        raise SystemExit(1)

    assert states(run(lambda: wait_until(send))) == ["failed"]
    assert len(begun) == 1


# Time...


def test_task_whose_timeout_does_not_fit_goes_to_its_queue_without_being_started() -> None:
    """With its arguments, as the first attempt, and with where it comes from."""
    queue = Queue()

    @task(name="send", timeout=20, overflow=queue)
    def send(order: str, *, copy: bool) -> None:
        raise AssertionError("it was started")

    invoked = run(lambda: wait_until(send, "o-17", copy=True), timeout=5)

    assert states(invoked) == ["overflowed"]
    (message,) = queue.taken
    assert (message["task"], message["args"], message["kwargs"]) == ("send", ["o-17"], {"copy": True})
    assert message["attempt"] == 1
    assert message["origin"]["request_id"] == invoked.outcome.context.aws_request_id  # type: ignore[union-attr]


def test_coroutine_that_swallows_its_cancellation_goes_to_its_queue() -> None:
    """As any that is cut off does: nobody knows what it has left undone."""
    queue = Queue()

    @task(name="send", timeout=20, overflow=queue)
    async def send() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

    invoked = run(lambda: wait_until(send), timeout=1)

    assert states(invoked) == ["overflowed"]
    assert [message["task"] for message in queue.taken] == ["send"]


def test_limit_of_the_user_counts_like_the_deadline() -> None:
    """Whichever comes first: a task that does not fit before it goes to its queue, and a running one is ended by it."""
    queue = Queue()

    @task(name="send", timeout=5, overflow=queue)
    def send() -> None:
        raise AssertionError("it was started")

    async def sleep() -> None:
        await asyncio.sleep(30)

    calls = [lambda: wait_until(send), lambda: wait_until(sleep)]

    assert states(run(*calls, timeout=60, LAMBDA_RIC_BACKGROUND_LIMIT_MS="500")) == ["overflowed", "cancelled"]


def test_task_that_fits_runs_here_and_its_queue_gets_nothing() -> None:
    """The queue is for what does not."""
    queue = Queue()
    done: list[str] = []

    @task(name="send", timeout=5, overflow=queue)
    def send(order: str) -> None:
        done.append(order)

    assert states(run(lambda: wait_until(send, "o-17"), timeout=20)) == ["succeeded"]
    assert (done, queue.taken) == (["o-17"], [])


def test_task_without_a_queue_is_tried_however_little_time_there_is() -> None:
    """Else it would be lost for certain."""
    done: list[int] = []

    @task(name="send", timeout=20)
    def send() -> None:
        done.append(1)

    assert states(run(lambda: wait_until(send), timeout=5)) == ["succeeded"]
    assert done == [1]


def test_task_without_a_timeout_is_expected_to_take_what_it_took_before() -> None:
    """In this environment; the first time it is tried."""
    queue = Queue()

    @task(name="send", overflow=queue)
    def send() -> None:
        pass

    first = run(lambda: wait_until(send))
    send.record(30.0)
    second = run(lambda: wait_until(send))

    assert states(first) + states(second) == ["succeeded", "overflowed"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_task_that_is_running_when_the_time_is_up_goes_to_its_queue_as_the_next_attempt(asynchronous: bool) -> None:
    """A coroutine is cancelled; a thread cannot be stopped, but what it does may never come to an end."""
    queue = Queue()
    over = threading.Event()

    def work() -> None:
        over.wait(30)

    async def work_async() -> None:
        await asyncio.sleep(30)

    send = task(name="send", overflow=queue)(work_async if asynchronous else work)

    invoked = run(lambda: wait_until(send), timeout=1)
    over.set()

    assert states(invoked) == ["overflowed"]
    assert [message["attempt"] for message in queue.taken] == [2]


def test_task_without_time_for_another_attempt_goes_to_its_queue_as_that_attempt() -> None:
    """Rather than to fail here."""
    queue = Queue()

    @task(name="send", timeout=0.6, retries=3, backoff=0, overflow=queue)
    def send() -> None:
        time.sleep(0.4)
        raise ConnectionError("not now")

    invoked = run(lambda: wait_until(send), timeout=1)

    assert states(invoked) == ["overflowed"]
    assert [message["attempt"] for message in queue.taken] == [2]


def test_those_that_do_not_fit_when_the_drain_begins_go_in_one_call() -> None:
    """One call of the sink is dearer than what it carries, and none of them takes a thread from work that fits."""
    queue = Queue()

    @task(name="send", timeout=20, overflow=queue, on="success")
    async def send(number: int) -> None:
        raise AssertionError("it was started")

    invoked = run(*[lambda number=number: wait_until(send, number) for number in range(30)], timeout=5)

    assert states(invoked) == ["overflowed"] * 30
    assert [message["args"][0] for message in queue.taken] == list(range(30))
    assert len(queue.seconds) == 1


def test_task_that_will_not_fit_whatever_comes_is_sent_while_the_handler_runs() -> None:
    """The shorter it is only here, the less a process that is killed can lose."""
    sent = threading.Event()

    class Telling(Queue):
        def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
            sent.set()
            return super().send(envelopes, within)

    queue = Telling()

    @task(name="send", timeout=20, overflow=queue)
    def send(number: int) -> None:
        raise AssertionError("it was started")

    @task(name="refund", timeout=20, overflow=queue, on="error")
    def refund() -> None:
        raise AssertionError("it was started")

    invoked = run(
        lambda: wait_until(refund), lambda: wait_until(send, 1), lambda: sent.wait(10) or sys.exit(3), timeout=15
    )

    assert invoked.outcome.error is None
    assert states(invoked) == ["overflowed"]
    assert [message["task"] for message in queue.taken] == ["send"]


def test_queue_is_made_ready_once_when_the_first_task_that_it_may_get_is_handed_over() -> None:
    """A SIGTERM may follow at once; in later invocations it is ready."""
    ready: list[str] = []
    prepared = threading.Event()

    class Dear(Queue):
        def prepare(self) -> None:
            ready.append(threading.current_thread().name)
            prepared.set()

    @task(name="send", overflow=Dear())
    def send() -> None:
        pass

    first = run(lambda: wait_until(send), lambda: prepared.wait(10) or sys.exit(3))
    second = run(lambda: wait_until(send))

    assert first.outcome.error is None
    assert states(first) + states(second) == ["succeeded"] * 2
    assert ready == ["lambda_ric.overflow"]


# What the queue does not take...


@pytest.mark.parametrize(
    ("queue", "end"),
    [
        (Queue(refuse="it is full"), "dropped"),
        (Queue(refuse=Unconfirmed("it is full")), "unconfirmed"),
        (Queue(error=OSError("it is full")), "unconfirmed"),
        (Queue(error=SystemExit("it is full")), "unconfirmed"),
    ],
)
def test_task_that_its_queue_refuses_is_dropped_and_logged_in_full(
    queue: Queue, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log can send it again; of what a sink that raises has taken before, nobody knows."""

    @task(name="send", timeout=20, overflow=queue)
    def send(order: str) -> None:
        raise AssertionError("it was started")

    invoked = run(lambda: wait_until(send, "o-17"), timeout=5)

    assert states(invoked) == [end]
    (record,) = caplog.records
    assert "it is full" in record.getMessage()
    envelope = Envelope.decode(record.getMessage()[record.getMessage().index("{") :])
    assert envelope is not None
    assert (envelope.task, envelope.args) == ("send", ["o-17"])


def test_arguments_are_kept_out_of_the_log_on_request(caplog: pytest.LogCaptureFixture) -> None:
    """The name, the id and the origin remain."""
    full = Queue(refuse="it is full")

    @task(name="send", timeout=20, overflow=full, redact=True)
    def send(card: str) -> None:
        pass

    @task(name="fail", on_failure=full, redact=True)
    def fail(card: str) -> None:
        raise ValueError("no")

    run(lambda: wait_until(send, "4111"), lambda: wait_until(fail, "4111"), timeout=5)

    lost = [record.getMessage() for record in caplog.records if "it is full" in record.getMessage()]
    assert len(lost) == 2
    assert "4111" not in caplog.text
    assert all('"id":"' in text for text in lost)


def test_what_may_be_in_the_queue_is_told_to_the_hooks_and_not_to_its_destination() -> None:
    """It has not failed, as far as anybody knows: a record of its failure would have it run twice."""
    destination = Queue()
    told: list[str] = []
    hooks = Hooks()
    hooks.task_failed.append(lambda report: told.append(report.state))

    @task(name="send", timeout=20, overflow=Queue(refuse=Unconfirmed("no answer")), on_failure=destination)
    def send() -> None:
        pass

    invoked = invoke(lambda event, context: wait_until(send).name, timeout=5, hooks=hooks)

    assert states(invoked)[0] == "unconfirmed"
    assert (told, destination.taken) == (["unconfirmed"], [])


def test_sink_that_takes_all_of_its_time_is_still_heard() -> None:
    """What it is given ends before the time at which nobody listens any more."""

    class Slow(Queue):
        def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
            time.sleep(within)
            return super().send(envelopes, within)

    queue = Slow()

    @task(name="send", overflow=queue)
    async def send() -> None:
        await asyncio.sleep(60)

    invoked = run(*[lambda: wait_until(send)] * 5, timeout=4, LAMBDA_RIC_DEADLINE_MARGIN_MS="2000")

    assert states(invoked) == ["overflowed"] * 5
    assert len(queue.taken) == 5


def test_sink_that_does_not_come_back_costs_the_environment_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its task is unconfirmed, when the time that is kept for queues is over."""
    over = threading.Event()

    class Hanging(Queue):
        def send(self, envelopes: Sequence[Envelope], within: float) -> list[tuple[Envelope, str]]:
            over.wait(30)
            return []

    @task(name="send", timeout=20, overflow=Hanging())
    def send() -> None:
        pass

    invoked = run(lambda: wait_until(send), timeout=1)
    over.set()

    assert states(invoked) == ["unconfirmed"]
    assert "background task send is unconfirmed, its queue may have it, and may not: no answer was heard" in caplog.text


def test_queues_never_get_more_than_half_of_what_is_left_before_the_deadline() -> None:
    """Also where the margin is larger than the little time that Lambda gives."""
    queue = Queue()

    @task(name="send", timeout=20, overflow=queue)
    def send() -> None:
        pass

    run(lambda: wait_until(send), timeout=0.4, LAMBDA_RIC_DEADLINE_MARGIN_MS="5000")

    assert len(queue.taken) == 1
    assert 0 < queue.seconds[0] < 0.4


def test_queue_has_its_turn_even_when_the_hooks_before_it_took_its_time_as_well() -> None:
    """A hook that lets itself be interrupted as late as it can."""
    queue = Queue()
    hooks = Hooks()

    def takes_all(outcome: object) -> None:
        until = time.time() + 2.9
        while time.time() < until:
            try:
                time.sleep(until - time.time())
            except BaseException:
                pass

    hooks.after.append(takes_all)

    @task(name="send", overflow=queue)
    def send() -> None:
        raise AssertionError("it was started")

    settings = {"LAMBDA_RIC_DEADLINE_MARGIN_MS": "400", "LAMBDA_RIC_BACKGROUND_LIMIT_MS": "500"}
    invoked = invoke(lambda event, context: wait_until(send).name, timeout=60, hooks=hooks, environ=settings)

    assert [task.state for task in invoked.tasks if task.name == "send"] == ["overflowed"]
    assert len(queue.taken) == 1


def test_argument_that_no_queue_can_carry_is_an_error_where_it_is_handed_over() -> None:
    """And not at the deadline; a task without a queue takes anything."""

    @task(name="send", overflow=Queue())
    def send(order: object) -> None:
        pass

    @task(name="keep")
    def keep(order: object) -> None:
        pass

    refused: list[BaseException] = []

    def hand_over(order: object) -> None:
        try:
            wait_until(send, order)
        except (TypeError, ValueError) as error:
            refused.append(error)

    invoked = run(lambda: hand_over(object()), lambda: hand_over("x" * 20_000), lambda: wait_until(keep, object()))

    assert [type(error) for error in refused] == [TypeError, ValueError]
    assert "argument 1" in str(refused[0])
    assert states(invoked) == ["succeeded"]


# When, and how many...


@pytest.mark.parametrize(
    ("on", "fail", "runs"),
    [("success", False, True), ("success", True, False), ("error", False, False), ("error", True, True)],
)
def test_task_for_one_outcome_runs_after_that_only(on: Any, fail: bool, runs: bool) -> None:
    """After the other it was never wanted, and the log says nothing of it."""
    done: list[int] = []

    @task(name="send", on=on)
    def send() -> None:
        done.append(1)

    invoked = run(lambda: wait_until(send), fail=fail)

    assert (done, states(invoked)) == (([1], ["succeeded"]) if runs else ([], []))


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads change places after microseconds, so that what can happen between two lines does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_thread_that_hands_over_while_the_outcome_becomes_known_never_gets_it_wrong() -> None:
    """The look at the outcome and the entry in the list are one step."""
    ran: list[str] = []
    refund = task(name="refund", on="error")(lambda: ran.append("refund"))

    def hand_over() -> None:
        try:
            for _ in range(40):
                wait_until(refund)
        except RuntimeError:
            pass  # the invocation has ended

    threads: list[threading.Thread] = []

    def start() -> None:
        threads.append(threading.Thread(target=hand_over))
        threads[-1].start()

    # Three invocations of two hundred went wrong when they were two steps.
    for _ in range(600):
        run(start)
        threads[-1].join()

    assert ran == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_more_run_at_once_than_the_policy_allows_and_others_are_not_held_up(asynchronous: bool) -> None:
    """Here two of five, and one of another kind that the first ones wait for."""
    running = most = 0
    lock = threading.Lock()
    two_run, other_has_run = threading.Event(), threading.Event()

    def enter() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                two_run.set()

    def leave() -> None:
        nonlocal running
        with lock:
            running -= 1

    def work() -> None:
        enter()
        assert other_has_run.wait(10)
        leave()

    async def work_async() -> None:
        enter()
        await asyncio.to_thread(other_has_run.wait, 10)
        leave()

    def other() -> None:
        assert two_run.wait(10)
        other_has_run.set()

    send = task(name="send", max_concurrency=2)(work_async if asynchronous else work)

    invoked = run(*[lambda: wait_until(send)] * 5, lambda: wait_until(other))

    assert states(invoked) == ["succeeded"] * 6
    assert most == 2


def test_call_with_a_key_that_there_has_been_is_the_same_task() -> None:
    """In one invocation; the next one begins anew."""
    done: list[tuple[str, int]] = []

    @task(name="index", dedupe_key=lambda document, version: document)
    def index(document: str, version: int) -> None:
        done.append((document, version))

    calls = [("a", 1), ("a", 2), ("b", 1)]
    handles: list[Any] = []

    invoked = run(*[lambda call=call: handles.append(wait_until(index, *call)) for call in calls])
    run(lambda: wait_until(index, "a", 3))

    assert handles[0] == handles[1] != handles[2]
    assert states(invoked) == ["succeeded"] * 2
    assert sorted(done) == [("a", 1), ("a", 3), ("b", 1)]


def test_task_handed_over_by_a_task_goes_by_its_policy_too() -> None:
    """Also when the drain is on already."""
    queue = Queue()
    wanted: list[str] = []

    @task(name="send", timeout=20, overflow=queue)
    def send(order: str) -> None:
        raise AssertionError("it was started")

    @task(name="only-after-errors", on="error")
    def complain() -> None:
        wanted.append("no")

    @task(name="plan")
    def plan() -> None:
        wait_until(send, "o-17")
        wait_until(complain)

    invoked = run(lambda: wait_until(plan), timeout=5)

    assert sorted(states(invoked)) == ["overflowed", "succeeded"]
    assert len(queue.taken) == 1
    assert wanted == []


def test_every_task_ends_in_exactly_one_way() -> None:
    """Handed over is succeeded, overflowed, unconfirmed, failed, cancelled, abandoned and dropped."""
    queue, full = Queue(), Queue(refuse="it is full")
    over = threading.Event()

    def fails() -> None:
        raise ValueError("no")

    succeeding = task(name="succeeding")(lambda: None)
    failing = task(name="failing", retries=1, backoff=0)(fails)
    overflowing = task(name="overflowing", timeout=20, overflow=queue)(lambda: None)
    dropped = task(name="dropped", timeout=20, overflow=full)(lambda: None)
    silent = Queue(error=OSError("no answer"))
    unconfirmed = task(name="unconfirmed", timeout=20, overflow=silent)(lambda: None)
    hanging = task(name="hanging")(lambda: over.wait(30))

    async def sleep() -> None:
        await asyncio.sleep(30)

    sleeping = task(name="sleeping")(sleep)
    kinds = [succeeding, failing, overflowing, dropped, unconfirmed, hanging, sleeping]

    invoked = run(*[lambda kind=kind: wait_until(kind) for kind in kinds], timeout=1.5)
    over.set()

    ends = ["succeeded", "failed", "overflowed", "dropped", "unconfirmed", "abandoned", "cancelled"]
    assert states(invoked) == ends
