"""
The emulator's side of its keepers, which are processes of their own: see `keeper`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from .keeper import encoded, messages, received

Message = Mapping[str, int]
_GONE = "the process that was to start it has gone"
_PROGRAM = Path(__file__).with_name("keeper.py")


class Guard:
    """Makes keepers, until it is closed; what they keep ends with the emulator, whatever ends that."""

    def __init__(self) -> None:
        self._start()

    async def ready(self) -> None:
        """Wait until a keeper can be had at once; the init of no environment should have to."""
        self._requests.setblocking(False)
        await asyncio.get_running_loop().sock_recv(self._requests, 1)
        self._requests.setblocking(True)

    def keeper(self, *, own_network: bool = False) -> Keeping:
        """Return a keeper for one more environment; to be called on an event loop."""
        return Keeping(partial(self._requested, b"n" if own_network else b"k"), own_network=own_network)

    def _requested(self, kind: bytes) -> socket.socket:
        """Request a keeper of one *kind*; return the socket on which it will listen."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._requests, [kind], [theirs.fileno()])
            except OSError:  # killed by somebody
                self.close()
                self._start()
                socket.send_fds(self._requests, [kind], [theirs.fileno()])
        return ours

    async def check_own_network(self) -> None:
        """
        Try once whether an environment can have a network of its own.

        Raises:
            OSError: This machine does not allow it.
        """
        keeper = self.keeper(own_network=True)
        try:
            (await keeper.socket(0)).close()
        finally:
            keeper.close()

    def close(self) -> None:
        """End the program; the keepers that it made end with their own."""
        self._requests.close()
        self._process.wait()

    def _start(self) -> None:
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )


class _GoneError(OSError):
    """The keeper has gone."""


class Keeping:
    """
    What one keeper can be asked for, which *request* gets a socket to; with *own_network* it speaks first.

    One that has gone before it has said a word never was there: whoever should have made it was killed when the request
    was on its way. So there is another request.
    """

    def __init__(self, request: Callable[[], socket.socket], *, own_network: bool = False) -> None:
        self._request = request
        self._own_network = own_network
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._descriptors: list[int] = []
        self._launched: dict[int, asyncio.Future[int]] = {}
        self._gone = asyncio.Event()
        self._lock = asyncio.Lock()
        self._has_spoken = False
        self._ended = False
        self._begin()

    def _begin(self) -> None:
        self._requests = self._request()
        self._requests.setblocking(False)
        self._network: asyncio.Future[Message] | None = self._loop.create_future() if self._own_network else None
        self._answer = self._network
        self._loop.add_reader(self._requests, self._read)

    async def launch(
        self,
        command: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        descriptors: Sequence[int],
        terminal: int | None = None,
    ) -> int:
        """
        Start *command*, which writes to the first of *descriptors* and has the second, if any, as side channel.

        It reads from the descriptor *terminal*, or from nothing.

        Returns:
            The number of the process, which is that of its group.

        Raises:
            OSError: The command cannot be run.
        """
        request = {
            "launch": list(command),
            "directory": str(directory),
            "variables": dict(variables),
            "spans": len(descriptors) > 1,
            "input": terminal is not None,
        }
        passed = [*descriptors, *([] if terminal is None else [terminal])]
        answer = await self._ask(request, passed)
        return answer["pid"]

    async def socket(self, port: int | None) -> socket.socket:
        """
        Return a socket in the environment's network: for None to connect with, else one that listens on *port*.

        0 is any port of the loopback interface.

        Raises:
            OSError: The port is taken, or the environment could not have a network of its own.
        """
        await self._ask({"socket": port})
        return socket.socket(fileno=self._descriptors.pop(0))

    async def exited(self, pid: int) -> int:
        """Wait until the process *pid* has ended; return its exit code, or the number of its signal below zero."""
        try:
            return await self._launched[pid]
        finally:
            self._launched.pop(pid, None)

    def freeze(self, wanted: bool) -> None:
        """Stop, or continue, what has left the process groups of those that were launched."""
        self._send({"freeze": wanted})

    def end(self) -> None:
        """Kill everything that was launched, and all that came of it."""
        self._ended = True
        self._send({"end": True})

    async def gone(self) -> None:
        """Wait until nothing is left, after `end`."""
        await self._gone.wait()

    def close(self) -> None:
        """Give the sockets back; what is left then is killed."""
        self._loop.remove_reader(self._requests)
        self._requests.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    async def _ask(self, request: dict[str, object], descriptors: Sequence[int] = ()) -> Message:
        async with self._lock:
            try:
                return await self._answered(request, descriptors)
            except _GoneError:
                if self._has_spoken or self._ended:
                    raise
            self._requests.close()
            self._gone.clear()
            self._begin()
            return await self._answered(request, descriptors)

    async def _answered(self, request: dict[str, object], descriptors: Sequence[int]) -> Message:
        if self._network is not None:
            await asyncio.shield(self._network)
        if self._gone.is_set():
            raise _GoneError(_GONE)
        self._answer = self._loop.create_future()
        self._send(request, descriptors)
        return await self._answer

    def _send(self, request: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        data = encoded(request)
        # A request is much smaller than the buffer of a socket, which the keeper empties at once.
        self._requests.setblocking(True)
        try:
            sent = socket.send_fds(self._requests, [data], descriptors) if descriptors else 0
            self._requests.sendall(data[sent:])
        except OSError:
            self._lose()  # killed by somebody
        finally:
            self._requests.setblocking(False)

    def _read(self) -> None:
        try:
            data, descriptors = received(self._requests, 65536)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self._lose()
            return
        answers, self._buffer = messages(self._buffer + data)
        for answer in answers:
            self._hear(answer)

    def _hear(self, message: Message) -> None:
        self._has_spoken = True
        if "exited" in message:
            # Kept until somebody has asked: it may have ended together with the word that it was started.
            exited = self._launched[message["exited"]]
            if not exited.done():
                exited.set_result(message["status"])
        elif self._answer is not None and not self._answer.done():
            if "errno" in message:
                self._answer.set_exception(OSError(message["errno"], os.strerror(message["errno"])))
            else:
                if "pid" in message:
                    self._launched[message["pid"]] = self._loop.create_future()
                self._answer.set_result(message)

    def _lose(self) -> None:
        """Take note that the keeper has gone, in good order after `end`, or killed by somebody."""
        self._loop.remove_reader(self._requests)
        self._gone.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_GoneError(_GONE))
        for pid, exited in self._launched.items():
            if not exited.done():
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                exited.set_result(-signal.SIGKILL)
