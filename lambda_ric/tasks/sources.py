"""
Where the consumer takes tasks from, since whoever may invoke a function can write any event.

What is trusted is what the function itself says: the sinks of its own tasks, the sources in
``LAMBDA_RIC_TASK_SOURCES``, and with ``LAMBDA_RIC_TASK_KEY`` the signature of an envelope. The ARN in an event is a
claim: Lambda sets it for what a queue has sent, and a caller who invokes the function may write any. Only a signature
cannot be forged.
"""

from __future__ import annotations

from .envelope import EVENT_SOURCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .envelope import Envelope
    from .policy import Task


class Sources:
    """The sources that the function *function_arn* expects: those of the sinks of *tasks*, and those *listed*."""

    def __init__(self, tasks: Mapping[str, Task], listed: Collection[str], function_arn: str) -> None:
        own = {getattr(task.overflow, "source", None) for task in tasks.values()}
        expected = {*listed, *(source for source in own if isinstance(source, str))}
        self._queues = {source for source in expected if ":sqs:" in source}
        self._invokes_this = any(_is(function_arn, function) for function in expected - self._queues)
        self._listed = {_unqualified(arn) for arn in listed}

    def refusal(self, kind: object, arn: str | None, envelope: Envelope) -> str | None:
        """Return why a task in a record of that *kind*, from the queue *arn*, is not run here; None if it is."""
        if kind == EVENT_SOURCE:
            sender = envelope.origin.get("function_arn", "")
            if self._invokes_this or _unqualified(sender) in self._listed:
                return None
            where = f"was sent to this function by {sender[:_LONGEST]!r}" if sender else "was sent to this function"
            what = "this function in the overflow= of a task or list the sender's ARN in LAMBDA_RIC_TASK_SOURCES"
        else:
            if arn in self._queues:
                return None
            where = f"came from {arn[:_LONGEST]!r}" if arn else "names no queue that it came from"
            what = "the queue in the overflow= of a task or list its ARN in LAMBDA_RIC_TASK_SOURCES"
        return (
            f"task {envelope.task[:_LONGEST]!r} is not run: it {where}, and no task is expected from there. If one is, "
            f"name {what}; LAMBDA_RIC_CONSUME=off leaves all messages to the handler"
        )


_LONGEST = 250


def _is(function_arn: str, named: str) -> bool:
    """Say whether *named*, as NAME, ACCOUNT:function:NAME or ARN, each with a version or not, is *function_arn*."""
    parts = named.split(":")
    if parts[0] == "arn":
        given = parts[:7]
    else:
        given = parts[:3] if parts[1:2] == ["function"] and len(parts) > 2 else parts[:1]
    return _unqualified(function_arn).split(":")[-len(given) :] == given


def _unqualified(arn: str) -> str:
    # arn:aws:lambda:REGION:ACCOUNT:function:NAME:VERSION
    return ":".join(arn.split(":")[:7])
