"""
The main process of a managed environment: it starts the workers, replaces those that end, and answers for them.

    starting ──the first poll of any worker──▶ serving ──SIGTERM──▶ ending ──no worker is left──▶ ended
        │                                         │
        └──── every worker has failed ────────────┴── the Runtime API is gone ──▶ ending

It has one thread, loads nothing of the function's, and is where a new worker is forked from: so each is as fresh as a
new environment. Its `Worker`s are the one place that says which processes there are.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
import socket
import time

from lambda_ric.client import RuntimeClient
from lambda_ric.connection import Connection, connect
from lambda_ric.errors import ConnectionLostError, LambdaRICError, RuntimeAPIError, WorkerEndedError
from lambda_ric.failures import Failure, tell, tell_with
from lambda_ric.logs import Logs
from lambda_ric.process.shutdown_notice import Extension
from lambda_ric.protocol import Invocation
from lambda_ric.replies import Reply
from lambda_ric.settings import Address, Settings

from .ledger import SERVING, Ledger
from .plan import Plan
from .worker import API_LOST, ASYNCHRONOUS, LEAVING, READY, SYNCHRONOUS, Post

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambda_ric.connection import Socket

log: logging.Logger = logging.getLogger("lambda_ric.managed")

# Seconds before a worker that ended without having asked for an event is started anew: twice as many each time.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# Seconds for the workers to end after a SIGTERM. Lambda kills what is left after 600 ms, as AWS's emulator for managed
# instances has it: https://github.com/aws/aws-lambda-runtime-interface-emulator (internal/lambda-managed-instances).
_ENDING_TIME = 0.5


class Worker:
    """
    A worker process, the slots that it *serves*, those that it has *left* to it, and the pipe with its *news*.

    Its *connections* are this process's as well: one over which an event has been asked for outlives the worker.
    """

    def __init__(self, pid: int, slots: list[int], left: list[int], connections: dict[int, Socket], news: int) -> None:
        self.pid = pid
        self.slots = slots
        self.left = left
        self.connections = connections
        self.news = news
        self.is_ready = False
        """Whether it has asked for an event."""
        self.is_leaving = False
        """Whether it wants another one in its place already."""


class Supervisor:
    """
    Has the events of the environment served by workers.

    Its one subject is the life of the workers: who starts, loses, replaces and ends one does so here.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = Address.parse(settings.runtime_api)
        self._plan = Plan(settings)
        # A worker that leaves goes on beside the one in its place, and both may have slots that are left to them.
        numbers = 4 * self._plan.slots
        self._ledger = Ledger(numbers)
        self._free = list(range(numbers))
        self._left: dict[int, Socket] = {}
        """The slots of workers that have died over which an event has been asked for, and their connections."""
        self._workers: dict[int, Worker] = {}
        self._due: list[tuple[float, int]] = []
        """When workers are to be started, by `time.monotonic`, and how many slots each of them has."""
        self._failed: list[int] = []
        """How many slots each worker had that has failed before any has asked for an event."""
        self._pause = _FIRST_PAUSE
        self._has_served = self._is_ending = False
        self._kills_at = 0.0
        self._code = 0
        self._signals, waker = socket.socketpair()
        for end in (self._signals, waker):
            end.setblocking(False)
        self._waker = waker
        self._extension = Extension(_nothing)
        self._logs = Logs(settings)

    def run(self) -> Post | int:
        """
        Start the workers, and stay until the environment ends.

        Returns:
            The exit code of the main process; or in a worker, where this returns as well, its post.
        """
        tell_with(self._logs.tell)
        if self._settings.log_level == "DEBUG":
            # The same event as that of AWS's own runtime.
            event = {
                "event": "runtime_worker_pool_initializing",
                "workerCount": len(self._plan.shares),
                "executionEnvironmentMaxConcurrency": self._plan.slots,
            }
            tell(log, logging.DEBUG, "%s", json.dumps(event))
        self._extension.register(self._settings.runtime_api)
        gc.freeze()  # a collection in a worker would copy the pages that it shares with the others
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _hear)
        signal.signal(signal.SIGTERM, _hear)
        now = time.monotonic()
        self._due = [(now, share) for share in self._plan.shares]
        while True:
            post = self._start_due()
            if post is not None:
                return post
            if not self._workers and not self._due:
                return self._code
            self._wait()
            self._reap()

    # Starting...

    def _start_due(self) -> Post | None:
        now = time.monotonic()
        due = [share for at, share in self._due if at <= now]
        self._due = [(at, share) for at, share in self._due if at > now]
        for position, share in enumerate(due):
            try:
                post = self._start(share)
            except OSError as error:  # no process, no memory
                tell(log, logging.ERROR, "no worker can be started, which is tried again: %s", error)
                self._due += [(now + self._longer_pause(), share) for share in due[position:]]
                break
            if post is not None:
                return post
        return None

    def _start(self, share: int) -> Post | None:
        """Fork a worker with so many slots; return its post in the new process."""
        if len(self._free) < share:  # it crashes all the time: no event is worth the end of the environment
            for slot, connected in self._left.items():
                connected.close()
                self._ledger.clear(slot)
                self._free.append(slot)
            self._left = {}
        if len(self._free) < share:
            raise OSError("workers that were to leave are still at work")
        left, self._left = self._left, {}
        numbers, connections = [], dict(left)
        if share == 1 and left:  # it goes on where the other has ended, and waits for that event
            numbers = [next(iter(left))]
            self._left = {slot: connected for slot, connected in left.items() if slot != numbers[0]}
            left = connections = {slot: left[slot] for slot in numbers}
        else:
            numbers, self._free = self._free[:share], self._free[share:]
            connections |= self._connected(numbers)
        reading, writing = os.pipe()
        try:
            pid = os.fork()
        except BaseException:
            os.close(reading)
            os.close(writing)
            self._left |= left
            self._free += [slot for slot in numbers if slot not in left]
            raise
        if pid == 0:
            self._forget(reading)
            plan, settings = self._plan, self._settings
            return Post(
                self._ledger, numbers, list(left), connections, writing, plan.mode, self._address, settings.log_socket
            )
        os.close(writing)
        os.set_blocking(reading, False)
        others = [slot for slot in left if slot not in numbers]
        self._workers[pid] = Worker(pid, numbers, others, connections, reading)
        return None

    def _connected(self, slots: list[int]) -> dict[int, Socket]:
        """Return a connection for each of *slots*, as far as there are any: a worker can make its own."""
        connections = {}
        try:
            for slot in slots:
                connections[slot] = connect(self._address)
        except ConnectionLostError:
            pass
        return connections

    def _forget(self, reading: int) -> None:
        """Let go of all that is the main process's own, in a worker."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._signals.close()
        self._waker.close()
        self._extension.forget()
        os.close(reading)
        for worker in self._workers.values():
            if worker.news >= 0:
                os.close(worker.news)
            _close(worker.connections)
        _close(self._left)

    # ...and what becomes of it.

    def _wait(self) -> None:
        """Wait for news of a worker, a signal, or the time at which something is due."""
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        for worker in self._workers.values():
            if worker.news >= 0:
                poll.register(worker.news, select.POLLIN)
        ends = [at for at, _ in self._due]
        if self._is_ending:
            ends.append(self._kills_at)
        seconds = max(0.0, min(ends) - time.monotonic()) if ends else None
        poll.poll(None if seconds is None else seconds * 1000 + 1)
        try:
            heard = self._signals.recv(1024)
        except BlockingIOError:
            heard = b""
        if signal.SIGTERM in heard and not self._is_ending:
            self._end()
        if self._is_ending and time.monotonic() >= self._kills_at:
            self._send(signal.SIGKILL)
        for worker in list(self._workers.values()):
            self._read(worker)

    def _read(self, worker: Worker) -> None:
        if worker.news < 0:
            return
        try:
            news = os.read(worker.news, 64)
        except BlockingIOError:
            return
        if not news:
            os.close(worker.news)
            worker.news = -1
        for word in news:
            if word == READY:
                worker.is_ready = self._has_served = True
                self._pause = _FIRST_PAUSE
                at = time.monotonic() + _FIRST_PAUSE
                self._due += [(at, share) for share in self._failed]
                self._failed = []
            elif word == ASYNCHRONOUS:
                self._plan.keep()
            elif word == SYNCHRONOUS and self._plan.is_open:
                more = self._plan.split()
                more_slots = worker.slots[1:]
                self._free += more_slots
                _close({slot: worker.connections.pop(slot) for slot in more_slots if slot in worker.connections})
                del worker.slots[1:]
                self._due += [(0.0, 1)] * more
            elif word == LEAVING and not worker.is_leaving:
                worker.is_leaving = True
                self._replace(worker, 0.0)

    def _replace(self, worker: Worker, pause: float) -> None:
        if not self._is_ending:
            self._due.append((time.monotonic() + pause, len(worker.slots)))

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            try:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:  # somebody ignores SIGCHLD
                pid, status = worker.pid, 0
            if pid:
                self._read(worker)
                del self._workers[pid]
                self._ended(worker, os.waitstatus_to_exitcode(status))
                if worker.news >= 0:
                    os.close(worker.news)

    def _ended(self, worker: Worker, code: int) -> None:
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        self._answer_for(worker, how)
        if self._is_ending:
            return
        if code == API_LOST:
            self._code = 1
            self._end()
        elif worker.is_ready:
            if not worker.is_leaving:
                self._replace(worker, 0.0)
                if code:
                    tell(log, logging.WARNING, "worker %d ended by %s, and is replaced", worker.pid, how)
        elif self._has_served:
            pause = self._longer_pause()
            self._replace(worker, pause)
            what = "worker %d ended by %s before its first event: another one starts in %.1f s"
            tell(log, logging.ERROR, what, worker.pid, how, pause)
        elif self._workers:  # perhaps one of the others can be initialised
            self._failed.append(len(worker.slots))
        else:  # the function cannot be, as the worker has told Lambda
            self._code = code if code > 0 else 1
            self._end()

    def _longer_pause(self) -> float:
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause

    def _answer_for(self, worker: Worker, how: str) -> None:
        """Answer what *worker* has not, keep what it has asked for, and give its other slots back."""
        for slot in (*worker.slots, *worker.left):
            connected = worker.connections.pop(slot, None)
            if self._ledger.state(slot) == SERVING:
                self._fail(*self._ledger.taken(slot), how)
            if connected is not None:
                if not self._is_ending and self._ledger.has_asked(slot, connected):
                    self._left[slot] = connected
                    continue
                connected.close()
            self._ledger.clear(slot)
            self._free.append(slot)

    def _fail(self, request_id: str, invocation_id: str, how: str) -> None:
        reply = Reply(
            200,
            {"lambda-runtime-aws-request-id": request_id, "lambda-runtime-invocation-id": invocation_id},
            b"",
        )
        # The words of the platform, where such an end is that of the whole environment.
        error = WorkerEndedError(f"RequestId: {request_id} Error: Runtime exited with error: {how}")
        failure = Failure(error, request_id)
        client = RuntimeClient(Connection(self._address))
        try:
            client.fail(Invocation(reply, time.time()), failure)
        except RuntimeAPIError as lost:
            tell(log, logging.ERROR, "%s", lost)
        except LambdaRICError:
            return  # it was answered before the worker ended
        self._logs.error(failure)

    def _end(self) -> None:
        """Have all workers end, and start no more."""
        self._is_ending = True
        self._due = []
        self._kills_at = time.monotonic() + _ENDING_TIME
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            os.kill(worker.pid, number)  # it is there until it is reaped


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return str(number)


def _hear(signum: int, frame: object) -> None:
    """Do nothing: the number of the signal has been written to the socket."""


def _close(connections: dict[int, Socket]) -> None:
    for connected in connections.values():
        connected.close()


def _nothing() -> None:
    pass
