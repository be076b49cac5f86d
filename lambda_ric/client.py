"""
The client of the Runtime API: Lambda's verbs, and what its answers mean.

It does not know how bytes travel: a *Transport* does, the socket connection
of the loop or an HTTP client of the user's.
"""

from __future__ import annotations

import time

from . import protocol
from .errors import AnswerRefusedError, ConnectionLostError, RuntimeAPIError
from .failures import Failure
from .protocol import NEXT, RESTORE_NEXT, Call, Invocation, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import at a cold start
    from typing import Protocol

    class Transport(Protocol):
        """Something that carries one call and brings the reply."""

        def send(self, call: Call) -> Reply:
            """Send *call*; raise ConnectionLostError or MalformedReplyError when there is no reply."""

        def close(self) -> None:
            """Let go of the connection; a later call makes a new one."""


class RuntimeClient:
    """Asks for events and answers them, over *transport*."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def next(self) -> Invocation:
        """
        Wait for the next event, for as long as it takes.

        Raises:
            RuntimeAPIError: There will be none: the process has to end.
        """
        try:
            reply = self._transport.send(NEXT)
        except RuntimeAPIError:
            # A broken poll may have taken an event with it; only a fresh one gets it again, at once.
            reply = self._transport.send(NEXT)
        if reply.status != 200:
            raise RuntimeAPIError(_refusal("asking for the next event", reply))
        return Invocation(reply, time.time())

    def respond(self, invocation: Invocation, body: bytes, content_type: str = "application/json") -> None:
        """
        Deliver the result of *invocation*; its caller has it when this returns.

        Raises:
            AnswerRefusedError: It was too large, too late or refused: the
                platform has answered the caller itself. Go on.
            RuntimeAPIError: The process has to end.
        """
        self._answer("the response", protocol.response(invocation, body, content_type))

    def fail(self, invocation: Invocation, failure: Failure, *, causes: bool = False) -> None:
        """Deliver the error of *invocation*; raises what *respond* raises."""
        call = protocol.error(
            invocation, failure.document(causes=causes), failure.error_type_header, failure.xray_cause()
        )
        self._answer("the error", call)

    def fail_init(self, failure: Failure, error_type: str | None = None) -> None:
        """
        Say that the environment cannot be initialised; exit next.

        Raises:
            AnswerRefusedError: Lambda did not take it.
        """
        self._answer("the init error", protocol.init_error(failure.document(), error_type or failure.error_type))

    def restore_next(self) -> None:
        """
        Wait until the environment has been restored from its snapshot.

        Raises:
            RuntimeAPIError: It will not be.
        """
        reply = self._transport.send(RESTORE_NEXT)
        # The connection, if any survived, is one that every restored copy of the snapshot shares.
        self._transport.close()
        if reply.status != 200:
            raise RuntimeAPIError(_refusal("waiting for the restore", reply))

    def fail_restore(self, failure: Failure, error_type: str) -> None:
        """Say that a hook after the restore failed; exit next. Raises what *fail_init* raises."""
        self._answer("the restore error", protocol.restore_error(failure.document(), error_type))

    def _answer(self, what: str, call: Call) -> None:
        try:
            reply = self._transport.send(call)
        except RuntimeAPIError as error:
            reply = self._answer_again(what, call, error)
        if 200 <= reply.status < 300:
            return
        refusal = _refusal(f"posting {what}", reply)
        if reply.status >= 500:
            raise RuntimeAPIError(refusal)
        raise AnswerRefusedError(refusal + _MEANING.get(reply.status, ""), reply.status)

    def _answer_again(self, what: str, call: Call, error: RuntimeAPIError) -> Reply:
        try:
            if not isinstance(error, ConnectionLostError):
                raise error
            # A kept connection may have been closed since; a second answer is refused, not taken twice.
            return self._transport.send(call)
        except RuntimeAPIError as final:
            # Whether it arrived is unknown. The next poll tells whether Lambda is still there.
            raise AnswerRefusedError(f"{what} was not acknowledged: {final}") from final


_MEANING = {
    400: "; nothing waits for it any more",
    403: "; another answer was given before",
    410: "; it came after the timeout, or for an attempt that was given up",
    413: "; it is larger than Lambda takes, and the caller was told so",
}


def _refusal(doing: str, reply: Reply) -> str:
    said = reply.body[:300].decode("utf-8", "replace").strip()
    return f"{doing} failed: the Runtime API said {reply.status}{f' {said}' if said else ''}"
