"""
Ports for servers that want to be told theirs.
"""

from __future__ import annotations

import random
import socket

# Below those that the system gives to outgoing connections, one of which could take it before its server does.
CANDIDATES = range(15_000, 30_000)


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    for port in random.sample(CANDIDATES, 100):
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
