"""
Background work that came to no good end, told to those who asked: hooks, and destinations.
"""

from __future__ import annotations

import json
import time

from .background_task import FAILED
from .envelope import Envelope
from .failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .background_task import BackgroundTask
    from .protocol import Invocation


class TaskReport:
    """
    One piece of background work that has failed, was dropped, cancelled or abandoned.

    *state* is which of these; *error* what it raised, if it has failed. *args*
    and *kwargs* are those of a registered task, else empty.
    """

    def __init__(self, task: BackgroundTask, request_id: str) -> None:
        self.name = task.name
        self.kind = task.kind
        self.state = task.state
        self.attempts = task.attempts
        self.error = task.exception() if task.state == FAILED else None
        self.args: tuple[Any, ...] = getattr(task, "args", ())
        self.kwargs: dict[str, Any] = getattr(task, "kwargs", {})
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"<TaskReport: {self.kind} {self.name} {self.state}>"


class FailureRecord(Envelope):
    """
    What a destination gets of a task that has failed: a record with the shape of Lambda's own.

        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    __slots__ = ("_record",)

    def __init__(self, failed: Envelope, report: TaskReport, invocation: Invocation) -> None:
        super().__init__(
            failed.task, failed.args, failed.kwargs, failed.id, failed.attempt, failed.origin, failed.trace
        )
        self._record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time())),
            "requestContext": {
                "requestId": invocation.request_id,
                "functionArn": invocation.function_arn,
                "condition": "RetriesExhausted" if report.state == FAILED else "TimeBudgetExceeded",
                "approximateInvokeCount": report.attempts,
            },
            "requestPayload": json.loads(super().encode()),
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": _payload(report, invocation.request_id),
        }
        # Else a FIFO queue would take it for the task itself.
        self.id += "-failure"

    def encode(self) -> str:
        """Return the record as compact JSON."""
        return json.dumps(self._record, separators=(",", ":"))


def _payload(report: TaskReport, request_id: str) -> dict[str, Any]:
    if report.error is None:
        return {"errorMessage": f"background {report.kind} {report.name} was {report.state}", "errorType": report.state}
    return Failure(report.error, request_id).as_dict(causes=False)
