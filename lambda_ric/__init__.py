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
from .hooks import Outcome, after_invoke, before_invoke, on_shutdown, on_startup
from .payloads import Codec, Payload
from .version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .streaming import StreamingResponse
    from .synchronous import blocking
del TYPE_CHECKING

__all__ = [
    "BackgroundTask",
    "Codec",
    "LambdaContext",
    "Outcome",
    "Payload",
    "StreamingResponse",
    "__version__",
    "after_invoke",
    "after_response",
    "before_invoke",
    "blocking",
    "on_shutdown",
    "on_startup",
    "run",
    "wait_until",
]


# Loaded when they are asked for, as most functions do not.
_LATER = {"StreamingResponse": "streaming", "blocking": "synchronous"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
