"""
Asynchronous invocations: accepted at once, run in the background, retried, and reported to destinations.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from lambda_ric.emulator.event.invocation import Answer, Invocation
from lambda_ric.emulator.event.refusals import EmulatorError
from lambda_ric.errors import ConfigurationError

from .backoff import find_environment
from .destinations import DeliveryError, Destination, deliver
from .notes import Note, no_note
from .outcome import Condition, EventOutcome, Parcel

# Lambda's, in seconds: after a function error, and between the tries to find an environment.
RETRY_DELAYS = (60.0, 120.0)
MAX_BACKOFF = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeConfig:
    """
    What one would configure on Lambda for asynchronous invocations.

    *time_scale* shortens every delay and the age: with 0.01, the first retry comes after 0.6 seconds.
    *retry_after_response* makes a failure of what follows a good response, a timeout say, count as one of the
    function. AWS does not say whether it does; by default the response settles it.

    Raises:
        ConfigurationError: What Lambda would not accept.
    """

    maximum_retry_attempts: int = 2
    maximum_event_age: float = 21600
    on_success: Destination | None = None
    on_failure: Destination | None = None
    dead_letter: Destination | None = None
    retry_after_response: bool = False
    time_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.maximum_retry_attempts <= len(RETRY_DELAYS):
            raise ConfigurationError(f"the retry attempts must be 0, 1 or 2, not {self.maximum_retry_attempts}")
        if not 60 <= self.maximum_event_age <= 21600:
            raise ConfigurationError(f"the event age must be 60 to 21600 seconds, not {self.maximum_event_age}")
        if not 0 < self.time_scale <= 1:
            raise ConfigurationError(f"the time scale must be more than 0 and at most 1, not {self.time_scale}")


class EventQueue:
    """
    The events that nobody waits for, each brought to its outcome by *submit*, and the outcome to its destination.

    `run` must be running for anything to happen. When it is cancelled, *note* is told of every event that is lost.
    """

    def __init__(
        self,
        submit: Callable[[Invocation], None],
        config: EventInvokeConfig,
        *,
        note: Note = no_note,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._submit = submit
        self._config = config
        self._note = note
        self._clock = clock
        self._sleep = sleep
        self._pending: dict[str, Invocation] = {}
        self._drained = anyio.Event()
        self._drained.set()
        self._wake = anyio.Event()
        self._accepted: list[Invocation] = []
        self._open = True

    def put(self, invocation: Invocation) -> None:
        """
        Accept *invocation*, which runs later.

        Raises:
            EmulatorError: The queue is closed.
        """
        if not self._open:
            raise EmulatorError("the emulator was closed")
        if not self._pending:
            self._drained = anyio.Event()
        self._pending[invocation.request_id] = invocation
        self._accepted.append(invocation)
        self._wake.set()

    async def drained(self) -> None:
        """Wait until every event that was accepted has had its outcome, and every destination its record."""
        await self._drained.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    await self._wake.wait()
                    self._wake = anyio.Event()
                    accepted, self._accepted = self._accepted, []
                    for invocation in accepted:
                        tasks.start_soon(self._settle, invocation)
        finally:
            self._open = False
            for invocation in self._pending.values():
                self._note("dropped", f"the emulator was closed: event {invocation.request_id} is lost", invocation)

    # The life of one event...

    async def _settle(self, invocation: Invocation) -> None:
        try:
            outcome = await self._outcome(invocation)
        except EmulatorError:
            return  # closed, and about to be told that this event is lost
        await self._report(outcome)
        del self._pending[invocation.request_id]
        if not self._pending:
            self._drained.set()

    async def _outcome(self, invocation: Invocation) -> EventOutcome:
        """Run *invocation*, and again if it fails, until there is nothing more to try."""
        config = self._config
        expires = invocation.requested_at + config.maximum_event_age * config.time_scale
        answer: Answer | None = None
        attempts = 0

        def outcome(condition: Condition) -> EventOutcome:
            return EventOutcome(condition, self._clock(), attempts, invocation, answer)

        while await self._entered(invocation, expires):
            await invocation.finished()
            attempts, answer = attempts + 1, await invocation.answered()
            if not self._failed(invocation, answer):
                return outcome("Success")
            if attempts > config.maximum_retry_attempts:
                return outcome("RetriesExhausted")
            delay = RETRY_DELAYS[attempts - 1] * config.time_scale
            if self._clock() + delay >= expires:
                break
            text = f"attempt {attempts} of event {invocation.request_id} failed: the next one in {delay:g} s"
            self._note("retry", text, invocation)
            await self._sleep(delay)
            invocation = self._pending[invocation.request_id] = self._again(invocation)
        return outcome("EventAgeExceeded")

    async def _entered(self, invocation: Invocation, expires: float) -> bool:
        """Find an environment for *invocation*; return False if there was none before it *expires*."""

        def note(delay: float) -> None:
            text = f"event {invocation.request_id} was throttled: it is tried again in {delay:g} s"
            self._note("retry", text, invocation)

        return await find_environment(
            self._submit,
            invocation,
            expires,
            longest=MAX_BACKOFF,
            clock=self._clock,
            sleep=self._sleep,
            scale=self._config.time_scale,
            on_throttle=note,
        )

    def _failed(self, invocation: Invocation, answer: Answer) -> bool:
        if answer.function_error is not None:
            return True
        return self._config.retry_after_response and invocation.failure is not None

    def _again(self, invocation: Invocation) -> Invocation:
        """Return the next attempt: the same event under the same request id, and another nonce."""
        return Invocation(
            event=invocation.event,
            function_arn=invocation.function_arn,
            requested_at=self._clock(),
            request_id=invocation.request_id,
            trace_id=invocation.trace_id,
            content_type=invocation.content_type,
            tenant_id=invocation.tenant_id,
            source=invocation.source,
            attempt=invocation.attempt + 1,
        )

    # ...and what is told of it.

    async def _report(self, outcome: EventOutcome) -> None:
        config = self._config
        if outcome.condition == "Success":
            await self._deliver("on-success destination", config.on_success, outcome.record(), outcome)
            return
        if config.on_failure is None and config.dead_letter is None:
            text = f"event {outcome.invocation.request_id} is given up ({outcome.condition}), and goes nowhere"
            self._note("dropped", text, outcome.invocation)
        await self._deliver("on-failure destination", config.on_failure, outcome.record(), outcome)
        await self._deliver("dead-letter target", config.dead_letter, outcome.dead_letter(), outcome)

    async def _deliver(self, name: str, destination: Destination | None, parcel: Parcel, outcome: EventOutcome) -> None:
        if destination is None:
            return
        invocation = outcome.invocation
        try:
            await deliver(parcel, destination, self._sleep)
        except DeliveryError as exc:
            text = f"the {name} did not get the outcome of event {invocation.request_id}: {exc}"
            self._note("dropped", text, invocation)
        else:
            text = f"the {name} has the outcome of event {invocation.request_id} ({outcome.condition})"
            self._note("destination", text, invocation)
