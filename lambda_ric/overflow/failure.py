"""
Why a request to AWS came to nothing.
"""

from __future__ import annotations


class ServiceError(Exception):
    """
    The service did not do what it was asked for; the text has no secrets.

    *again*: it may do so the next time. *heard*: it is certain that it has not done it; else the request was sent, and
    what became of it is not known. *status* is that of the answer, if there is one.
    """

    def __init__(self, reason: str, *, again: bool, heard: bool = True, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.again = again
        self.heard = heard
