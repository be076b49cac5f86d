"""Struck in a thread that the handler waits for."""

from __future__ import annotations

import threading
from typing import Any

from tests.proofs.faults.strikes import strike


def handler(event: Any, context: Any) -> Any:
    thread = threading.Thread(target=strike, args=(event,))
    thread.start()
    thread.join()
    return strike(None)
