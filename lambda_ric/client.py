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
from .protocol import NEXT, RESTORE_NEXT, Call, Invocation
from .replies import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import at a cold start
    from typing import Protocol

    class Transport(Protocol):
        """Something that carries one call and brings the reply."""

        def send(self, call: Call) -> Reply:
            """Send *call*; raise ConnectionLostError or MalformedReplyError when there is no reply."""
            ...

        def stream(self, call: Call) -> StreamedBody:
            """Begin *call*, whose body follows; raise ConnectionLostError when that is not possible."""
            ...

        def close(self) -> None:
            """Let go of the connection; a later call makes a new one."""

    class StreamedBody(Protocol):
        """The body of a call that is sent while it is made."""

        def send_some(self, data: bytes) -> int:
            """Take *data*, send what there is room for without waiting, and return how much is left for *send*."""
            ...

        def send(self, data: bytes) -> None:
            """Send *data*, however long that takes; it may be empty."""

        def end(self, data: bytes, trailers: str) -> Reply:
            """Send *data*, the last of the body, and *trailers*; bring the reply, even when the connection broke."""
            ...

        def abort(self) -> None:
            """Break the connection off, under a *send* of another thread too."""

        def close(self) -> None:
            """Let go of a connection that was broken off."""


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
        check_event(reply)
        return Invocation(reply, time.time())

    def respond(self, invocation: Invocation, body: bytes, content_type: str = "application/json") -> None:
        """
        Deliver the result of *invocation*; its caller has it when this returns.

        Raises:
            AnswerRefusedError: It was too large, too late or refused: the
                platform has answered the caller itself. Go on.
            RuntimeAPIError: The process has to end.
        """
        self._answer("the response", protocol.response(invocation, body, content_type), invocation.deadline)

    def stream(self, invocation: Invocation, content_type: str) -> StreamedBody:
        """Begin to answer *invocation* with a body in chunks, which *end_stream* ends; raises ConnectionLostError."""
        return self._transport.stream(protocol.streamed_response(invocation, content_type))

    def end_stream(self, body: StreamedBody, data: bytes = b"", failure: Failure | None = None) -> None:
        """
        Deliver *data*, the last of a streamed response, and the *failure* that ended it early.

        Its caller has all of it when this returns.

        Raises:
            AnswerRefusedError: Lambda did not take it all. Go on.
            RuntimeAPIError: The process has to end.
        """
        trailers = ""
        if failure is not None:
            document = failure.document(limit=protocol.MAX_TRAILER_DOCUMENT)
            trailers = protocol.error_trailers(document, failure.error_type_header)
        try:
            reply = body.end(data, trailers)
        except RuntimeAPIError as error:
            raise AnswerRefusedError(f"the response was not acknowledged: {error}") from error
        check_answer("the response", reply)

    def fail(self, invocation: Invocation, failure: Failure, *, causes: bool = False) -> None:
        """Deliver the error of *invocation*; raises what *respond* raises."""
        self._answer("the error", error_of(invocation, failure, causes=causes), invocation.deadline)

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

    def _answer(self, what: str, call: Call, deadline: float = 0.0) -> None:
        try:
            reply = self._transport.send(call)
        except RuntimeAPIError as error:
            reply = self._answer_again(what, call, error, deadline)
        except Exception as error:  # of a signal handler of the function's
            reply = self._answer_again(what, call, ConnectionLostError(f"it was disturbed: {error!r}"), deadline)
        check_answer(what, reply)

    def _answer_again(self, what: str, call: Call, error: RuntimeAPIError, deadline: float) -> Reply:
        try:
            if not isinstance(error, ConnectionLostError):
                raise error
            # A kept connection may have been closed since; a second answer is refused, not taken twice.
            reply = self._transport.send(call)
        except RuntimeAPIError as final:
            # Whether it arrived is unknown. The next poll tells whether Lambda is still there.
            raise AnswerRefusedError(f"{what} was not acknowledged: {final}") from final
        return _ACKNOWLEDGED if was_taken(call, error, reply, deadline) else reply


def error_of(invocation: Invocation, failure: Failure, *, causes: bool) -> Call:
    """Return the call that answers *invocation* with *failure*, and the errors that have *causes*d it."""
    return protocol.error(invocation, failure.document(causes=causes), failure.error_type_header, failure.xray_cause())


def check_event(reply: Reply) -> None:
    """Raise a RuntimeAPIError if *reply* brings no event: the process has to end."""
    if reply.status != 200:
        raise RuntimeAPIError(_refusal("asking for the next event", reply))


def check_answer(what: str, reply: Reply) -> None:
    """Raise what `RuntimeClient.respond` raises if *reply* is no acknowledgement of *what* was posted."""
    if 200 <= reply.status < 300:
        return
    refusal = _refusal(f"posting {what}", reply)
    if reply.status >= 500:
        raise RuntimeAPIError(refusal)
    raise AnswerRefusedError(refusal + _MEANING.get(reply.status, ""), reply.status)


def was_taken(call: Call, lost: RuntimeAPIError | None, refusal: Reply, deadline: float) -> bool:
    """
    Say whether *refusal*, of a second attempt, means that Lambda has the first one, whose acknowledgement was *lost*.

    Of a first attempt, before which nothing was lost, it never does.

    A second answer is refused with 403. On Lambda Managed Instances its id is not known any more, nor is that of an
    answer after the *deadline*. And what is too large is refused, also where nobody hears of it.
    """
    from .limits import MAX_RESPONSE  # where it is not needed it is not waited for

    if not (isinstance(lost, ConnectionLostError) and lost.sent) or len(call.body or b"") > MAX_RESPONSE:
        return False
    if refusal.status == 400:
        return b"InvalidRequestID" in refusal.body and time.time() < deadline
    return refusal.status == 403


_ACKNOWLEDGED = Reply(202, {}, b"")

_MEANING = {
    400: "; nothing waits for it any more",
    403: "; another answer was given before",
    410: "; it came after the timeout, or for an attempt that was given up",
    413: "; it is larger than Lambda takes, and the caller was told so",
}


def _refusal(doing: str, reply: Reply) -> str:
    said = reply.body[:300].decode("utf-8", "replace").strip()
    return f"{doing} failed: the Runtime API said {reply.status}{f' {said}' if said else ''}"
