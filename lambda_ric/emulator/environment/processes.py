"""
The processes of an environment as one: started, stopped, continued and ended together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from .confinement import Confinement
from .host import Host
from .network import Network
from .process import Process

# Seconds. What has left the process groups is stopped when the environment has stood still for so long: to look for it
# costs more than a quick invocation, which should not have to pay for it.
STRAYS_AFTER = 0.01


class Listener(Protocol):
    """Who is told, at once, what happens in an environment's processes."""

    def output(self, line: bytes, extension: str) -> None:
        """A *line* was written, by the *extension* of that name or, without one, by the runtime."""

    def span(self, line: bytes) -> None:
        """The runtime has said something of its work over the side channel."""

    def runtime_done(self) -> None:
        """The runtime has polled; extensions may still be at work."""


class Processes:
    """
    The runtime's process, those of the external extensions, and whatever they start; none of them runs yet.

    Everything goes through one keeper, whose descendants they are: a process that has left its group, its session or
    its parent is stopped, continued and ended with the others.
    """

    def __init__(self, host: Host, confinement: Confinement, listener: Listener) -> None:
        self.runtime: Process | None = None
        self.externals: dict[str, Process] = {}
        self._host = host
        self._confinement = confinement
        self._listener = listener
        own_network = host.function.private_network
        self._keeper = host.guard.keeper(own_network=own_network)
        self.network: Network | None = Network(self._keeper) if own_network else None
        """None: they are in that of this machine."""
        self._loop = asyncio.get_running_loop()
        self._frozen = False
        self._strays: asyncio.TimerHandle | None = None
        self._strays_are_stopped = False

    async def start_runtime(self, variables: Mapping[str, str]) -> Process:
        """
        Start the runtime with *variables* as its environment.

        Raises:
            OSError: Its command cannot be run.
        """
        self.runtime = await self._launch(self._host.function.arguments, variables, "")
        return self.runtime

    async def start_extension(self, name: str, program: str, variables: Mapping[str, str]) -> Process:
        """
        Start *program*, which is the extension *name*.

        Raises:
            OSError: It cannot be run.
        """
        process = self.externals[name] = await self._launch([program], variables, name)
        return process

    async def _launch(self, arguments: list[str], variables: Mapping[str, str], extension: str) -> Process:
        process = Process(
            self._keeper,
            lambda line: self._listener.output(line, extension),
            None if extension else self._listener.span,
        )
        terminal = None if extension else self._host.terminal
        command = self._confinement.command(arguments)
        return await process.start(command, self._host.function.task_root, variables, terminal)

    def freeze(self) -> None:
        """Stop everything where it stands."""
        self._frozen = True
        for process in self._all:
            process.freeze()
        if self._strays is None:
            self._strays = self._loop.call_later(STRAYS_AFTER, self._freeze_strays)

    def _freeze_strays(self) -> None:
        self._strays = None
        if self._frozen:
            self._strays_are_stopped = True
            self._keeper.freeze(True)

    def thaw(self) -> None:
        """Let everything go on."""
        if self._frozen:
            self._frozen = False
            if self._strays_are_stopped:
                self._strays_are_stopped = False
                self._keeper.freeze(False)
            for process in self._all:
                process.thaw()

    def drain(self) -> None:
        """Hand on what has been written so far."""
        for process in self._all:
            process.drain()

    def kill(self) -> None:
        """End everything at once, stopped or not."""
        self._keeper.end()

    async def end(self) -> None:
        """Kill everything, and wait until it has gone."""
        self.kill()
        await self._keeper.gone()
        for process in self._all:
            await process.exited.wait()

    def close(self) -> None:
        """Give back what the processes, which must have ended, had been given."""
        if self._strays is not None:
            self._strays.cancel()
        self._keeper.close()
        for process in self._all:
            process.close()

    @property
    def runtime_has_exited(self) -> bool:
        """Whether there was a runtime, and it has ended."""
        return self.runtime is not None and self.runtime.exited.is_set()

    @property
    def peak_memory(self) -> int | None:
        """The most memory that the runtime has used, in MB; None where the system does not tell."""
        return None if self.runtime is None else self.runtime.peak_memory

    @property
    def _all(self) -> list[Process]:
        return [*self.externals.values(), self.runtime] if self.runtime else list(self.externals.values())
