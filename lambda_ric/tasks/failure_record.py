"""
A task that came to no good end, as the document that its destination gets.
"""

from __future__ import annotations

import json
import time

from lambda_ric.background.report import TaskReport
from lambda_ric.background.work import FAILED
from lambda_ric.failures import Failure
from lambda_ric.tasks.envelope import Envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambda_ric.protocol import Invocation


class FailureRecord(Envelope):
    """
    What a destination gets of a task that has failed: a record with the shape of Lambda's own.

        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    __slots__ = ("_record",)

    def __init__(self, failed: Envelope, report: TaskReport, invocation: Invocation) -> None:
        super().__init__(
            failed.task, failed.args, failed.kwargs, failed.id, failed.attempt, failed.origin, failed.trace, failed._key
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
        self.id: str = f"{failed.id}-failure"

    def encode(self) -> str:
        """Return the record as compact JSON."""
        return json.dumps(self._record, separators=(",", ":"))


def _payload(report: TaskReport, request_id: str) -> dict[str, Any]:
    if report.error is None:
        return {"errorMessage": f"background {report.kind} {report.name} was {report.state}", "errorType": report.state}
    return Failure(report.error, request_id).as_dict(causes=False)
