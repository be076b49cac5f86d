"""
How an invocation failed, as its caller is told.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Failure:
    """What the platform, not the runtime, has to say of an invocation: an error type, and its text."""

    error_type: str
    message: str
    report_type: str = ""
    """What REPORT calls the error, where that is another name."""

    @property
    def status(self) -> Literal["error", "timeout"]:
        """How REPORT and INIT_REPORT call it."""
        return "timeout" if self.error_type == "Sandbox.Timedout" else "error"

    def report_fields(self) -> list[str]:
        """Return what REPORT and INIT_REPORT end with."""
        if self.status == "timeout":
            return ["Status: timeout"]
        return ["Status: error", f"Error Type: {self.report_type or _known(self.error_type)}"]

    def document(self) -> bytes:
        """Return the error document that the caller gets."""
        document = {"errorType": self.error_type, "errorMessage": self.message}
        return json.dumps(document, separators=(",", ":")).encode()


def _known(error_type: str) -> str:
    """
    Return the type under which the platform's logs and metrics file *error_type*.

    The expression is the platform's, and not anchored (internal/lambda/fatalerror of AWS's emulator).
    """
    if re.search(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", error_type):
        return error_type
    return "Function.Unknown" if error_type.startswith("Function.") else "Runtime.Unknown"
