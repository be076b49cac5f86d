"""
Which invocation the running code belongs to, for libraries that are not handed the context.
"""

from __future__ import annotations

from .context import InvocationScope, invocation_of_record


def current_invocation() -> InvocationScope | None:
    """
    Return the invocation that the calling code belongs to, or None where there is none, as while modules are imported.

    It works anywhere below the handler and in background work: in threads,
    in pools and in tasks. What an invocation has left running keeps its
    invocation.
    """
    return invocation_of_record()
