"""
The internal extension of this process, as the Extensions API sees it.

    registered ──ask──▶ asking ──done──▶ asking ...

It is always asking but for the time that an invocation takes, and the reply is read when that time is over. Whoever has
the invocation has the extension: first the main thread, then, with the work, the extension's thread.
"""

from __future__ import annotations

import json

from lambda_ric import protocol
from lambda_ric.connection import Connection
from lambda_ric.errors import RuntimeAPIError
from lambda_ric.process.shutdown_notice import identifier_of
from lambda_ric.settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambda_ric.connection import StreamedBody

_NAME = "lambda-ric"
# SHUTDOWN is for external ones alone: ShutdownEventNotSupportedForInternalExtension.
_EVENTS = b'"INVOKE"'


class Extension:
    """
    Registered at *address* for the start of every invocation, and asking for the first.

    Raises:
        RuntimeAPIError: Lambda did not take it: registration is closed after
            init, and there are ten extensions at most.
        ConfigurationError: *address* is none.
    """

    def __init__(self, address: str) -> None:
        self._connection = Connection(Address.parse(address))
        registered = self._connection.send(protocol.register_extension(_NAME, _EVENTS))
        self._next = protocol.next_extension_event(identifier_of(registered))
        # Init is not over before every extension has asked.
        self._poll = self._ask()

    def done(self, request_id: str) -> None:
        """
        Say that all work of the invocation *request_id* is done: ask for the next one.

        Raises:
            RuntimeAPIError: The Extensions API cannot be reached any longer.
        """
        while True:
            reply = self._poll.reply()
            if reply.status != 200:
                raise RuntimeAPIError(f"the Extensions API said {reply.status}")
            event = json.loads(reply.body)
            self._ask()
            # What was left of an invocation that ended otherwise is not this one's.
            if not isinstance(event, dict) or event.get("requestId", request_id) == request_id:
                return

    def _ask(self) -> StreamedBody:
        # Kept before it is sent: from then on the next invocation may be over on another thread.
        self._poll = self._connection.stream(self._next)
        self._poll.send(b"")
        return self._poll
