"""
One invocation, from its event to the end of its background work.

    taken ──answer()──▶ answered ──finish()──▶ finished

Until it is answered, whatever goes wrong is its outcome: the caller gets an error. Afterwards nothing can fail it any
more: `follow_up` has what is done then, if anything is.

A `Serving` is the value of the one context variable `current_invocation`, so that `wait_until`, decorators and adapters
find it from anywhere below the handler, in threads and tasks as well. Those contexts live as long as a thread, a timer
or a client that was made in them, perhaps as long as the environment. So a `Serving` that has finished holds ids, and
nothing of the event or the results.

It belongs to the main thread, but for three things that any thread may do: hand work over, name hooks, and ask whether
it has been answered. A signal handler may call `hurry`.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from .callables import name_of
from .context import InvocationScope, LambdaContext, current_invocation
from .environment import Environment, TimeLimits
from .errors import AnswerRefusedError, HandlerTimeoutError, RuntimeAPIError
from .failures import Failure, exc_info, tell
from .forks import end_child_of
from .handlers import explain_call, is_of_the_call
from .hooks import Outcome
from .interrupt import TimeUp, stopped_at
from .payloads import is_stream
from .threads import carries_invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .background.work import Work
    from .event_loop import EventLoop
    from .follow_up import FollowUp
    from .protocol import Invocation
    from .streaming.stream import ResponseStream

log: logging.Logger = logging.getLogger("lambda_ric.runtime")


class Serving(InvocationScope):
    """
    How *environment* serves *invocation*; most of what it may turn out to need is made when it is needed.

    Its one subject is the order of what happens, from the event to the end; who does it is elsewhere.
    """

    # Set by few invocations: to set all of them for each would take a hundredth of the time of an empty one.
    answered: bool = False
    interrupted: bool = False
    """Whether the handler, a hook or a continuation was stopped before its end."""
    _stream: ResponseStream | None = None
    _follow_up: FollowUp | None = None
    _is_over: bool = False
    _called: Callable[[Any, Any], Any] | None = None
    _unreachable: RuntimeAPIError | None = None
    _timed_out: HandlerTimeoutError | None = None

    def __init__(self, invocation: Invocation, environment: Environment) -> None:
        self.request_id: str = invocation.request_id
        self.tenant_id: str | None = invocation.tenant_id
        self.trace_id: str | None = invocation.trace_id
        self.invocation: Invocation = invocation
        self.outcome: Outcome = Outcome()
        self._environment = environment
        self._limits = TimeLimits(invocation, environment.settings)

    # What the function's code and adapters ask of it...

    @property
    def event_loop(self) -> EventLoop:
        """The environment's."""
        return self._environment.event_loop

    @property
    def follow_up(self) -> FollowUp:
        """What follows the answer, made by the first who asks for something to."""
        follow_up = self._follow_up
        if follow_up is None:
            # By its whole name: to resolve a relative one each time takes 0.6 % of its instructions.
            from lambda_ric.follow_up import FollowUp  # most invocations have no sequel

            with _making:
                follow_up = self._follow_up
                if follow_up is None:
                    self._follow_up = follow_up = FollowUp(self, self._environment, self._limits)
                    if self._is_over:
                        follow_up.close()
        return follow_up

    @property
    def handler(self) -> Callable[[Any, Any], Any]:
        """The environment's."""
        return self._environment.handler

    @property
    def grace(self) -> float:
        """Seconds that code is given to end after it has been interrupted."""
        return self._environment.grace

    def answer_until(self) -> float:
        """Return when work in the handler's time has to end for its answer to be in time, in seconds since 1970."""
        return min(self._limits.soft_deadline, self._limits.until) - 2 * self._environment.grace

    def stream(self, result: Any) -> None:
        """
        Answer with what *result*, an iterator or a `StreamingResponse`, gives, to its end.

        Raises:
            RuntimeError: This invocation has been answered in this way before.
            BaseException: What `ResponseStream.send` raises.
        """
        self._open_stream().send(result)

    def _open_stream(self) -> ResponseStream:
        if self.answered or self._stream is not None:
            raise RuntimeError("this invocation has been answered already: there can be no second response")
        from .streaming.stream import ResponseStream  # most functions never stream

        self._stream = stream = ResponseStream(self._environment.client, self.invocation, self.event_loop)
        return stream

    def hurry(self, until: float, last: float) -> None:
        """
        Bring everything that comes after the answer to its end at *until*, and the before_freeze hooks at *last*.

        Whatever stage it is in; a signal handler may call it. The times are in seconds since 1970.
        """
        self._limits.hurry(until, last)
        if self.answered:
            self.event_loop.interrupt.bring_forward(until)
        if self._follow_up is not None:
            self._follow_up.hurry(until)

    # Until the caller has its answer...

    def answer(self, rested: float, handler: Callable[[Any, Any], Any] | None = None) -> None:
        """
        Call the handler, or *handler* in its place, and answer with what it returns or raises.

        The environment has *rested* so many seconds since the invocation before; zero means that this is the first.
        Where names of AWS's runtime have been asked for, these call with a handler; `awslambdaric` knows.
        """
        environment, outcome = self._environment, self.outcome
        if handler is None and environment.hooks.answer is not None:
            environment.hooks.answer(self, rested)
            return
        invocation = self.invocation
        interrupt, resolve = environment.event_loop.interrupt, environment.event_loop.resolve
        soft_deadline, until = self._limits.soft_deadline, self._limits.until
        body, content_type = b"", ""
        handler = handler or environment.handler
        is_called = False
        try:
            outcome.context = LambdaContext.of(invocation)
            outcome.event = environment.decode(invocation.take_body(), invocation.content_type)
            with interrupt.at(soft_deadline, again=max((until - soft_deadline) / 2, environment.grace)):
                if environment.hooks.thaw or environment.hooks.before:
                    self._call_hooks_before(rested)
                is_called, self._called = True, handler
                outcome.result = resolve(handler(outcome.event, outcome.context))
                if not self.answered:
                    if is_stream(outcome.result):
                        self.stream(outcome.result)
                    if self._stream is None:
                        body, content_type = environment.encode(outcome.result)
        except TimeUp as time_up:
            if self.answered:
                self.interrupted = True
                environment.event_loop.settle(environment.grace)
            else:
                self.timed_out(time_up)
        except BaseException as error:  # SystemExit too: the caller is told before the process ends
            if self.answered and isinstance(error, Exception):  # of a signal handler of the function's
                tell(log, logging.ERROR, "what follows the answer broke off", exc_info=exc_info(error))
            else:
                outcome.error = error
            if is_called and type(error) is TypeError and is_of_the_call(error, handler):
                explain_call(error, handler)
        if self.answered:
            if self._unreachable is not None:
                raise self._unreachable
            return
        self._has_returned()
        self._deliver(body, content_type, until)

    def is_direct_call_of(self, handler: Callable[[Any, Any], Any]) -> bool:
        """Say whether *handler* is called by nobody but this object, which takes its result as it is; true once."""
        called, self._called = self._called, None
        return called is handler

    def answer_at_once(self, result: Any) -> bool:
        """
        Answer with *result*, what the handler that is still running will return, if nothing has to come before.

        What the handler does from now on is work after the answer: it is interrupted when that has to end.

        Returns:
            Whether that was done.
        """
        environment, interrupt = self._environment, self._environment.event_loop.interrupt
        follow_up = self._follow_up
        has_hooks = environment.hooks.after or (follow_up is not None and follow_up.has_hooks)
        if has_hooks or environment.settings.background_limit is not None:
            return False  # they come before anything else that follows the answer, or say how long that takes
        try:
            body, content_type = environment.encode(result)
        except Exception:
            return False  # it is told when the handler returns it
        if not interrupt.hold():
            return False
        end_child_of(environment.process)
        self.outcome.result = result
        try:
            self._deliver(body, content_type, self.ends_at())
        except RuntimeAPIError as error:  # nothing for the handler to catch
            self._unreachable = error
            self.answered = True
        interrupt.put_off(self.ends_at())
        return True

    def _deliver(self, body: bytes, content_type: str, until: float) -> None:
        environment, outcome, invocation = self._environment, self.outcome, self.invocation
        outcome.duration = time.time() - invocation.received_at
        try:
            if self._stream is not None:
                self._end_stream(self._stream, until)
            elif outcome.error is None:
                environment.client.respond(invocation, body, content_type)
            else:
                self._fail(outcome.error)
        except AnswerRefusedError as refused:
            # The platform has answered the caller itself, and an error may not follow a response.
            tell(log, logging.ERROR, "%s", refused)
            outcome.error = outcome.error or refused
        self.has_been_answered()

    def has_been_answered(self) -> None:
        """Take note that the caller has its answer."""
        self.answered = True
        if self._environment.spans.wanted:
            self._tell_handler()

    def _tell_handler(self) -> None:
        environment, outcome = self._environment, self.outcome
        state = "succeeded" if outcome.error is None else "failed"
        start = self.invocation.received_at
        name = environment.settings.handler
        environment.spans.ended(self.request_id, "handler", name, state, start, start + outcome.duration)

    def call(self, handler: Callable[[Any, Any], Any], rested: float) -> None:
        """
        Call *handler* for somebody else, who posts the answer. Event, context and what it gives are in the outcome.

        The environment has *rested* so many seconds, as for `answer`.
        """
        environment, outcome = self._environment, self.outcome
        resolve, limits = environment.event_loop.resolve, self._limits
        grace = max((limits.until - limits.soft_deadline) / 2, environment.grace)
        assert outcome.context is not None
        try:
            with environment.event_loop.interrupt.at(limits.soft_deadline, again=grace):
                self._call_hooks_before(rested)
                outcome.result = resolve(handler(outcome.event, outcome.context))
                if is_stream(outcome.result):
                    self.stream(outcome.result)
        except TimeUp as time_up:
            self.timed_out(time_up)
        except BaseException as error:  # SystemExit too: the caller is told before the process ends
            outcome.error = error
        self._has_returned()
        outcome.duration = time.time() - self.invocation.received_at

    def _has_returned(self) -> None:
        """Take note that the handler has come to its end, in time or not, in this process or a child of it."""
        environment, outcome = self._environment, self.outcome
        if self._timed_out is not None:  # whatever became of that above the handler
            self.interrupted = True
            outcome.error = self._timed_out
            environment.event_loop.settle(environment.grace)
        end_child_of(environment.process, outcome.error)

    def _call_hooks_before(self, rested: float) -> None:
        hooks, outcome = self._environment.hooks, self.outcome
        assert outcome.context is not None
        if rested and hooks.thaw:
            self._call_thaw_hooks(rested)
        for hook in hooks.before:
            self.event_loop.resolve(hook(outcome.event, outcome.context))

    def _call_thaw_hooks(self, rested: float) -> None:
        for hook in self._environment.hooks.thaw:
            try:
                self.event_loop.resolve(hook(rested))
            except TimeUp:
                raise
            except BaseException as error:
                end_child_of(self._environment.process, error)
                tell(log, logging.ERROR, "after_thaw hook %s failed", name_of(hook), exc_info=exc_info(error))

    def _end_stream(self, stream: ResponseStream, until: float) -> None:
        outcome = self.outcome
        # A decorator may have caught what ended the stream: its caller has half of it all the same.
        outcome.error = outcome.error or stream.error
        if outcome.error is not None and not stream.begun:
            self._fail(outcome.error)
            return
        failure = None
        if outcome.error is not None and outcome.error is not stream.refused:
            failure = Failure(outcome.error, self.request_id)
            self._environment.logs.error(failure)
        try:
            with self.event_loop.interrupt.at(until, again=self._environment.grace, own_code=True):
                stream.end(failure)
        except TimeUp:
            stream.abort()
            raise AnswerRefusedError("the response was broken off: its caller had not read it in time") from None

    def _fail(self, error: BaseException) -> None:
        environment = self._environment
        failure = Failure(error, self.request_id)
        environment.logs.error(failure)
        environment.client.fail(self.invocation, failure, causes=environment.settings.error_causes)

    def timed_out(self, time_up: TimeUp) -> HandlerTimeoutError:
        """Take note that *time_up* has stopped the handler, and return what its caller will get, the first time."""
        if self._timed_out is not None:
            return self._timed_out
        now = time.time()
        error = HandlerTimeoutError(
            f"Task timed out after {now - self.invocation.received_at:.2f} seconds, "
            f"{(self.invocation.deadline - now) * 1000:.0f} ms before the function's deadline "
            "(LAMBDA_RIC_SOFT_DEADLINE_MS)"
        )
        error.__cause__ = time_up.__cause__  # what it raised instead
        self._timed_out = error.with_traceback(stopped_at(time_up))
        return self._timed_out

    # ...and after it, when nothing can fail the invocation any more.

    def finish(self) -> list[Work]:
        """Do what follows the answer, to the end of the background work, and return all pieces of it; never raises."""
        try:
            return [] if self.ends_here() else self.follow_up.run(self.outcome)
        except Exception as error:  # of a signal handler of the function's, or no descriptor is left
            tell(log, logging.ERROR, "what follows the answer broke off", exc_info=exc_info(error))
            return [] if self._follow_up is None else self._follow_up.break_off(error)
        finally:
            if self._follow_up is not None and self._follow_up.interrupted:
                self.interrupted = True

    @property
    def has_more_to_do(self) -> bool:
        """Whether there is anything for *finish* to do, as far as is known."""
        environment = self._environment
        hooks = environment.hooks
        expected = self._follow_up is not None or hooks.after or hooks.freeze or environment.abandoned
        return bool(expected) or environment.event_loop.has_tasks_of(self)

    def ends_here(self) -> bool:
        """Say whether nothing is left to be done after the answer, and take no more work then."""
        if self.has_more_to_do:
            return False
        with _making:
            self._is_over = self._follow_up is None
        return self._is_over

    @property
    def is_ending(self) -> bool:
        """Whether no code of the function's runs any more, but for queues and the last hooks."""
        return self._follow_up is not None and self._follow_up.is_ending

    def ends_at(self) -> float:
        """Return when all that comes after the answer ends, in seconds since 1970."""
        return self._limits.until

    def cut_off(self) -> None:
        """End what *finish* is at, as `FollowUp.cut_off` does; when the code that hangs returns, *finish* does."""
        self.interrupted = True
        self.follow_up.cut_off()

    def let_go(self) -> None:
        """Forget the event, the results and the work: contexts that outlive the invocation hold this object."""
        self.outcome = _FORGOTTEN
        self._stream = self._values = self._timed_out = None
        if self._is_over and self._follow_up is None:
            return  # nothing followed the answer, and nothing is taken any more
        with _making:
            follow_up, self._follow_up, self._is_over = self._follow_up, None, True
        if follow_up is not None:
            follow_up.let_go()


_making = threading.Lock()
_FORGOTTEN = Outcome()


def _why_not_carried() -> str:
    if os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY"):
        return "On Lambda Managed Instances, AWS's own runtime cannot carry it: no extension hears of invocations there"
    return "AWS's own runtime carries it too, when lambda_ric is imported with the function, and not by its handler"


def serving_of(caller: str) -> Serving:
    """
    Return that of the invocation that is being served.

    Raises:
        RuntimeError: There is none; the text names *caller*.
    """
    serving = current_invocation.get()
    if not isinstance(serving, Serving):
        if os.environ.get("AWS_LAMBDA_RUNTIME_API") and not carries_invocation():
            raise RuntimeError(
                f"{caller} needs the runtime of lambda_ric here: set the variable AWS_LAMBDA_EXEC_WRAPPER to "
                "/var/task/bootstrap, or to /opt/bootstrap of a layer. That file has to be in the package: `lambda-ric "
                f"doctor function.zip` says whether it is. {_why_not_carried()}"
            )
        raise RuntimeError(
            f"{caller} was called outside of any invocation: nobody would run the work. In a test, call the handler "
            "with lambda_ric.testing.invoke(handler, event)"
        )
    return serving
