"""
SnapStart: what is done around the snapshot of which every environment is a copy.

    init ──▶ before_snapshot hooks ──▶ GET restore/next ┄┄ snapshot, copies ┄┄ 200 ──▶ renew() ──▶ after_restore hooks

Hooks of this package are the function's own, those of the package `snapshot_restore_py` often a library's, which the
function may need in its own: libraries are the last to stop, and the first to begin again.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

from lambda_ric.failures import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Run = Callable[[Callable[[], Any]], Any]

log: logging.Logger = logging.getLogger("lambda_ric.process")


def prepare(hooks: list[Callable[[], Any]], run: Run) -> None:
    """*Run* the hooks that come before the snapshot, the last registered first; raises what they raise."""
    while hooks:  # one may register another
        run(hooks.pop())
    registry = _registry()
    registered = registry.get_before_snapshot() if registry else []
    while registered:
        function, args, kwargs = registered.pop()
        run(partial(function, *args, **kwargs))


def resume(hooks: list[Callable[[], Any]], run: Run) -> None:
    """Renew what copies must not share, and *run* the hooks that come after the restore; raises what they raise."""
    renew()
    registry = _registry()
    for function, args, kwargs in registry.get_after_restore() if registry else ():
        run(partial(function, *args, **kwargs))
    for hook in hooks:
        run(hook)


def renew() -> None:
    """Give this copy random numbers of its own; what asks the kernel for them, as `secrets` and `uuid4`, has them."""
    random: Any = sys.modules.get("random")
    if random is not None:
        try:
            random.seed()
        except Exception as error:  # a module of the function's has that name
            tell(log, logging.WARNING, "the module random cannot be seeded anew after the restore: %r", error)
    ssl: Any = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(48), 48.0)  # OpenSSL notices a fork, and a copy of a machine only where AWS built it


def _registry() -> Any:
    try:
        import snapshot_restore_py
    except ImportError:  # then no hooks can have been registered with it
        return None
    return snapshot_restore_py
