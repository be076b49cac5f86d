"""
The log of AWS's runtime, for what ours has to say: in the same words and the same format as on our own runtime.
"""

from __future__ import annotations

import logging

from lambda_ric.failures import tell_on_stderr, tell_with
from lambda_ric.log_sinks import StreamSink
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

    def log_own(self, text: str, frame_type: bytes | None = None) -> None:
        """Write *text*, an event of ours."""
        if not self._in_frames:
            super().log_own(text)
            return
        try:
            self._sink.log(text, frame_type)
        except Exception:  # closed, or of a version that takes no type
            super().log_own(text)


class OwnRecords:
    """
    Writes our own records by *logs*, while the runtime's handler is in place, and lets all others hear of them.

    The runtime's handler ends no line behind a traceback, and knows the invocation of the moment only.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        handlers = logging.getLogger().handlers
        self._theirs = next((handler for handler in handlers if hasattr(handler, "log_sink")), None)
        if self._theirs is not None:
            self._theirs.addFilter(_is_not_written)
        tell_with(self.tell)

    def tell(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Write *record*, which we have made for *logger*."""
        if self._theirs in logging.getLogger().handlers:
            self._logs.write_own(record)
        try:
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        except Exception as error:
            tell_on_stderr(f"{record.getMessage()}: a log handler failed with {error!r}\n")


def _is_not_written(record: logging.LogRecord) -> bool:
    return not hasattr(record, WRITTEN)
