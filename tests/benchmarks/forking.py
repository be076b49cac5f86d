"""
Environments that start at once: for each line on stdin, which names a file for its log, a copy of this process.

Prints its process id, waits for another line, and prints how the copy ended. The argument is the module of the
function.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from lambda_ric.entry import run

from .runtimes import FUNCTION


def main() -> None:
    sys.path.insert(0, str(FUNCTION))
    function = import_module(sys.argv[1])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            log = os.open(line.strip(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os._exit(run(function.handler))
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
