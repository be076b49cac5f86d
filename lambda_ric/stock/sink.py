"""
The log of AWS's runtime, for what ours has to say: in the same words and the same format as on our own runtime.
"""

from __future__ import annotations

import logging
import sys

from lambda_ric.log_sinks import StreamSink, as_event
from lambda_ric.logs import WRITTEN, Logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SinkOfRuntime(StreamSink):
    """Writes to *sink*, the runtime's own: to stdout, or to Lambda's descriptor in frames."""

    def __init__(self, sink: Any) -> None:
        super().__init__()
        self._sink = sink
        self._in_frames = hasattr(sink, "fd")
        self._stdout = sys.stdout

    def log_own(self, text: str, frame_type: bytes | None = None) -> None:
        """Write *text*, an event of ours, whatever the function has put in the place of stdout since."""
        try:
            if self._in_frames:
                self._sink.log(text, frame_type)
            else:
                self._stdout.write(as_event(text))
                self._stdout.flush()
        except Exception:  # closed, or of a version that takes no type
            super().log_own(text)


def take_own_records(logs: Logs) -> None:
    """
    Have *logs* write our own records in the place of the runtime's handler, and let all others hear of them.

    That handler ends no line behind a traceback, and knows the invocation of the moment only.
    """
    logs.main = next((handler for handler in logging.getLogger().handlers if hasattr(handler, "log_sink")), None)
    if logs.main is not None:
        logs.main.addFilter(_is_not_written)
    logs.consoles = [sys.stdout, sys.stderr]
    logs.take_own_records()


def _is_not_written(record: logging.LogRecord) -> bool:
    return not hasattr(record, WRITTEN)
