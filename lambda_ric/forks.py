"""
Child processes that come back to the runtime: the function has forked, and its child did not exit.
"""

from __future__ import annotations

import os
import sys
import traceback

from .failures import exc_info


def end_child_of(process: int, error: BaseException | None = None) -> None:
    """
    End this process as Python would for *error*, unless it is *process* itself.

    A child has no part in the loop: it shares its parent's connection, and
    what it posted would be taken for its parent's answer.
    """
    if os.getpid() == process:
        return
    code = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        elif error is not None:
            sys.stderr.write("".join(traceback.format_exception(*exc_info(error))))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
