"""
What `lambda-ric dev --debug` starts a runtime with: a `breakpoint()` stops in the editor, or in the terminal.

    python -m lambda_ric.debugging PORT HANDLER

debugpy, where it is installed, waits for an editor at PORT of the loopback interface. Of other runtimes in Python, the
variable PYTHONBREAKPOINT leads to `stop`.
"""

from __future__ import annotations

import os
import pdb
import runpy
import sys
from types import FrameType
from typing import Any


def stop(*arguments: Any, **options: Any) -> None:
    """
    Stop at the caller: in the editor that is connected, else in the terminal, else as soon as an editor is.
    """
    caller = sys._getframe(1)
    debugpy = sys.modules.get("debugpy")
    if debugpy is not None and debugpy.is_client_connected():
        _stop_in_editor(caller)
    elif os.isatty(0):
        _stop_in_terminal(caller)
    elif debugpy is not None:
        print("a breakpoint waits for a debugger", file=sys.stderr, flush=True)
        debugpy.wait_for_client()
        _stop_in_editor(caller)
    else:
        text = "a breakpoint is passed over: there is no terminal, and no debugpy, which pip install debugpy would give"
        print(text, file=sys.stderr, flush=True)


def _stop_in_editor(caller: FrameType) -> None:
    # As debugpy.breakpoint has it, which would stop in here.
    sys.modules["pydevd"].settrace(
        suspend=True, trace_only_current_thread=True, patch_multiprocessing=False, stop_at_frame=caller
    )


def _stop_in_terminal(caller: FrameType) -> None:
    # The log is read line by line, and the question of a debugger is no line: so it goes to the terminal itself.
    # They stay open as long as the debugger has its prompts.
    terminal = os.ttyname(0)
    debugger = pdb.Pdb(stdin=open(terminal), stdout=open(terminal, "w"))  # noqa: SIM115
    debugger.set_trace(caller)


def main(port: int, handler: str) -> None:
    """Run the loop for *handler*, with debugpy at *port* if there is one."""
    try:
        import debugpy
    except ImportError:
        pass
    else:
        debugpy.listen(("127.0.0.1", port))
    sys.breakpointhook = stop  # debugpy has its own, which ignores what nobody is connected for
    sys.argv = ["lambda_ric", handler]
    runpy.run_module("lambda_ric", run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
