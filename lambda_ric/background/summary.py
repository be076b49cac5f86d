"""
What became of the background work of one invocation: the line for the log.
"""

from __future__ import annotations

from .work import ENDS, SUCCEEDED, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Summary:
    """What became of the background work of one invocation, in numbers and names."""

    def __init__(self, request_id: str, works: list[Work], seconds: float) -> None:
        self.request_id = request_id
        self.milliseconds: float = round(seconds * 1000, 2)
        self.names: dict[str, list[str]] = {end: [] for end in ENDS}
        for work in works:
            if work.has_ended:
                self.names[work.state].append(work.name)
        self.total: int = len(works)

    @property
    def complete(self) -> bool:
        """Whether everything succeeded."""
        return len(self.names[SUCCEEDED]) == self.total

    def text(self) -> str:
        """Return the line for the log, in the manner of Lambda's own REPORT line."""
        text = (
            f"BACKGROUND RequestId: {self.request_id}\tDuration: {self.milliseconds:.2f} ms\t"
            f"Tasks: {self.total}\tSucceeded: {len(self.names[SUCCEEDED])}"
        )
        for end in () if self.complete else ENDS[1:]:
            if names := self.names[end]:
                text += f"\t{end.capitalize()}: {len(names)} ({', '.join(_some(names))})"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Return the same as the JSON log line has it."""
        counts: dict[str, int] = {end: len(names) for end, names in self.names.items()}
        names = {end: _some(names) for end, names in self.names.items() if end != SUCCEEDED and names}
        return {"durationMs": self.milliseconds, "tasks": self.total, **counts, "names": names}


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], f"and {len(names) - _MOST_NAMES} more"]


_MOST_NAMES = 20
