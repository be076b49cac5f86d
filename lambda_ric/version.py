"""The version of lambda_ric, read by the build backend and sent as the runtime's User-Agent."""

from __future__ import annotations

__version__ = "0.2.0"
