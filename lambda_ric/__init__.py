"""
A Lambda runtime for Python that answers first and finishes afterwards.

The public names of what a function's code uses. The command line, the
emulator and the client over httpx have modules of their own, and are loaded
by nobody else.
"""

from .background_task import BackgroundTask
from .context import LambdaContext
from .entry import run
from .handover import after_response, wait_until
from .hooks import (
    Outcome,
    after_invoke,
    after_thaw,
    before_freeze,
    before_invoke,
    on_shutdown,
    on_startup,
    on_task_failed,
)
from .payloads import Codec, Payload
from .version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .reports import TaskReport
    from .streaming import StreamingResponse
    from .synchronous import blocking
    from .tasks import task
del TYPE_CHECKING

__all__ = [
    "BackgroundTask",
    "Codec",
    "LambdaContext",
    "Outcome",
    "Payload",
    "StreamingResponse",
    "TaskReport",
    "__version__",
    "after_invoke",
    "after_response",
    "after_thaw",
    "before_freeze",
    "before_invoke",
    "blocking",
    "on_shutdown",
    "on_startup",
    "on_task_failed",
    "run",
    "task",
    "wait_until",
]


# Loaded when they are asked for, as most functions do not.
_LATER = {"StreamingResponse": "streaming", "TaskReport": "reports", "blocking": "synchronous", "task": "tasks"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
