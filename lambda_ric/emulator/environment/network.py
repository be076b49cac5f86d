"""
A network of an environment's own: nobody else is on its ports, and relays lead in and out where something is expected.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from .guard import Keeping

_PIECE = 64 * 1024
# What connects the two sides of a relay.
_Connect = Callable[[], Awaitable[socket.socket]]


class Network:
    """The network in which *keeper* starts its processes, connected with that of this machine until it is closed."""

    def __init__(self, keeper: Keeping) -> None:
        self._keeper = keeper
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listener(self) -> socket.socket:
        """
        Return a socket that listens in there, on any port of the loopback interface.

        Raises:
            OSError: The environment could not have a network of its own.
        """
        return await self._keeper.socket(0)

    async def lead_out(self, port: int) -> None:
        """
        Let what connects to *port* in there reach the one of this machine.

        Raises:
            OSError: The port is taken in there.
        """
        await self._relay(await self._keeper.socket(port), lambda: _connected(socket.socket(), port))

    async def lead_in(self, port: int) -> int:
        """
        Return a port of this machine that leads to *port* in there.

        Raises:
            OSError: No port can be had.
        """
        listener = socket.create_server(("127.0.0.1", 0))

        async def connect() -> socket.socket:
            return await _connected(await self._keeper.socket(None), port)

        await self._relay(listener, connect)
        number: int = listener.getsockname()[1]
        return number

    async def aclose(self) -> None:
        """End all connections that lead in or out."""
        for server in self._servers:
            server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*connections)

    async def _relay(self, listener: socket.socket, connect: _Connect) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            try:
                await _join(reader, writer, connect)
            except (OSError, asyncio.CancelledError):  # either side is used to the other one's end
                writer.transport.abort()
            else:
                writer.close()

        self._servers.append(await asyncio.start_server(serve, sock=listener))


async def _connected(new: socket.socket, port: int) -> socket.socket:
    try:
        new.setblocking(False)
        await asyncio.get_running_loop().sock_connect(new, ("127.0.0.1", port))
    except BaseException:
        new.close()
        raise
    return new


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: _Connect) -> None:
    """Pass on what comes from either side, until both have ended."""
    other_reader, other_writer = await asyncio.open_connection(sock=await connect())
    try:
        await asyncio.gather(_pass_on(reader, other_writer), _pass_on(other_reader, writer))
    except BaseException:
        other_writer.transport.abort()
        raise
    other_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):  # gone, which the other direction shows
        writer.write_eof()
