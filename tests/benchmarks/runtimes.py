"""The columns: how each runtime is started. All get the same interpreter, function and environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = Path(__file__).parent / "function"


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    module: str
    environ: dict[str, str] = field(default_factory=dict)
    checkout: Path = ROOT

    def command(self, handler: str) -> list[str]:
        return [sys.executable, "-m", self.module, handler]

    def environment(self, api_address: str, handler: str, bytecode: str) -> dict[str, str]:
        """Return the variables that Lambda sets, and no others: the caller's shell shall change nothing."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self.checkout),
            "PYTHONPYCACHEPREFIX": bytecode,
            "AWS_LAMBDA_RUNTIME_API": api_address,
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]7e3a0c3f0f7d4c1c9a5d2b0d6f1e8a44",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": "eu-central-1",
            "LAMBDA_TASK_ROOT": str(FUNCTION),
            "_HANDLER": handler,
            **self.environ,
        }


PEER = Runtime("awslambdaric", "awslambdaric")
# As AWS's own images start it since Python 3.12: GET next on a thread, for the main one to get signals.
MANAGED_PEER = Runtime("awslambdaric-threads", "awslambdaric", {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"})
OURS = Runtime("lambda_ric", "lambda_ric")
FLOOR = Runtime("raw-loop", "tests.benchmarks.raw_loop")


def earlier(checkout: Path) -> Runtime:
    """Return this runtime as it stands in another *checkout* of the project."""
    return Runtime(EARLIER, OURS.module, checkout=checkout.resolve())


EARLIER = "lambda_ric-earlier"
RUNTIMES = {runtime.name: runtime for runtime in (PEER, MANAGED_PEER, OURS, FLOOR)}
