"""
What every slot is at, in memory that the processes of an environment share.

A worker that dies says nothing. So it writes down, before its handler runs, which request it has; the supervisor reads
that once the process is gone, and answers for it. A record is written by the one slot that it belongs to, and read by
nobody while that one's process lives: its state is its first byte, and is written last.

    free ──asks──▶ polling ──took──▶ serving ──asks──▶ polling …

A process may die at any instruction: also before it has sent the request for an event that it has noted, and after it
has sent one before it could note that. So what is noted is how much had been sent before. The kernel counts that, and
tells the supervisor whether it has become more.
"""

from __future__ import annotations

import _socket  # its wrapper, socket, would be 3 ms of a cold start
import mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from lambda_ric.connection import Socket
    from lambda_ric.protocol import Invocation

FREE: Final = 0
POLLING: Final = 1
SERVING: Final = 2

_RECORD = 512
_LONGEST_ID = 255
_COUNT = 8
# tcpi_bytes_sent of struct tcp_info, which Linux has since 4.19: include/uapi/linux/tcp.h
_BYTES_SENT = slice(200, 208)


class Ledger:
    """The records of so many *slots*, by number."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, slots * _RECORD)

    def state(self, slot: int) -> int:
        """Return what *slot* is at: FREE, POLLING or SERVING."""
        return self._memory[slot * _RECORD]

    def asks(self, slot: int, sent: int) -> None:
        """
        Note that *slot* has done with its event, and asks for the next.

        It does so over a connection over which *sent* bytes have gone before.
        """
        start = slot * _RECORD
        self._memory[start + 1 : start + 1 + _COUNT] = sent.to_bytes(_COUNT, "little")
        self._memory[start] = POLLING

    def has_asked(self, slot: int, connected: Socket) -> bool:
        """Say whether *slot*, whose process has died, has asked for an event over *connected*, and not got it."""
        start = slot * _RECORD
        if self._memory[start] != POLLING:
            return False
        return bytes_sent(connected) > int.from_bytes(self._memory[start + 1 : start + 1 + _COUNT], "little")

    def took(self, slot: int, invocation: Invocation) -> None:
        """Note that *slot* has *invocation*."""
        ids = [invocation.request_id.encode(), (invocation.invocation_id or "").encode()]
        if max(map(len, ids)) > _LONGEST_ID:
            return  # Lambda's own have 36 bytes
        start = slot * _RECORD
        record = b"".join(bytes((len(text),)) + text for text in ids)
        self._memory[start + 1 : start + 1 + len(record)] = record
        self._memory[start] = SERVING

    def taken(self, slot: int) -> tuple[str, str]:
        """Return the request id of what *slot* is serving, and its invocation id, which may be empty."""
        start = slot * _RECORD + 1
        ids = []
        for _ in range(2):
            length = self._memory[start]
            ids.append(self._memory[start + 1 : start + 1 + length].decode())
            start += 1 + length
        return ids[0], ids[1]

    def clear(self, slot: int) -> None:
        """Make *slot* free, since nobody has it any more."""
        self._memory[slot * _RECORD] = FREE


def bytes_sent(connected: Socket) -> int:
    """Return how many bytes have been sent over *connected*, by whatever process; 0 where the system does not count."""
    try:
        information = connected.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _BYTES_SENT.stop)
    except OSError:
        return 0
    return int.from_bytes(information[_BYTES_SENT], "little")
