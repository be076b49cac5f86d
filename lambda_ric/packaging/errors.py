"""
Why there is no package.
"""

from __future__ import annotations

from lambda_ric.errors import LambdaRICError


class PackagingError(LambdaRICError):
    """The package cannot be made; the text says what is wrong with which part, and what to do."""
