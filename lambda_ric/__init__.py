"""
A Lambda runtime for Python that answers first and finishes afterwards.

The public names of what a function's code uses. The command line, the
emulator and the client over httpx have modules of their own, and are loaded
by nobody else.
"""

from .context import InvocationScope, LambdaContext
from .entry import run
from .hooks import (
    Outcome,
    after_invoke,
    after_restore,
    after_thaw,
    before_freeze,
    before_invoke,
    before_snapshot,
    on_shutdown,
    on_startup,
    on_task_failed,
)
from .payloads import Codec, Payload
from .version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .background.report import TaskReport
    from .background.task import BackgroundTask
    from .current import current_invocation
    from .handover import after_response, wait_until
    from .streaming.response import StreamingResponse
    from .synchronous import blocking
    from .tasks.policy import task
del TYPE_CHECKING

__all__ = [
    "BackgroundTask",
    "Codec",
    "InvocationScope",
    "LambdaContext",
    "Outcome",
    "Payload",
    "StreamingResponse",
    "TaskReport",
    "__version__",
    "after_invoke",
    "after_response",
    "after_restore",
    "after_thaw",
    "before_freeze",
    "before_invoke",
    "before_snapshot",
    "blocking",
    "current_invocation",
    "on_shutdown",
    "on_startup",
    "on_task_failed",
    "run",
    "task",
    "wait_until",
]


# Loaded when they are asked for, as most functions do not.
_LATER = {
    "BackgroundTask": "background.task",
    "StreamingResponse": "streaming.response",
    "TaskReport": "background.report",
    "after_response": "handover",
    "blocking": "synchronous",
    "current_invocation": "current",
    "task": "tasks.policy",
    "wait_until": "handover",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    _attach_to_stock_runtime()

    value: object = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value


def _attach_to_stock_runtime() -> None:
    """Carry the work of this package on AWS's own runtime, if that is what imports the function."""
    import sys

    frame = sys._getframe(1)
    while frame is not None:
        names, module = frame.f_code.co_names, frame.f_globals
        # Its loop, or that of a runtime made after it; not the one of ours that has its names.
        if "wait_next_invocation" in names:
            if module["__name__"].startswith(f"{__name__}."):
                return
            from .stock.bootstrap import attach

            attach(frame)
            return
        frame = frame.f_back  # type: ignore[assignment]


_attach_to_stock_runtime()
