"""``python -m lambda_ric [HANDLER]``: the runtime, as Lambda starts it."""

import atexit
import os
import sys

from .entry import main

code = main(sys.argv[1:])
atexit._run_exitfuncs()
for stream in (sys.stdout, sys.stderr):
    if stream is not None and not stream.closed:
        stream.flush()
# Not sys.exit, which waits for the function's own threads: they may never end.
os._exit(code & 0xFF)
