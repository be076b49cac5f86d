"""
A function's configuration, and the environment variables that follow from it.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_INSTANCE_CONCURRENCY, MAX_MANAGED_TIMEOUT, MAX_MEMORY, MAX_TIMEOUT, MIN_MEMORY

from .variables import check_variables

# What the developer's own environment lends to the function. Everything else
# stays outside, secrets above all, as it would on Lambda.
_INHERITED = ("PATH", "LANG", "PYTHONPATH")


QUEUED = ("event", "sqs", "kinesis", "dynamodb")
"""What invocations come by that nobody waits for."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """
    What one would configure on Lambda, and what stands for it here.

    Raises:
        ConfigurationError: A value that Lambda, or this machine, would refuse.
    """

    handler: str = ""
    command: Sequence[str] = ()
    """Starts the runtime; without one it is our own, with *handler*."""
    task_root: Path = field(default_factory=Path.cwd)
    timeout: float = 3.0
    """In seconds, as is *init_timeout*."""
    memory: int = 128
    """In MB; a runtime that uses more is killed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "function"
    init_timeout: float = 10.0
    restore_timeout: float = 10.0
    """The limit of the hooks that a runtime with SnapStart calls after the restore."""
    snapstart: bool = False
    """Whether a snapshot is taken after the init, and restored before the first event."""
    max_concurrency: int = 0
    """How many events one environment serves at once, as on Lambda Managed Instances; 0: an ordinary function."""
    extensions_dir: Path | None = None
    """Stands for /opt/extensions: each executable in it is an external extension."""
    cpu_share: bool = False
    """Whether the processes have no more CPU time than comes with *memory*."""
    read_only: bool = False
    """Whether *task_root* cannot be written to, as on Lambda."""
    private_network: bool = False
    """Whether each environment has its own ports, and reaches nothing but *reachable_ports*."""
    reachable_ports: Sequence[int] = ()
    """Those of this machine that lead out of a private network, under the same numbers."""
    only_api: bool = False
    """Nothing is started: whoever calls *runtime_api_port* is the runtime, one in a debugger say."""
    runtime_api_port: int = 0
    debug_port: int = 0
    """Where an editor finds debugpy, if that is installed, and whether breakpoints stop at all; 0: they do not."""
    caller: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """The environment of the developer, of which the function gets PATH, LANG, PYTHONPATH and the region."""

    region: str = field(init=False)
    """The caller's, or us-east-1."""
    arn: str = field(init=False)
    """Under which the function is invoked; the account is a made-up one."""

    def __post_init__(self) -> None:
        region = self.caller.get("AWS_REGION") or self.caller.get("AWS_DEFAULT_REGION") or "us-east-1"
        object.__setattr__(self, "region", region)
        object.__setattr__(self, "arn", f"arn:aws:lambda:{region}:012345678912:function:{self.name}")
        if not self.handler and not self.command and not self.only_api:
            raise ConfigurationError("no handler: expected module.function, such as app.handler")
        longest = MAX_MANAGED_TIMEOUT if self.max_concurrency else MAX_TIMEOUT
        if not 0 < self.timeout <= longest:
            text = f"the timeout must be more than 0 and at most {longest} seconds, not {self.timeout:g}"
            raise ConfigurationError(text)
        if not self.init_timeout > 0:
            raise ConfigurationError(f"the init timeout must be more than 0 seconds, not {self.init_timeout}")
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"a function's name has 1 to 64 letters, digits, - and _, unlike {self.name!r}")
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise ConfigurationError(f"the memory must be {MIN_MEMORY} to {MAX_MEMORY} MB, not {self.memory}")
        if not self.task_root.is_dir():
            raise ConfigurationError(f"the task root {str(self.task_root)!r} is not a directory")
        if not 0 <= self.max_concurrency <= MAX_INSTANCE_CONCURRENCY:
            text = f"the concurrency of an environment must be 0 to {MAX_INSTANCE_CONCURRENCY}"
            raise ConfigurationError(f"{text}, not {self.max_concurrency}")
        if self.private_network and self.only_api:
            raise ConfigurationError(
                "a runtime that is attached is in the network of whoever starts it, not a private one"
            )
        if self.debug_port and (self.only_api or self.max_concurrency or self.private_network):
            raise ConfigurationError("a debugger is for one ordinary environment in the network of this machine")
        if self.reachable_ports and not self.private_network:
            raise ConfigurationError("ports can only be made reachable from a private network")
        for port in self.reachable_ports:
            if not 0 < port < 65536:
                raise ConfigurationError(f"a port has a number from 1 to 65535, unlike {port}")
        if self.snapstart and self.max_concurrency:
            raise ConfigurationError("managed instances have no SnapStart: choose one of them")
        if self.extensions_dir is not None and not self.extensions_dir.is_dir():
            raise ConfigurationError(f"the extensions directory {str(self.extensions_dir)!r} is not a directory")
        check_variables(self.environment)

    def timeout_of(self, source: str) -> float:
        """Return the limit in seconds of an invocation that came by *source*: see `lambda_ric.limits`."""
        return self.timeout if source in QUEUED else min(self.timeout, MAX_TIMEOUT)

    @property
    def arguments(self) -> list[str]:
        """The command line of the runtime."""
        if self.command:
            return list(self.command)
        if self.debug_port:
            # Or debugpy would miss breakpoints in modules that Python has frozen.
            module = ["-Xfrozen_modules=off", "-m", "lambda_ric.debugging"]
            return [sys.executable, *module, str(self.debug_port), self.handler]
        return [sys.executable, "-m", "lambda_ric", self.handler]

    @property
    def initialization_type(self) -> str:
        """What Lambda calls this way to start an environment."""
        if self.max_concurrency:
            return "lambda-managed-instances"
        return "snap-start" if self.snapstart else "on-demand"

    @property
    def json_logs(self) -> bool:
        """Whether the platform writes its own lines as JSON."""
        return self.environment.get("AWS_LAMBDA_LOG_FORMAT") == "JSON" or bool(self.max_concurrency)

    @property
    def extensions(self) -> list[Path]:
        """The executables of the external extensions."""
        if self.extensions_dir is None:
            return []
        directory = self.extensions_dir.resolve()
        return sorted(path for path in directory.iterdir() if path.is_file() and os.access(path, os.X_OK))

    def variables(self, runtime_api: str, metadata_token: str) -> dict[str, str]:
        """Return the whole environment of a runtime whose Runtime API is at *runtime_api*."""
        variables = {
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
            "AWS_LAMBDA_INITIALIZATION_TYPE": self.initialization_type,
            "AWS_LAMBDA_METADATA_API": runtime_api,
            "AWS_LAMBDA_METADATA_TOKEN": metadata_token,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": str(self.task_root.resolve()),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
        }
        if self.debug_port:
            variables.setdefault("PYTHONBREAKPOINT", "lambda_ric.debugging.stop")
            variables.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        # As in /var/task, which cannot be written to. What Python keeps of a file that is saved twice within a second
        # would be valid for both of its contents.
        variables.setdefault("PYTHONDONTWRITEBYTECODE", "1")
        if not self.snapstart:  # all restored copies would share them
            stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{secrets.token_hex(16)}"
            variables["AWS_LAMBDA_LOG_GROUP_NAME"] = f"/aws/lambda/{self.name}"
            variables["AWS_LAMBDA_LOG_STREAM_NAME"] = stream
        if self.max_concurrency:
            variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(self.max_concurrency)
            variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        return variables


_NOT_FOR_EXTENSIONS = {
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
}


def extension_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """
    Return what an external extension has of the *variables* of the runtime.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
    """
    return {
        name: value for name, value in variables.items() if not name.startswith("_") and name not in _NOT_FOR_EXTENSIONS
    }
