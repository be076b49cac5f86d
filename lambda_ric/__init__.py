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
from .hooks import Outcome, after_invoke, before_invoke, on_startup
from .payloads import Codec, Payload
from .version import __version__

__all__ = [
    "BackgroundTask",
    "Codec",
    "LambdaContext",
    "Outcome",
    "Payload",
    "__version__",
    "after_invoke",
    "after_response",
    "before_invoke",
    "on_startup",
    "run",
    "wait_until",
]
