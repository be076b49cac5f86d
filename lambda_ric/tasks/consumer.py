"""
The consumer: runs the registered tasks that the messages of a queue name, and reports those that failed.

Nothing that a message names is imported: a name that is not in the registry is not run. Nor is a task from a source
that this function does not expect, see `sources`. Messages without a task are the handler's.
"""

from __future__ import annotations

import logging
import time

from lambda_ric.background.work import DROPPED, FAILED, SUCCEEDED, Work
from lambda_ric.errors import EnvelopeError, HandlerTimeoutError
from lambda_ric.failures import exc_info, tell
from lambda_ric.handlers import explain_call, is_of_the_call
from lambda_ric.serving import serving_of

from .envelope import EVENT_SOURCE, Envelope
from .policy import Task
from .sending import reasons_within
from .sources import Sources
from .supervision import Supervision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from lambda_ric.background.drain import Background
    from lambda_ric.protocol import Invocation
    from lambda_ric.serving import Serving

    from .failure_record import FailureRecord
    from .sink import Sink

log: logging.Logger = logging.getLogger("lambda_ric.consumer")

QUEUE = "aws:sqs"

# So many deliveries are not told from accidents: each counts, also when Lambda had no environment for it, or the task
# of another message ended the process. It is what AWS asks for as the least maxReceiveCount:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-queueconfig
_LEAST_DELIVERIES = 5

# The most seconds that an on_failure sink has to take what is given up.
_SENDING_TIME = 1.0


class Consumer:
    """
    A handler: runs those of *tasks* that messages carry, and leaves everything else to *handler*.

    Tasks are taken from the queues and functions that their `overflow` names, and from the ARNs in *sources*; if there
    are *keys*, one of them has to have signed each. It has to be called on the main thread, as the runtime calls a
    handler.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        tasks: Mapping[str, Task],
        *,
        sources: Collection[str] = (),
        keys: Sequence[bytes] = (),
    ) -> None:
        self._handler = handler
        self._tasks = tasks
        self._sources = sources
        self._keys = keys

    def __call__(self, event: Any, context: Any) -> Any:
        """
        Return which messages failed; or, for an event without any task, what the handler returns.

        Raises:
            Exception: What the task of an asynchronous invocation raised.
        """
        records = event.get("Records") if isinstance(event, dict) else None
        messages = [_Message(record, self._keys) for record in records] if isinstance(records, list) else []
        if all(message.is_foreign for message in messages):
            return self._call_handler(event, context)
        sources = Sources(self._tasks, self._sources, context.invoked_function_arn)
        for message in messages:
            message.find_task(self._tasks, sources)
        serving = serving_of("the consumer of tasks")
        # First, because it can be interrupted: then nothing of ours has run yet, and all of it comes back.
        self._handle(event, [message for message in messages if message.is_foreign], context, serving)
        _run(messages, serving)
        failed = [message for message in messages if not message.done]
        if failed and all(message.source == EVENT_SOURCE for message in messages):
            # By Lambda's own retries this comes back: nobody reads which messages of it have failed.
            raise failed[0].error()
        return {"batchItemFailures": [{"itemIdentifier": message.id} for message in failed]}

    def _call_handler(self, event: Any, context: Any) -> Any:
        try:
            return self._handler(event, context)
        except TypeError as error:
            if is_of_the_call(error, self._handler):
                explain_call(error, self._handler)
            raise

    def _handle(self, event: dict[str, Any], foreign: list[_Message], context: Any, serving: Serving) -> None:
        if not foreign:
            return
        ids = {message.id for message in foreign}
        try:
            result = self._call_handler({**event, "Records": [message.record for message in foreign]}, context)
            failed = _reported(serving.event_loop.resolve(result), ids)
        except Exception as error:
            failed = ids
            what = "the handler failed: the %d messages without a task come back"
            tell(log, logging.ERROR, what, len(foreign), exc_info=exc_info(error))
        for message in foreign:
            message.done = message.id not in failed


class _Message:
    """A record of the event, and the task in it if there is one; *done* when it need not come back."""

    def __init__(self, record: Any, keys: Sequence[bytes]) -> None:
        known: dict[str, Any] = record if isinstance(record, dict) else {}
        attributes: Any = known.get("attributes")
        attribute = attributes.get if isinstance(attributes, dict) else {}.get
        self.record = record
        self.id = _text(known.get("messageId"))
        self.source = known.get("eventSource")
        # Elsewhere a group is one for fairness, not for order.
        self._arn = _text(known.get("eventSourceARN"))
        self.group = _text(attribute("MessageGroupId")) if self._arn and self._arn.endswith(".fifo") else None
        self.done = False
        self.envelope: Envelope | None = None
        self.task: Task | None = None
        self.refusal: EnvelopeError | None = None
        self.run: Work | None = None
        if self.source in (QUEUE, EVENT_SOURCE) and isinstance(known.get("body"), str):
            try:
                self.envelope = Envelope.decode(known["body"], keys)
            except EnvelopeError as error:
                self.refusal = error
        if self.envelope is not None:
            self.attempt = self.envelope.attempt + _number(attribute("ApproximateReceiveCount")) - 1

    @property
    def is_foreign(self) -> bool:
        """Whether it is for the handler."""
        return self.envelope is None and self.refusal is None

    def find_task(self, tasks: Mapping[str, Task], sources: Sources) -> None:
        """Look the task of its envelope up in *tasks*; it is refused if there is none, or not from these *sources*."""
        if self.envelope is None:
            return
        refusal = sources.refusal(self.source, self._arn, self.envelope)
        if refusal is not None:
            self.refusal = EnvelopeError(refusal)
            return
        self.task = tasks.get(self.envelope.task)
        if self.task is None:
            self.refusal = EnvelopeError(
                f"there is no task {self.envelope.task[:_LONGEST]!r} here: does this function have the code of it?"
            )

    def start(self, background: Background, invocation: Invocation) -> None:
        """Hand its task over to *background*, unless it cannot be run or has been often enough."""
        if self.refusal is not None:
            tell(log, logging.ERROR, "message %s: %s", self.id, self.refusal)
        elif self.task is not None and self.envelope is not None and not self._comes_too_often(self.task):
            # One attempt at a delivery: the queue keeps the message meanwhile, and makes the pause.
            policy = Task(
                self.task.function,
                name=self.task.name,
                timeout=self.task.timeout,
                max_concurrency=self.task.max_concurrency,
            )
            supervision = Supervision.of(background, invocation)
            self.run = supervision.hand_over(policy, tuple(self.envelope.args), self.envelope.kwargs)

    def settle(self) -> bool:
        """Say in the log if it has not succeeded, and return whether it is to be given up."""
        if self.task is None:
            return False
        self.done = self.run is not None and self.run.state == SUCCEEDED
        if self.done or self.source == EVENT_SOURCE:
            return False
        # What ran out of time has not had its attempt.
        if self.run is None or (self.run.state == FAILED and self.attempt > self.task.retries):
            return True
        what = "task %s, attempt %d, message %s: %s, and comes back"
        tell(log, logging.WARNING, what, self.task.name, self.attempt, self.id, self.run.state)
        return False

    def failure_record(self, invocation: Invocation) -> FailureRecord:
        """Return what a destination is told of it."""
        from lambda_ric.background.report import TaskReport  # which most functions never need

        from .failure_record import FailureRecord

        assert self.envelope is not None
        run = self.run
        if run is None:  # delivered too often to be run once more
            run = Work(self.envelope.task)
            run.end(DROPPED, time.time())
        report = TaskReport(run, invocation.request_id)
        report.attempts = self.attempt
        return FailureRecord(self.envelope, report, invocation)

    def give_up(self, refusal: str | None) -> None:
        """Say in the log that it is given up, with everything that it holds, unless its destination has a *refusal*."""
        assert self.envelope is not None
        self.done = refusal is None
        why = "failed" if self.run is not None else "was delivered too often without an end"
        fate = "is given up" if self.done else f"comes back, as its on_failure has not taken it ({refusal})"
        what = "task %s, attempt %d, message %s: %s, and %s: %s"
        assert self.task is not None
        name, call = self.envelope.task, self.task.loggable(self.envelope)
        tell(log, logging.ERROR, what, name, self.attempt, self.id, why, fate, call)

    def error(self) -> Exception:
        """Return why it failed."""
        if self.refusal is not None:
            return self.refusal
        error = self.run.exception if self.run is not None and self.run.state == FAILED else None
        if isinstance(error, Exception):
            return error
        name = self.task.name if self.task is not None else ""
        if error is None:
            return HandlerTimeoutError(f"task {name} did not end in the time that the function has")
        # SystemExit, say, which would end this process.
        return RuntimeError(f"task {name} raised {type(error).__name__}: {error}")

    def _comes_too_often(self, task: Task) -> bool:
        return self.source == QUEUE and self.attempt > max(task.retries + 1, _LEAST_DELIVERIES)


_LONGEST = 250


def _run(messages: list[_Message], serving: Serving) -> None:
    """Run the tasks of *messages*, all at the same time, but for those of one group of a FIFO queue."""
    lanes: dict[object, list[_Message]] = {}
    for message in messages:
        lanes.setdefault(message if message.group is None else message.group, []).append(message)
    waiting = list(lanes.values())
    until = serving.answer_until()
    sinks = any(message.task is not None and message.task.on_failure is not None for message in messages)
    drain_until = until - min(_SENDING_TIME, max(0.0, until - time.time()) / 4) if sinks else until
    while waiting:
        first = [lane.pop(0) for lane in waiting]
        background = serving.follow_up.work_before_answer()
        for message in first:
            message.start(background, serving.invocation)
        if any(message.run is not None for message in first):
            background.drain(drain_until)
        _give_up([message for message in first if message.settle()], serving, until)
        for message, lane in zip(first, waiting, strict=True):
            held_back = [] if message.done else [later for later in lane if not later.done]
            if held_back:
                what = "%d messages of group %s come back with the failed one before them, to keep the order"
                tell(log, logging.WARNING, what, len(held_back), message.group)
        waiting = [lane for message, lane in zip(first, waiting, strict=True) if lane and message.done]


def _give_up(messages: list[_Message], serving: Serving, until: float) -> None:
    """Tell the destinations for failed tasks of *messages*; one that is not taken there comes back."""
    by_sink: dict[int, tuple[Sink, list[_Message]]] = {}
    for message in messages:
        sink = message.task.on_failure if message.task is not None else None
        if sink is None:
            message.give_up(None)
        else:
            by_sink.setdefault(id(sink), (sink, []))[1].append(message)
    for sink, given_up in by_sink.values():
        records = [message.failure_record(serving.invocation) for message in given_up]
        reasons = reasons_within(sink, records, min(until, time.time() + _SENDING_TIME))
        for message, record in zip(given_up, records, strict=True):
            message.give_up(reasons.get(id(record)))


def _reported(result: Any, ids: set[Any]) -> set[Any]:
    """
    Return which of *ids* the handler's *result* reports as failed: all of them if it makes no sense, as for Lambda.

    Raises:
        TypeError: It is nothing that could be a report.
    """
    if not isinstance(result, dict):
        if result is None or isinstance(result, (str, int, float, list, tuple)):
            return set()
        raise TypeError(f"for messages of a queue, a handler returns batchItemFailures, not {type(result).__name__!r}")
    failures = result.get("batchItemFailures") or ()
    try:
        reported = {failure["itemIdentifier"] for failure in failures}
    except (TypeError, KeyError):
        return ids
    return reported if reported <= ids else ids


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else 1
