"""``python -m lambda_ric [HANDLER]``: the runtime, as Lambda starts it."""

import atexit
import os
import sys

from .entry import main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def __getattr__(name: str) -> "ModuleType":
    # Where Sentry's integration, for one, looks for the names of AWS's runtime.
    if name != "bootstrap":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import awslambdaric

    return awslambdaric


code: int = main(sys.argv[1:])
atexit._run_exitfuncs()
for _stream in (sys.stdout, sys.stderr):
    if _stream is not None and not _stream.closed:
        _stream.flush()
# Not sys.exit, which waits for the function's own threads: they may never end.
os._exit(code & 0xFF)
