"""
What became of background work, as metrics: documents that CloudWatch reads from the log.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

from .work import ENDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .work import Work

# CloudWatch takes no more values of one metric in a document.
_MOST_VALUES = 100

_COUNTS = {end: end.capitalize() for end in ENDS}
_METRICS = [
    {"Name": "Tasks", "Unit": "Count"},
    *({"Name": name, "Unit": "Count"} for name in _COUNTS.values()),
    {"Name": "Attempts", "Unit": "Count"},
    {"Name": "QueueTime", "Unit": "Milliseconds"},
    {"Name": "RunTime", "Unit": "Milliseconds"},
]


def documents(
    works: Sequence[Work], namespace: str, function_name: str, request_id: str, now: float
) -> Iterator[dict[str, Any]]:
    """
    Yield the metrics of *works*, all of which have ended, one document for each name, and for a hundred of that.

    *now* is in seconds since 1970. In each, ``Tasks`` is the sum of the seven
    counts of how they ended.
    """
    by_name: dict[str, list[Work]] = {}
    for work in works:
        by_name.setdefault(work.metric_name, []).append(work)
    for name, all_of_it in by_name.items():
        for start in range(0, len(all_of_it), _MOST_VALUES):
            some = all_of_it[start : start + _MOST_VALUES]
            begun = [work for work in some if work.started_at]
            document = {
                "_aws": {
                    "Timestamp": int(now * 1000),
                    "CloudWatchMetrics": [
                        {
                            "Namespace": namespace,
                            "Dimensions": [["FunctionName"], ["FunctionName", "Task"]],
                            "Metrics": [metric for metric in _METRICS if begun or metric["Name"] not in _OF_BEGUN],
                        }
                    ],
                },
                "FunctionName": function_name,
                "Task": name,
                "requestId": request_id,
                "Tasks": len(some),
                **{name: sum(work.state == end for work in some) for end, name in _COUNTS.items()},
            }
            if begun:
                document["Attempts"] = [work.attempts for work in begun]
                document["QueueTime"] = [_ms(work.started_at - work.handed_over_at) for work in begun]
                document["RunTime"] = [_ms(work.ended_at - work.started_at) for work in begun]
            yield document


_OF_BEGUN = {"Attempts", "QueueTime", "RunTime"}


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
