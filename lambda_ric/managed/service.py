"""
A worker with many slots, from its first poll to its end.
"""

from __future__ import annotations

import time

from lambda_ric.process.shutdown_notice import Extension

from .pollers import Poller
from .pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambda_ric.logs import Logs
    from lambda_ric.runtime import Runtime
    from lambda_ric.settings import Settings

    from .worker import Post

# Of the 500 ms that the supervisor gives a worker after a SIGTERM; the on_shutdown hooks have the rest.
_DRAIN_TIME = 0.25


def serve(post: Post, runtime: Runtime, settings: Settings, logs: Logs) -> int:
    """Serve the events of the many slots of *post* until the worker ends; return its exit code."""
    pool = Pool(runtime, settings, logs, post)
    extension = Extension(_nothing)
    extension.listen()
    if post.is_on_loop:
        from .loop_pollers import start_all

        start_all(pool)
    else:
        for slot in post.slots:
            pool.start(Poller(pool, slot))
    for slot in post.left:
        if slot not in post.slots:
            pool.start(Poller(pool, slot, once=True))
    try:
        code = extension.wait(pool.run)
    except SystemExit as error:  # a SIGTERM
        code = error.code if isinstance(error.code, int) else 0
        pool.drain(time.time() + _DRAIN_TIME)
    runtime.shut_down()
    return code


def _nothing() -> None:
    pass
