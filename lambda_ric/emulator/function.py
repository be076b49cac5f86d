"""
A function's configuration, and the environment variables that follow from it.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambda_ric.errors import ConfigurationError

from .variables import check_variable

# What the developer's own environment lends to the function. Everything else
# stays outside, secrets above all, as it would on Lambda.
_INHERITED = ("PATH", "LANG", "PYTHONPATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """
    What one would configure on Lambda: code, handler, timeout, memory, variables.

    *command* starts the runtime; without one it is our own, with *handler*.
    *caller* is the environment of the developer: PATH, LANG, PYTHONPATH and
    the region are taken from it, and nothing else.

    Raises:
        ConfigurationError: A value that Lambda, or this machine, would refuse.
    """

    handler: str = ""
    command: Sequence[str] = ()
    task_root: Path = field(default_factory=Path.cwd)
    timeout: float = 3.0
    memory: int = 128
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "function"
    init_timeout: float = 10.0
    caller: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def __post_init__(self) -> None:
        if not self.handler and not self.command:
            raise ConfigurationError("no handler: expected module.function, such as app.handler")
        if not 0 < self.timeout <= 900:
            raise ConfigurationError(f"the timeout must be more than 0 and at most 900 seconds, not {self.timeout}")
        if not 128 <= self.memory <= 10240:
            raise ConfigurationError(f"the memory must be 128 to 10240 MB, not {self.memory}")
        if not self.task_root.is_dir():
            raise ConfigurationError(f"the task root {str(self.task_root)!r} is not a directory")
        for name, value in self.environment.items():
            check_variable(name, value)

    @property
    def arguments(self) -> list[str]:
        """The command line of the runtime."""
        return list(self.command) or [sys.executable, "-m", "lambda_ric", self.handler]

    @property
    def region(self) -> str:
        """The caller's region, or us-east-1."""
        return self.caller.get("AWS_REGION") or self.caller.get("AWS_DEFAULT_REGION") or "us-east-1"

    @property
    def arn(self) -> str:
        """The ARN under which the function is invoked; the account is a made-up one."""
        return f"arn:aws:lambda:{self.region}:012345678912:function:{self.name}"

    def variables(self, runtime_api: str) -> dict[str, str]:
        """Return the whole environment of a process whose Runtime API is at *runtime_api*."""
        stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{secrets.token_hex(16)}"
        return {
            "LANG": "en_US.UTF-8",
            **{name: self.caller[name] for name in _INHERITED if name in self.caller},
            **self.environment,
            "TZ": self.environment.get("TZ", ":UTC"),
            "_HANDLER": self.handler,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": str(self.task_root.resolve()),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
        }
