"""
The loop: next → serve → come to rest.

    GET next ──▶ after_thaw, before_invoke hooks ──▶ handler ──▶ POST response or error
      ▲                                                  │  the caller has its answer from here on
      │            1. the rest of an @after_response generator handler
      │            2. the hooks named by @after_response(...)
      │            3. after_invoke hooks
      │            4. everything handed to wait_until, until the set is empty
      │            5. before_freeze hooks
      └── logs flushed ◀── one BACKGROUND line ◀─────────┘

Everything here happens on the main thread, one invocation at a time; `serving` has what happens in one.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from contextvars import copy_context

from .callables import name_of
from .context import begin_serving, end_serving
from .environment import Environment
from .errors import RuntimeAPIError
from .event_loop import EventLoop
from .failures import exc_info, tell
from .forks import end_child_of
from .hooks import Hooks
from .interrupt import Interrupt, TimeUp
from .logs import Logs
from .serving import Serving
from .threads import carry_invocation_into_pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from .background.work import Work
    from .client import RuntimeClient
    from .hooks import Outcome
    from .payloads import Codec
    from .process.children import Children
    from .protocol import Invocation
    from .settings import Settings
    from .tasks.policy import Task

log: logging.Logger = logging.getLogger("lambda_ric.runtime")

# Of the 300 ms between SIGTERM and SIGKILL, something has to be left for the log and the exit:
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-extensions-shutdown
SHUTDOWN_TIME = 0.25
# What was hurried can have taken all of that.
_LEAST_SHUTDOWN_TIME = 0.025


class Runtime:
    """Serves one environment: asks *client* for events, calls *handler*, and finishes what it handed over."""

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        client: RuntimeClient,
        settings: Settings,
        logs: Logs,
        hooks: Hooks,
        codec: Codec | None = None,
        event_loop: EventLoop | None = None,
    ) -> None:
        self.event_loop: EventLoop = event_loop or EventLoop(Interrupt())
        self.environment: Environment = Environment(
            _consuming(handler, settings), client, settings, logs, hooks, codec, self.event_loop
        )
        self._codec = codec
        self._settings = settings
        self._logs = logs
        self._hooks = hooks
        self._serving: Serving | None = None
        self._resting_since = 0.0
        self._ends_at = math.inf
        self._watches_children = self._has_forked = False
        self._children: Children | None = None
        self.event_loop.interrupt.when_impossible = self._tell_once_that_nothing_is_interrupted
        self.failed: bool = False
        """Whether the last invocation did."""
        self.interrupted: bool = False
        """Whether code of the function's was stopped in mid-flight: nobody knows what it has left half-done."""

    def environment_for(self, client: RuntimeClient, event_loop: EventLoop) -> Environment:
        """Return what another loop of this process serves with, which has that *client* and *event_loop*."""
        handler = self.environment.handler
        return Environment(handler, client, self._settings, self._logs, self._hooks, self._codec, event_loop)

    def start(self) -> None:
        """Run the on_startup hooks; raises what they raise."""
        for hook in self._hooks.startup:
            self.run_hook(hook)
        if self._settings.children != "ignore":
            os.register_at_fork(after_in_parent=self._forked)
            self._watches_children = True  # and not in a test, whose processes are its own business
            if self._may_have_children():
                self._known_children().keep()

    def run_hook(self, hook: Callable[[], Any]) -> None:
        """Call *hook*, synchronous or not, between invocations; raises what it raises."""
        self.event_loop.begin_invocation()
        self.event_loop.resolve(hook())

    def run(self, next_event: Callable[[], Invocation]) -> NoReturn:
        """
        Serve what *next_event* returns, for ever.

        Raises:
            RuntimeAPIError: Lambda cannot be reached any longer.
            SystemExit, KeyboardInterrupt: A handler raised it, and its
                invocation has been told so; or *next_event* did.
        """
        while True:
            self.failed = self.serve(_asked(next_event))[0].error is not None

    def hurry(self) -> None:
        """Bring the invocation to its end, since the process has to end; a signal handler may call it."""
        now = time.time()
        self._ends_at = now + SHUTDOWN_TIME
        if self._serving is not None:
            self._serving.hurry(now + SHUTDOWN_TIME / 3, now + SHUTDOWN_TIME * 0.8)

    def shut_down(self) -> None:
        """Run the on_shutdown hooks, the last registered first, in the time that Lambda gives; never raises."""
        now = time.time()
        until = max(min(now + SHUTDOWN_TIME, self._ends_at), now + _LEAST_SHUTDOWN_TIME)
        if self._ends_at != math.inf:
            self.event_loop.hear_signals((until - now) / (len(self._hooks.shutdown) + 1))
        for left, hook in zip(range(len(self._hooks.shutdown), 0, -1), reversed(self._hooks.shutdown), strict=True):
            # Its share of what is left, the last fifth to clean up: one that hangs does not take the others' time.
            now = time.time()
            grace = max(until - now, 0) / left / 5
            self.event_loop.begin_invocation()
            try:
                with self.event_loop.interrupt.at(now + 4 * grace, again=grace):
                    self.event_loop.resolve(hook())
            except TimeUp:
                self.event_loop.settle(grace)
                tell(log, logging.WARNING, "on_shutdown hook %s was stopped: its time was up", name_of(hook))
            except BaseException as error:
                end_child_of(self.environment.process, error)
                tell(log, logging.ERROR, "on_shutdown hook %s failed", name_of(hook), exc_info=exc_info(error))

    def serve(self, invocation: Invocation) -> tuple[Outcome, list[Work]]:
        """Serve one event to the end of its background work; say how it went, and what ran after the response."""
        # Its own context: neither our variables nor the function's reach the next invocation.
        return copy_context().run(self._serve, invocation)

    def _serve(self, invocation: Invocation) -> tuple[Outcome, list[Work]]:
        serving = Serving(invocation, self.environment)
        self.begin(serving)
        serving.answer(self.rested_before(invocation))
        works = serving.finish()
        outcome = serving.outcome
        self.come_to_rest(serving)
        if isinstance(outcome.error, (SystemExit, KeyboardInterrupt)):
            raise outcome.error
        return outcome, works

    def begin(self, serving: Serving) -> None:
        """Make *serving* the current one: it is to be answered next, on this thread."""
        self._serving = serving
        begin_serving(serving)
        invocation = serving.invocation
        _set_trace_id(invocation.trace_id)
        carry_invocation_into_pools()
        self.event_loop.begin_invocation()

    def rested_before(self, invocation: Invocation) -> float:
        """Return for how many seconds the environment has rested before *invocation*; zero before the first."""
        return max(invocation.received_at - self._resting_since, 1e-9) if self._resting_since else 0.0

    def come_to_rest(self, serving: Serving) -> None:
        """Tell what still runs, and let go of *serving*, which has finished: the environment may be frozen."""
        try:
            if threading.active_count() > 1:
                _name_threads(serving)
            if self._watches_children and self._may_have_children():
                self._known_children().look(self.environment.grace)
        except Exception as error:  # no descriptor is left to load the module, say; that ends no process
            what = "what still runs after the invocation cannot be told"
            tell(log, logging.WARNING, what, exc_info=exc_info(error))
        self._logs.flush(serving.ends_at())
        end_serving()
        self.interrupted = serving.interrupted or self.event_loop.interrupt.has_raised
        serving.let_go()
        self._serving = None
        self._resting_since = time.time()

    def renew_event_loop(self) -> None:
        """Leave the event loop to a thread that hangs in it, and take a new one."""
        self.event_loop = self.environment.event_loop = EventLoop(Interrupt())
        self.event_loop.interrupt.when_impossible = self._tell_once_that_nothing_is_interrupted

    def _tell_once_that_nothing_is_interrupted(self) -> None:
        self.event_loop.interrupt.when_impossible = None
        what = (
            "SIGALRM is blocked, or has a handler of loop.add_signal_handler, which cannot share it: what "
            "runs too long is not interrupted any more, but killed by Lambda at the function's timeout. Use "
            "signal.signal and signal.setitimer, which the runtime shares"
        )
        tell(log, logging.WARNING, what)

    def _forked(self) -> None:
        self._has_forked = True

    def _may_have_children(self) -> bool:
        # To ask the system would take 2 µs. What subprocess starts is no fork.
        return self._has_forked or "subprocess" in sys.modules or "multiprocessing" in sys.modules

    def _known_children(self) -> Children:
        if self._children is None:
            from .process.children import Children  # most functions have none

            self._children = Children(terminate=self._settings.children == "terminate")
        return self._children


def _asked(next_event: Callable[[], Invocation]) -> Invocation:
    try:
        return next_event()
    except RuntimeAPIError:
        raise
    except Exception as error:  # of a signal handler of the function's: it belongs to no invocation
        tell(log, logging.ERROR, "an exception came up while there was no event", exc_info=exc_info(error))
        return next_event()


def _name_threads(serving: Serving) -> None:
    from .process.left_threads import left_running  # most invocations leave none

    for thread, line in left_running(serving):
        what = (
            "thread %s, started at %s, is still at work: it stands still when Lambda freezes this process, and goes on "
            "in another invocation: hand the work over with wait_until, or wait for the thread"
        )
        tell(log, logging.WARNING, what, thread.name, line)


def registered_tasks() -> Mapping[str, Task]:
    """Return the tasks of this process by name, without importing their module: whoever has one did."""
    module = sys.modules.get(f"{__package__}.tasks.policy")
    return module.TASKS if module is not None else {}


def _consuming(handler: Callable[[Any, Any], Any], settings: Settings) -> Callable[[Any, Any], Any]:
    # Where there are registered tasks, a queue may bring one.
    tasks = registered_tasks()
    if not tasks or not settings.consume:
        return handler
    from .tasks.consumer import Consumer

    if isinstance(handler, Consumer):
        return handler
    return Consumer(handler, tasks, sources=settings.task_sources, keys=settings.task_keys)


# The names and values of os.environ as it keeps them. To assign to it calls setenv, of which glibc keeps every value
# for ever: 150 bytes an invocation, and a twentieth of its time. Python code sees no difference; a child process does,
# when it is started without env=.
_ENVIRON: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]


def _set_trace_id(trace_id: str | None) -> None:
    # Where the X-Ray SDK and Powertools look for it, also during background work.
    if trace_id:
        _ENVIRON[b"_X_AMZN_TRACE_ID"] = trace_id.encode()
    elif b"_X_AMZN_TRACE_ID" in _ENVIRON:
        del os.environ["_X_AMZN_TRACE_ID"]
