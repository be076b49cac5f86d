"""
Hand-overs in a durable function of Lambda, whose handler is run again from its beginning after every wait.

AWS's SDK knows how far what was recorded reaches: the context that a handler, a branch or a child is given says whether
its code goes through that, or is new. The SDK hands it to functions as an argument, and keeps it nowhere else; so it is
looked for where the code that hands over was called from. A step, a submitter or a check is given another kind of
context, and is not run again when its result was recorded: what it hands over is always new.

Loaded by functions that use the SDK, aws-durable-execution-sdk-python, when they hand work over.
"""

from __future__ import annotations

import sys
import time

from .background.work import CANCELLED, Work, work_of
from .threads import package_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_SDK = "aws_durable_execution_sdk_python"
_REPLAYED = "an earlier run of the durable function has handed it over"


def replayed(frame: FrameType | None, thing: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work | None:
    """
    Return the work that the code in *frame* hands over for a second time, ended; None if it is new.

    Raises:
        TypeError: It is nothing that can be run or awaited.
    """
    if not _is_replayed(frame):
        return None
    work = work_of(thing, args, kwargs)
    work.end(CANCELLED, time.time(), reason=_REPLAYED)
    work.let_go()
    return work


def _is_replayed(frame: FrameType | None) -> bool:
    of_handlers: type = sys.modules[f"{_SDK}.context"].DurableContext
    of_operations: type = sys.modules[f"{_SDK}.types"].OperationContext
    while frame is not None:
        if package_of(frame) != _SDK:
            # By its type: to ask a proxy for its class can do anything.
            values = list(frame.f_locals.values())
            if any(issubclass(type(value), of_operations) for value in values):
                return False
            for value in values:  # arguments come first, what a closure holds last
                if issubclass(type(value), of_handlers):
                    return bool(value.is_replaying())
        frame = frame.f_back
    return False
